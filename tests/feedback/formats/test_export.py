from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import redis

from feedback import eventlog, keys
from feedback.errors import BadRequest, Conflict
from feedback.formats.export import Options, write
from feedback.formats.parquet import read
from feedback.formats.rows import CONFIGS
from feedback.history import History
from feedback.snapshots import people
from feedback.snapshots.pii import Masker
from tests.feedback.formats.log import (
    comparison,
    completion,
    demonstration,
    fill,
    judgement,
    ranking,
    rating,
)


def append(client: redis.Redis, *events: Any) -> None:
    for event in events:
        assert eventlog.append(client, event)


def export(client: redis.Redis, folder: Path, **options: Any) -> dict[str, Any]:
    return write(History(client), folder, Options(**options))


def rows(folder: Path, config: str) -> list[dict[str, Any]]:
    found = [row for file in (folder / config).glob("*.parquet") for row in read(file)]
    return sorted(found, key=lambda row: str(row.get("id", row.get("ranking_id"))))


def test_a_ranking_is_a_row_with_its_order_and_its_pairs_share_its_id(
    client: redis.Redis, tmp_path: Path
) -> None:
    append(client, completion(1), ranking(1, ["b"], ["a", "c"]))
    export(client, tmp_path / "out")
    (row,) = rows(tmp_path / "out", "rankings")
    assert row["context"] == [{"role": "user", "content": "question 1"}]
    assert [answer["rank"] for answer in row["completions"]] == [1, 0, 1]
    assert row["completions"][1]["completion"] == [
        {"role": "assistant", "content": "answer 1 to 1"}
    ]
    assert row["completions"][1]["origin"] == "chatcmpl-1:1"
    assert row["completions"][1]["version"] == "policy-0001"
    pairs = rows(tmp_path / "out", "preference")
    assert [pair["ranking_id"] for pair in pairs] == [row["id"]] * 2  # a and c are a tie
    assert {pair["chosen"][0]["content"] for pair in pairs} == {"answer 1 to 1"}
    assert {pair["rejected"][0]["content"] for pair in pairs} == {"answer 0 to 1", "answer 2 to 1"}
    assert [pair["margin"] for pair in pairs] == [1.0, 1.0]


def test_nine_answers_make_36_pairs_and_the_margin_is_the_distance(
    client: redis.Redis, tmp_path: Path
) -> None:
    append(client, completion(1, num_answers=9), ranking(1, *[[letter] for letter in "abcdefghi"]))
    manifest = export(client, tmp_path / "out")
    assert sum(manifest["rows"]["preference"].values()) == 36
    margins = {pair["margin"] for pair in rows(tmp_path / "out", "preference")}
    assert margins == {float(distance) for distance in range(1, 9)}


@pytest.mark.parametrize(
    ("preference", "ranks", "margins"), [(3, [0, 1], [3.0]), (-1, [1, 0], [1.0]), (0, [0, 0], [])]
)
def test_a_comparison_is_a_ranking_of_two_and_a_tie_makes_no_pair(
    client: redis.Redis, tmp_path: Path, preference: int, ranks: list[int], margins: list[float]
) -> None:
    append(client, completion(1), comparison(1, preference))
    export(client, tmp_path / "out")
    (row,) = rows(tmp_path / "out", "rankings")
    assert [answer["rank"] for answer in row["completions"]] == ranks
    assert row["preference"] == preference
    assert [pair["margin"] for pair in rows(tmp_path / "out", "preference")] == margins


def test_the_last_word_of_a_person_on_the_same_answers_counts(
    client: redis.Redis, tmp_path: Path
) -> None:
    first = ranking(1, ["a"], ["b"], ["c"], id="fbk_1")
    ben = ranking(1, ["b"], ["a"], ["c"], id="fbk_2", labeler="ben")
    last = ranking(1, ["c"], ["b"], ["a"], id="fbk_3")
    append(client, completion(1), first, ben, last)
    append(client, rating(1, likert=2, id="fbk_4"), rating(1, likert=3, id="fbk_5"))
    append(client, rating(1, metrics={"speed": 1.0}, id="fbk_6"))
    manifest = export(client, tmp_path / "out")
    assert [row["id"] for row in rows(tmp_path / "out", "rankings")] == ["fbk_2", "fbk_3"]
    assert [row["id"] for row in rows(tmp_path / "out", "ratings")] == ["fbk_5", "fbk_6"]
    assert manifest["left_out"] == {"changed_later": 2}


