"""vLLM 0.32's /classify, as its source writes it; the real one is in test_real_vllm."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from feedback.errors import Unavailable
from moderation.backends.vllm_classify import VllmClassify
from moderation.settings import ModerationSettings

LABELS = ["ok", "hate", "violence"]


class Classifier:
    """Says hate of texts with "bad" in them. Refuses what is too long unless asked to cut it."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.labels = LABELS
        self.num_dropped = 0
        self.app = web.Application()
        self.app.router.add_get("/v1/models", self._models)
        self.app.router.add_post("/classify", self._classify)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "clf", "max_model_len": 64}]})

    async def _classify(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        assert body["model"] == "clf"
        if body.get("truncate_prompt_tokens") != -1:
            return web.json_response({"error": {"message": "too long"}}, status=400)
        assert body["use_activation"] is False
        data = []
        for index, text in enumerate(body["input"][self.num_dropped :]):
            logits = [0.0, 2.0, -1.0] if "bad" in text else [2.0, 0.0, -1.0]
            label = self.labels[logits.index(2.0)]
            data.append({"index": index, "label": label, "probs": logits, "num_classes": 3})
        return web.json_response({"object": "list", "model": "clf", "data": data[::-1]})


@pytest.fixture
async def fake() -> AsyncIterator[tuple[Classifier, str]]:
    classifier = Classifier()
    async with TestServer(classifier.app) as server:
        yield classifier, str(server.make_url(""))


@pytest.fixture
async def backend(fake: tuple[Classifier, str], tmp_path: Path) -> AsyncIterator[VllmClassify]:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(enumerate(LABELS))}))
    made = VllmClassify(ModerationSettings(model=str(tmp_path), backend_url=fake[1]))
    yield made
    await made.close()


async def test_logits_become_probabilities_of_categories(
    fake: tuple[Classifier, str], backend: VllmClassify
) -> None:
    bad, good = await backend.score(["a bad one", "a good one"])
    assert backend.model == "clf"
    assert bad.scores["hate"] / good.scores["hate"] == pytest.approx(math.exp(2))
    assert bad.scores["hate"] == pytest.approx(0.84379, abs=1e-4)  # softmax of 0, 2, -1
    assert set(bad.scores) == {"hate", "violence"}


async def test_a_long_text_is_cut_and_its_end_is_read(
    fake: tuple[Classifier, str], backend: VllmClassify
) -> None:
    (judged,) = await backend.score(["word " * 200 + "bad"])
    assert judged.num_windows > 3
    assert judged.scores["hate"] > 0.8
    assert all(len(text) < 64 * 4 for body in fake[0].bodies for text in body["input"])


async def test_another_model_than_the_mapped_one_is_no_pass(
    fake: tuple[Classifier, str], backend: VllmClassify
) -> None:
    fake[0].labels = ["POSITIVE", "NEGATIVE", "NEUTRAL"]
    with pytest.raises(Unavailable, match="calls 'POSITIVE' what is mapped as 'ok'"):
        await backend.score(["a text"])


async def test_an_answer_that_lacks_a_text_is_no_pass(
    fake: tuple[Classifier, str], backend: VllmClassify
) -> None:
    fake[0].num_dropped = 1
    with pytest.raises(Unavailable, match="judged 1 of 2 texts"):
        await backend.score(["a", "b"])


async def test_a_server_that_is_away_is_no_pass(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(enumerate(LABELS))}))
    settings = ModerationSettings(model=str(tmp_path), backend_url="http://127.0.0.1:9")
    backend = VllmClassify(settings)
    with pytest.raises(Unavailable, match="did not answer"):
        await backend.score(["a"])
    await backend.close()
