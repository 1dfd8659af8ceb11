from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from feedback.errors import HoneError
from tests.serving.fake_engine import Served
from training.evaluation.answering import Endpoint, Said


class Server(Served):
    """Says the prompt in capitals, in OpenAI's shapes; refuses what a test tells it to."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        self.busy_next = 0

    def routes(self) -> None:
        self.app.router.add_post("/v1/completions", self._complete)
        self.app.router.add_post("/v1/chat/completions", self._chat)

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        if self.busy_next:
            self.busy_next -= 1
            return _error(503, "busy", None)
        if "vile" in body["prompt"]:
            return _error(400, "blocked", "content_policy_violation")
        if "wrong" in body["prompt"]:
            return _error(422, "no such thing", "unprocessable")
        return web.json_response({"choices": [{"index": 0, "text": f" {body['prompt'].upper()}"}]})

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        choices = [
            {"index": i, "message": {"content": f"{i}"}, "finish_reason": "length" if i else "stop"}
            for i in reversed(range(body["n"]))
        ]
        return web.json_response({"choices": choices})


def _error(status: int, message: str, code: str | None) -> web.Response:
    return web.json_response({"error": {"message": message, "code": code}}, status=status)


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    served.start()
    yield served
    served.stop()


def test_tasks_are_sampled_greedily_up_to_the_first_newline(server: Server) -> None:
    answer = Endpoint(server.url, key="k", model="policy-0003", prefix="Be kind. ")
    assert answer(["one", "two"], max_tokens=7) == ["BE KIND. ONE", "BE KIND. TWO"]
    for body in server.bodies:
        assert body == {
            "model": "policy-0003",
            "prompt": body["prompt"],
            "temperature": 0,
            "max_tokens": 7,
            "stop": ["\n"],
        }


def test_a_gateway_is_told_not_to_keep_the_questions(server: Server) -> None:
    Endpoint(server.url, key="k", model="m", is_gateway=True)(["one"], max_tokens=1)
    assert server.bodies[0]["store"] is False


def test_what_moderation_blocks_is_empty_and_counted(server: Server) -> None:
    answer = Endpoint(server.url, key="k", model="m")
    assert answer(["fine", "vile"], max_tokens=1) == ["FINE", ""]
    assert answer.num_blocked == 1


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.busy_next = 2
    assert Endpoint(server.url, key="k", model="m")(["one"], max_tokens=1) == ["ONE"]
    assert len(server.bodies) == 3


def test_any_other_error_is_the_server_s_own_words(server: Server) -> None:
    with pytest.raises(HoneError, match="no such thing"):
        Endpoint(server.url, key="k", model="m")(["wrong"], max_tokens=1)


def test_what_people_would_see_is_sampled_with_seeds_of_its_own(server: Server) -> None:
    endpoint = Endpoint(server.url, key="k", model="m")
    said = endpoint.chat(["one", "two"], num_answers=2, max_tokens=5, seed=10)
    assert said == [[Said(text="0", has_ended=True), Said(text="1", has_ended=False)]] * 2
    assert sorted(body["seed"] for body in server.bodies) == [10, 12]
    assert all(body["temperature"] == 1 for body in server.bodies)
