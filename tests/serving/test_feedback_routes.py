"""Judgements through the gateway, as a labeler's program sends them."""

from __future__ import annotations

from typing import Any, cast

import httpx2
import pytest

from feedback import eventlog
from feedback.events import Feedback
from serving import auth
from tests.serving.conftest import Running

HELLO: Any = [{"role": "user", "content": "hello there"}]


def sample(gateway: Running, *, n: int = 4, key: str | None = None, text: str = "") -> str:
    messages: Any = [{"role": "user", "content": text}] if text else HELLO
    answer = gateway.openai(key).chat.completions.create(model="policy", messages=messages, n=n)
    return answer.id


def post(
    gateway: Running, form: str, body: dict[str, Any], *, key: str | None = None, **headers: str
) -> httpx2.Response:
    headers["authorization"] = f"Bearer {key or gateway.label_secret}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.post(f"{gateway.url}/v1/feedback/{form}", json=body, headers=named)


def ranking_of(completion_id: str, *order: str) -> dict[str, Any]:
    return {
        "candidates": [{"completion_id": completion_id, "index": i} for i in range(len(order))],
        "tiers": [[letter] for letter in order],
    }


def logged(gateway: Running) -> list[Feedback]:
    return [cast(Feedback, event) for _, event in eventlog.read(gateway.redis, "feedback")]


def test_a_ranking_is_in_the_log_when_it_is_answered(gateway: Running) -> None:
    completion_id = sample(gateway)
    body = ranking_of(completion_id, "c", "a", "b", "d")
    answer = post(gateway, "rankings", {**body, "labeler": "ann"})
    assert answer.status_code == 201
    (event,) = logged(gateway)
    assert answer.json() == {
        "id": event.id,
        "object": "feedback",
        "created": int(event.created),
        "form": "ranking",
        "labeler": "ann",
        "replaces": None,
    }
    assert event.id.startswith("fbk_")
    assert event.completion_ids == [completion_id]
    assert event.body["tiers"] == [["c"], ["a"], ["b"], ["d"]]


def test_every_form_is_taken(gateway: Running) -> None:
    completion_id = sample(gateway, n=2)
    one, two = ({"completion_id": completion_id, "index": i} for i in range(2))
    bodies: dict[str, dict[str, Any]] = {
        "comparisons": {"a": one, "b": two, "preference": -2},
        "ratings": {**one, "thumb": "up"},
        "demonstrations": {"parent": completion_id, "completion": "Good morning."},
    }
    for form, body in bodies.items():
        assert post(gateway, form, body).status_code == 201, form
    forms = [event.form for event in logged(gateway)]
    assert forms == ["comparison", "rating", "demonstration"]


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"tiers": [["a"], ["b"]]}, 422, "tiers"),
        ({"tiers": "a>b"}, 422, "tiers"),
        ({"candidates": [{"completion_id": "nope"}, {"completion_id": "no"}]}, 404, None),
    ],
)
def test_nonsense_is_refused_in_openais_shape(
    gateway: Running, changes: dict[str, Any], status: int, param: str | None
) -> None:
    body = {**ranking_of(sample(gateway, n=2), "a", "b"), **changes}
    if param == "tiers" and changes["tiers"] == [["a"], ["b"]]:
        body = {**ranking_of(sample(gateway, n=3), "a", "b", "c"), **changes}
    answer = post(gateway, "rankings", body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"] == param
    assert logged(gateway) == []


def test_an_index_that_is_not_there_is_422(gateway: Running) -> None:
    body = ranking_of(sample(gateway, n=2), "a", "b", "c")
    assert post(gateway, "rankings", body).status_code == 422


def test_answers_to_different_prompts_are_not_compared(gateway: Running) -> None:
    # The stand-in gives every prompt the same token ids, so the log is told otherwise.
    one = sample(gateway, n=1)
    other = sample(gateway, n=1)
    record = eventlog.get(gateway.redis, "completions", other)
    assert record is not None
    changed = type(record)(**{**record.__dict__, "id": "chatcmpl-other", "prompt_ids": [9]})
    eventlog.append(gateway.redis, changed)
    body = {"a": {"completion_id": one}, "b": {"completion_id": "chatcmpl-other"}, "preference": 1}
    answer = post(gateway, "comparisons", body)
    assert answer.status_code == 422
    assert "different prompts" in answer.json()["error"]["message"]


def test_another_tenants_answer_is_not_found(gateway: Running) -> None:
    stranger, _ = auth.create_key(gateway.redis, name="x", scopes=("label",), tenant="other")
    body = ranking_of(sample(gateway, n=2), "a", "b")
    assert post(gateway, "rankings", body, key=stranger).status_code == 404
    assert logged(gateway) == []


def test_a_key_judges_its_own_answers_and_no_other_keys(gateway: Running) -> None:
    other, _ = auth.create_key(gateway.redis, name="y", scopes=("infer",))
    body = ranking_of(sample(gateway, n=2), "a", "b")
    assert post(gateway, "rankings", body, key=gateway.secret).status_code == 201
    assert post(gateway, "rankings", body, key=other).status_code == 404


def test_sent_twice_with_one_idempotency_key_it_is_logged_once(gateway: Running) -> None:
    body = ranking_of(sample(gateway, n=2), "a", "b")
    first = post(gateway, "rankings", body, idempotency_key="retry-1")
    second = post(gateway, "rankings", body, idempotency_key="retry-1")
    assert first.json() == second.json()
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    other = post(gateway, "rankings", {**body, "all_bad": True}, idempotency_key="retry-1")
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert len(logged(gateway)) == 1


def test_a_labeler_works_through_the_queue_blind(gateway: Running) -> None:
    ids = [sample(gateway) for _ in range(2)]
    headers = {"authorization": f"Bearer {gateway.label_secret}"}
    url = f"{gateway.url}/v1/feedback/assignments/next?labeler=ann"
    seen = []
    while (answer := httpx2.get(url, headers=headers)).status_code == 200:
        item = answer.json()
        assert item["messages"] == HELLO
        assert {candidate["text"] for candidate in item["candidates"]} == {"HELLO THERE"}
        assert "policy-0000" not in answer.text
        seen.append(item["completion_id"])
        body = {
            "candidates": [
                {key: candidate[key] for key in ("completion_id", "index")}
                for candidate in item["candidates"]
            ],
            "tiers": [["a"], ["b"], ["c"], ["d"]],
            "labeler": "ann",
        }
        assert post(gateway, "rankings", body).status_code == 201
    assert answer.status_code == 204
    assert seen == ids


def test_only_a_labeler_gets_assignments(gateway: Running) -> None:
    headers = {"authorization": f"Bearer {gateway.secret}"}
    url = f"{gateway.url}/v1/feedback/assignments/next"
    assert httpx2.get(url, headers=headers).status_code == 403
    assert httpx2.get(url).status_code == 401