def test_what_was_taken_back_is_left_out(client: redis.Redis, tmp_path: Path) -> None:
    append(client, completion(1), ranking(1, ["a"], ["b"], ["c"], id="fbk_1"))
    append(client, judgement("retraction", 1, {"of": "fbk_1"}))
    manifest = export(client, tmp_path / "out")
    assert rows(tmp_path / "out", "rankings") == []
    assert manifest["left_out"] == {"retracted": 1}


def test_what_cannot_be_trained_on_is_left_out_and_counted(
    client: redis.Redis, tmp_path: Path
) -> None:
    blocked = [
        dataclasses.replace(choice, blocked=choice.index == 2) for choice in completion(3).choices
    ]
    append(
        client,
        completion(1, version_last="policy-0009"),
        completion(2, complete=False),
        completion(3, choices=blocked),
        *(ranking(number, ["a"], ["b"], ["c"]) for number in (1, 2, 3, 4)),
        judgement("comment", 3, {"text": "hm"}),
        judgement("skip", 3, {"reason": "unclear"}),
    )
    manifest = export(client, tmp_path / "out")
    assert manifest["left_out"] == {
        "answer_not_whole": 2,
        "comment": 1,
        "completion_missing": 1,
        "mixed_versions": 1,
        "skip": 1,
    }
    assert set(sum((list(c.values()) for c in manifest["rows"].values()), [])) == {0}


def test_another_tenant_s_judgements_stay_where_they_are(
    client: redis.Redis, tmp_path: Path
) -> None:
    append(client, completion(1, tenant="other"), ranking(1, ["a"], ["b"], ["c"], tenant="other"))
    append(client, ranking(1, ["a"], ["b"], ["c"], id="fbk_x"))  # on an answer that is not theirs
    manifest = export(client, tmp_path / "out")
    assert manifest["left_out"] == {"completion_missing": 1}
    assert rows(tmp_path / "out", "rankings") == []


def test_known_answers_and_unscreened_labelers_are_left_out_and_those_kept_apart_are_in_test(
    client: redis.Redis, tmp_path: Path
) -> None:
    for name, status, is_heldout in (
        ("lab_ann", "active", False),
        ("lab_eve", "active", True),
        ("lab_new", "screening", False),
    ):
        record = {"id": name, "name": name, "tenant": "default", "status": status, "created": 1.0}
        client.hset(keys.LABELERS, name, json.dumps({**record, "is_heldout": is_heldout}))
    client.hset(keys.KNOWN_ANSWERS, "chatcmpl-3", b"{}")
    order = (["a"], ["b"], ["c"])
    append(client, completion(1), completion(2), completion(3))
    for number, labeler in ((1, "lab_ann"), (2, "lab_eve"), (1, "lab_new"), (3, "lab_ann")):
        said = ranking(number, *order, labeler=labeler, id=f"fbk_{number}{labeler}")
        append(client, dataclasses.replace(said, source="labeler"))
    manifest = export(client, tmp_path / "out", heldout_share=0.0, people=people.read(client))
    assert manifest["rows"]["rankings"] == {"train": 1, "test": 1}
    assert manifest["left_out"] == {"known_answer": 1, "labeler_weighs_nothing": 1}
    (held,) = read(tmp_path / "out/rankings/test.parquet")
    assert held["labeler"] == "lab_eve"


def test_a_person_is_on_one_side_with_all_that_they_asked(
    client: redis.Redis, tmp_path: Path
) -> None:
    for number in range(100):
        append(client, completion(number), ranking(number, ["a"], ["b"], ["c"]))
        append(client, rating(number, likert=4), demonstration(number, "better"))
    manifest = export(client, tmp_path / "out", heldout_share=0.3)
    sides: dict[str, set[str]] = {}
    for config in CONFIGS:
        assert 0 < manifest["rows"][config]["test"] < manifest["rows"][config]["train"]
        for split in ("train", "test"):
            for row in read(tmp_path / "out" / config / f"{split}.parquet"):
                sides.setdefault(row["person"], set()).add(split)
    assert len(sides) == 20
    assert {len(found) for found in sides.values()} == {1}
    assert "user-" not in str(list(sides))


