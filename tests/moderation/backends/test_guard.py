"""Each family's answers, as its model card writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from feedback.errors import Refused, Unavailable
from moderation.backends.guard import Guard
from moderation.settings import ModerationSettings
from tests.moderation.backends.chat_server import ChatServer, Token

Answer = Callable[[dict[str, Any]], list[Token]]


async def judge(
    mapping: str, answer: Answer, *, text: str = "a text"
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Scores, and what the guard was asked."""
    fake = ChatServer(answer)
    async with TestServer(fake.app) as server:
        url = str(server.make_url(""))
        guard = Guard(ModerationSettings(backend="guard", mapping=mapping, backend_url=url))
        try:
            (judged,) = await guard.score([text])
        finally:
            await guard.close()
        assert guard.model == "the-guard"
    return dict(judged.scores), fake.bodies


async def test_llama_guard_names_the_hazards_of_an_unsafe_text() -> None:
    tokens: list[Token] = ["\n\n", ("unsafe", 0.8, {"safe": 0.2}), "\n", "S", "10", ",", "S", "1"]
    scores, (body,) = await judge("llama-guard", lambda _: tokens)
    assert scores["hate"] == scores["violence"] == pytest.approx(0.8)
    assert scores["illicit/violent"] == pytest.approx(0.8)  # violent crimes
    assert scores["sexual"] == scores["self-harm"] == 0.0
    assert "harassment" not in scores
    assert body["messages"] == [{"role": "user", "content": "a text"}]
    assert (body["temperature"], body["logprobs"], body["top_logprobs"]) == (0.0, True, 20)


async def test_llama_guard_s_code_10_is_not_its_code_1() -> None:
    tokens: list[Token] = ["\n\n", ("unsafe", 0.9, {"safe": 0.1}), "\n", "S10"]
    scores, _ = await judge("llama-guard", lambda _: tokens)
    assert (scores["hate"], scores["violence"]) == (pytest.approx(0.9), 0.0)


async def test_llama_guard_cut_into_other_tokens_reads_the_same() -> None:
    tokens: list[Token] = ["\n", "\n", ("un", 0.8, {"safe": 0.2}), "safe", "\nS", "10"]
    scores, _ = await judge("llama-guard", lambda _: tokens)
    assert scores["hate"] == pytest.approx(0.8)


async def test_of_a_safe_text_what_is_left_goes_to_all_hazards_in_equal_parts() -> None:
    tokens: list[Token] = ["\n\n", ("safe", 0.9, {"unsafe": 0.1})]
    scores, _ = await judge("llama-guard", lambda _: tokens)
    for score in scores.values():
        assert score == pytest.approx(0.1 / 8)  # S1 S2 S3 S4 S9 S10 S11 S12


async def test_an_unsafe_text_without_a_hazard_is_flagged_in_all() -> None:
    tokens: list[Token] = ["\n\n", ("unsafe", 0.7, {"safe": 0.3})]
    scores, _ = await judge("llama-guard", lambda _: tokens)
    assert min(scores.values()) == max(scores.values()) == pytest.approx(0.7)


async def test_an_unsafe_text_of_a_hazard_that_openai_does_not_have_is_flagged_in_none() -> None:
    tokens: list[Token] = ["\n\n", ("unsafe", 0.7, {"safe": 0.3}), "\n", "S6"]
    scores, _ = await judge("llama-guard", lambda _: tokens)
    assert set(scores.values()) == {0.0}


QWEN: list[Token] = ["Safety", ":"]


@pytest.mark.parametrize(
    ("verdict", "unsafe"),
    [
        ((" Unsafe", 0.7, {" Safe": 0.2, " Controversial": 0.1}), 0.74),
        ((" Controversial", 0.5, {" Safe": 0.3, " Unsafe": 0.2}), 0.4),
    ],
)
async def test_qwen3guard_s_controversial_is_less_than_unsafe(
    verdict: Token, unsafe: float
) -> None:
    named: list[Token] = [
        "\n",
        "Categories",
        ":",
        " Violent",
        ",",
        " Suicide",
        " &",
        " Self",
        "-Harm",
    ]
    scores, _ = await judge("qwen3guard", lambda _: [*QWEN, verdict, *named, "\n"])
    assert scores["violence"] == scores["self-harm"] == pytest.approx(unsafe)
    assert scores["sexual"] == scores["illicit"] == 0.0  # "Non-violent Illegal Acts" is another
    assert "sexual/minors" not in scores


