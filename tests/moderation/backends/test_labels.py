from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from feedback.errors import Refused
from moderation.backends import labels
from moderation.settings import ModerationSettings


def model(folder: Path, *names: str, **config: str) -> str:
    id2label = {str(i): name for i, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps({"id2label": id2label, **config}))
    return str(folder)


def test_labels_that_bear_a_category_s_name_need_no_mapping(tmp_path: Path) -> None:
    folder = model(tmp_path, "OK", "Self-Harm", "sexual_minors", "hate/threatening")
    read = labels.read(ModerationSettings(model=folder))
    assert read.categories == {"hate/threatening": (3,), "self-harm": (1,), "sexual/minors": (2,)}


def test_sigmoid_only_where_the_config_says_multi_label(tmp_path: Path) -> None:
    folder = model(tmp_path, "hate", "ok")
    assert labels.read(ModerationSettings(model=folder)).activation == "softmax"
    folder = model(tmp_path, "hate", "ok", problem_type="multi_label_classification")
    assert labels.read(ModerationSettings(model=folder)).activation == "sigmoid"


def test_labels_that_exclude_each_other_add_up_and_others_do_not(tmp_path: Path) -> None:
    names = ("S", "H", "V", "HR", "SH", "S3", "H2", "V2", "OK")
    settings = ModerationSettings(model=model(tmp_path, *names), mapping="koala-text-moderation")
    logits = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 3.0]
    total = sum(map(math.exp, logits))
    scores = labels.read(settings).scores(logits)
    assert scores["hate"] == pytest.approx((math.exp(1) + math.exp(2)) / total)
    assert scores["hate/threatening"] == pytest.approx(math.exp(2) / total)
    assert "illicit" not in scores
    jigsaw = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
    settings = ModerationSettings(model=model(tmp_path, *jigsaw), mapping="toxic-bert")
    scores = labels.read(settings).scores([0.0, 0.0, 0.0, 2.0, -1000.0, 1000.0])
    assert scores["violence"] == scores["harassment/threatening"] == pytest.approx(0.880797)
    assert (scores["hate"], scores["harassment"]) == (1.0, 0.0)


def test_labels_that_mean_nothing_are_refused_with_the_cure(tmp_path: Path) -> None:
    folder = model(tmp_path, "LABEL_0", "LABEL_1")
    with pytest.raises(Refused, match="HONE_MODERATION_MAPPING"):
        labels.read(ModerationSettings(model=folder))
    with pytest.raises(Refused, match="the model's labels are LABEL_0, LABEL_1"):
        labels.read(ModerationSettings(model=folder, mapping="toxic-bert"))
    with pytest.raises(Refused, match="a guard's mapping"):
        labels.read(ModerationSettings(model=folder, mapping="llama-guard"))
    with pytest.raises(Refused, match="config.json"):
        labels.read(ModerationSettings(model="toxic-bert"))