def test_personal_data_is_masked_wherever_somebody_wrote_it(
    client: redis.Redis, tmp_path: Path
) -> None:
    secret = "write to jane.roe@example.com"
    choices = [dataclasses.replace(choice, text=secret) for choice in completion(1).choices]
    asked = {"messages": [{"role": "user", "content": secret}]}
    append(client, completion(1, choices=choices, request=asked))
    append(
        client,
        ranking(1, ["a"], ["b"], ["c"], body={"note": secret, "tags": {"user": secret}}),
        rating(1, likert=1),
    )
    append(client, demonstration(1, secret))
    manifest = export(client, tmp_path / "out", masker=Masker())
    for config in CONFIGS:
        assert "jane.roe" not in str(rows(tmp_path / "out", config))
        assert "<EMAIL_ADDRESS>" in str(rows(tmp_path / "out", config))
    assert manifest["texts_masked"]["EMAIL_ADDRESS"] > 0


def test_it_is_never_written_over_and_a_failure_leaves_nothing(
    client: redis.Redis, tmp_path: Path
) -> None:
    append(client, completion(1), ranking(1, ["a"], ["b"], ["c"]))
    broken = dataclasses.replace(comparison(1, 1), body={})
    eventlog.append(client, broken)
    with pytest.raises(KeyError):
        export(client, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    client.flushall()
    append(client, completion(1), ranking(1, ["a"], ["b"], ["c"]))
    export(client, tmp_path / "out")
    with pytest.raises(Conflict, match="never written over"):
        export(client, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nobody_takes_back_what_another_one_said(client: redis.Redis, tmp_path: Path) -> None:
    append(client, completion(1), ranking(1, ["a"], ["b"], ["c"], id="fbk_1"))
    append(client, judgement("retraction", 1, {"of": "fbk_1"}, labeler="mallory"))
    export(client, tmp_path / "out")
    assert [row["id"] for row in rows(tmp_path / "out", "rankings")] == ["fbk_1"]


def test_the_manifest_knows_every_file_and_the_card_says_the_licence(
    client: redis.Redis, tmp_path: Path
) -> None:
    fill(client)
    export(client, tmp_path / "out", license="cc-by-4.0")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    files = {str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("*.parquet")}
    assert set(manifest["files"]) == files
    assert {"rankings/train.parquet", "ratings/train.parquet"} <= files
    for name, known in manifest["files"].items():
        data = (tmp_path / "out" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == known["sha256"]
    assert "license: cc-by-4.0" in (tmp_path / "out/README.md").read_text()
    with pytest.raises(BadRequest):
        export(client, tmp_path / "other", license="mit\nconfigs: []")


@pytest.mark.parametrize("heldout_share", [0.0, 0.5])
def test_datasets_opens_each_part_without_a_network(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heldout_share: float
) -> None:
    import datasets

    fill(client)
    manifest = export(client, tmp_path / "out", heldout_share=heldout_share)
    folder, cache = str(tmp_path / "out"), str(tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("socket.socket.connect", _refuse)
    assert datasets.get_dataset_config_names(folder) == list(CONFIGS)
    for config in CONFIGS:
        found = datasets.load_dataset(folder, config, cache_dir=cache)
        expected = {split: count for split, count in manifest["rows"][config].items() if count}
        assert {split: len(found[split]) for split in found} == expected
        for split in found:
            written = read(tmp_path / "out" / config / f"{split}.parquet")
            assert list(found[split]) == list(written)


def test_an_empty_log_makes_a_folder_that_says_so(client: redis.Redis, tmp_path: Path) -> None:
    manifest = export(client, tmp_path / "out")
    assert manifest["files"] == {}
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_file()} == {
        "README.md",
        "manifest.json",
    }


def _refuse(*arguments: Any) -> None:
    raise AssertionError("there is no network here")