async def test_qwen3guard_says_safe() -> None:
    tokens: list[Token] = [*QWEN, (" Safe", 0.97, {" Unsafe": 0.03}), "\n", "Categories: None"]
    scores, _ = await judge("qwen3guard", lambda _: tokens)
    assert max(scores.values()) < 0.01


async def test_shieldgemma_is_asked_one_policy_at_a_time() -> None:
    def answer(body: dict[str, Any]) -> list[Token]:
        is_hate = "No Hate Speech" in body["chat_template_kwargs"]["guideline"]
        return [("Yes", 0.75, {"No": 0.25}) if is_hate else ("No", 0.9, {"Yes": 0.1})]

    scores, bodies = await judge("shieldgemma", answer)
    assert len(bodies) == 4
    assert all(body["max_tokens"] == 1 for body in bodies)
    assert scores["hate"] == pytest.approx(0.75)
    assert scores["sexual"] == scores["harassment"] == pytest.approx(0.1)
    assert scores["illicit/violent"] == scores["self-harm/instructions"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("mapping", "names", "before", "after", "words"),
    [
        ("granite-guardian", "risk_name", [], [], ("Yes", "No")),
        (
            "granite-guardian-3.3",
            "criteria_id",
            ["<", "score", ">"],
            [" </score>"],
            (" yes", " no"),
        ),
    ],
)
async def test_granite_guardian_is_asked_one_risk_at_a_time(
    mapping: str, names: str, before: list[Token], after: list[Token], words: tuple[str, str]
) -> None:
    yes, no = words

    def answer(body: dict[str, Any]) -> list[Token]:
        risk = body["chat_template_kwargs"]["guardian_config"][names]
        verdict: Token = (yes, 0.6, {no: 0.4}) if risk == "violence" else (no, 0.95, {yes: 0.05})
        return [*before, verdict, *after]

    scores, bodies = await judge(mapping, answer)
    assert len(bodies) == 4
    assert scores["violence"] == pytest.approx(0.6)
    assert scores["hate"] == scores["sexual"] == scores["illicit"] == pytest.approx(0.05)


async def test_a_long_text_is_read_in_pieces_and_the_worst_counts() -> None:
    def answer(body: dict[str, Any]) -> list[Token]:
        is_bad = "the end" in body["messages"][0]["content"]
        return [("unsafe", 0.9, {"safe": 0.1}) if is_bad else ("safe", 1.0, {}), "\nS10"]

    scores, bodies = await judge("llama-guard", answer, text="word " * 3000 + "the end")
    assert len(bodies) > 2
    assert scores["hate"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    "tokens", [["I", " cannot", " say"], [], ["\n\n"], ["unsafely put"[:4], "ex"]]
)
async def test_an_answer_without_a_verdict_is_no_pass(tokens: list[Token]) -> None:
    with pytest.raises(Unavailable, match="verdict"):
        await judge("llama-guard", lambda _: tokens)


async def test_a_server_without_logprobs_is_no_pass() -> None:
    async def complete(request: web.Request) -> web.Response:
        return web.json_response({"choices": [{"message": {"content": "safe"}, "logprobs": None}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    async with TestServer(app) as server:
        url = str(server.make_url(""))
        settings = ModerationSettings(mapping="llama-guard", model="guard", backend_url=url)
        guard = Guard(settings)
        with pytest.raises(Unavailable, match="log-probabilities"):
            await guard.score(["a"])
        await guard.close()


def test_a_guard_needs_a_guard_s_mapping(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="llama-guard"):
        Guard(ModerationSettings(backend="guard"))
    with pytest.raises(Refused, match="a classifier's"):
        Guard(ModerationSettings(backend="guard", mapping="toxic-bert"))
