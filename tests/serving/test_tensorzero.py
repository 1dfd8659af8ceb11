"""TensorZero's own client against the gateway."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, cast

import httpx2
import pytest
from tensorzero import AsyncTensorZeroGateway, TensorZeroError, TensorZeroGateway

from feedback import eventlog
from feedback.events import Feedback, uuid_of
from serving import auth
from tests.serving.conftest import Running

HELLO: Any = [{"role": "user", "content": "hello there"}]


@pytest.fixture
def client(gateway: Running) -> Iterator[TensorZeroGateway]:
    with TensorZeroGateway.build_http(
        gateway_url=gateway.url, api_key=gateway.secret, timeout=20
    ) as made:
        yield made


def sample(gateway: Running, *, n: int = 3) -> tuple[str, str]:
    """Id of an answer, and the UUID that its header tells."""
    raw = gateway.openai().chat.completions.with_raw_response.create(
        model="policy", messages=HELLO, n=n
    )
    return raw.parse().id, raw.headers["x-inference-id"]


def logged(gateway: Running) -> list[Feedback]:
    return [cast(Feedback, event) for _, event in eventlog.read(gateway.redis, "feedback")]


VALUES: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("comment", "not polite", "comment", {"text": "not polite", "index": 0}),
    ("demonstration", "Good day.", "demonstration", {"completion": "Good day."}),
    (
        "demonstration",
        [{"type": "text", "text": "Good "}, {"type": "text", "text": "day."}],
        "demonstration",
        {"completion": "Good day."},
    ),
    ("ranking", {"tiers": [["c"], ["a", "b"]]}, "ranking", {"tiers": [["c"], ["a", "b"]]}),
    ("comparison", {"a": 0, "b": 2, "preference": -2}, "comparison", {"preference": -2}),
    ("thumb", True, "rating", {"thumb": "up", "metrics": {}}),
    ("likert", 6, "rating", {"likert": 6}),
    ("haiku_score", 0.25, "rating", {"metrics": {"haiku_score": 0.25}, "likert": None}),
    ("accepted", False, "rating", {"metrics": {"accepted": False}, "thumb": None}),
]


@pytest.mark.parametrize(("name", "value", "form", "body"), VALUES)
def test_its_client_s_feedback_is_in_the_log_as_what_it_says(
    gateway: Running,
    client: TensorZeroGateway,
    name: str,
    value: Any,
    form: str,
    body: dict[str, Any],
) -> None:
    completion_id, inference_id = sample(gateway)
    received = client.feedback(
        metric_name=name, value=value, inference_id=inference_id, tags={"page": "faq"}
    )
    (event,) = logged(gateway)
    assert str(received.feedback_id) == uuid_of(event.id)
    assert (event.form, event.completion_ids) == (form, [completion_id])
    assert {key: event.body[key] for key in body} == body
    assert event.body["tags"] == {"page": "faq"}
    assert event.labeler == gateway.key.id


async def test_its_asynchronous_client_and_an_episode_work_too(gateway: Running) -> None:
    _, inference_id = sample(gateway)
    made = AsyncTensorZeroGateway.build_http(
        gateway_url=gateway.url, api_key=gateway.secret, async_setup=False
    )
    async with cast(AsyncTensorZeroGateway, made) as client:
        await client.feedback(metric_name="thumb", value=False, episode_id=inference_id)
    assert [event.body["thumb"] for event in logged(gateway)] == ["down"]


def test_text_completions_have_their_uuid_as_well(
    gateway: Running, client: TensorZeroGateway
) -> None:
    raw = gateway.openai().completions.with_raw_response.create(model="policy", prompt="a b")
    client.feedback(metric_name="thumb", value=True, inference_id=raw.headers["x-inference-id"])
    assert logged(gateway)[0].completion_ids == [raw.parse().id]


def test_a_dry_run_is_checked_and_not_kept(gateway: Running, client: TensorZeroGateway) -> None:
    _, inference_id = sample(gateway)
    received = client.feedback(
        metric_name="thumb", value=True, inference_id=inference_id, dryrun=True
    )
    assert isinstance(received.feedback_id, uuid.UUID)
    with pytest.raises(TensorZeroError, match="404"):
        client.feedback(
            metric_name="thumb", value=True, inference_id=str(uuid.uuid4()), dryrun=True
        )
    assert logged(gateway) == []


NONSENSE: list[tuple[str, Any]] = [
    ("comment", True),
    ("comment", ""),
    ("demonstration", [{"type": "tool_call", "name": "f", "arguments": {}}]),
    ("demonstration", 1.5),
    ("ranking", {"tiers": [["a"], ["a", "b"]]}),
    ("ranking", {"tiers": "a>b"}),
    ("ranking", {"tiers": [["a"], ["b"], ["c"], ["d"]]}),
    ("ranking", 3),
    ("comparison", {"a": 0, "b": 0, "preference": 1}),
    ("comparison", {"a": 0, "b": 1, "preference": 7}),
    ("likert", 9),
    ("likert", True),
    ("speed", "fast"),
    ("speed", [1]),
]


@pytest.mark.parametrize(("name", "value"), NONSENSE)
def test_nonsense_is_refused_and_the_client_is_told_why(
    gateway: Running, client: TensorZeroGateway, name: str, value: Any
) -> None:
    _, inference_id = sample(gateway)
    with pytest.raises(TensorZeroError) as caught:
        client.feedback(metric_name=name, value=value, inference_id=inference_id)
    assert caught.value.status_code == 422
    assert '"message"' in (caught.value.text or "")
    assert logged(gateway) == []


def test_a_wrong_key_and_another_key_s_answer_are_refused(gateway: Running) -> None:
    _, inference_id = sample(gateway)
    other, _ = auth.create_key(gateway.redis, name="y", scopes=("infer",))
    for secret, status in (("sk-wrong", 401), (other, 404)):
        with TensorZeroGateway.build_http(gateway_url=gateway.url, api_key=secret) as client:
            with pytest.raises(TensorZeroError) as caught:
                client.feedback(metric_name="thumb", value=True, inference_id=inference_id)
            assert caught.value.status_code == status
    assert logged(gateway) == []


def post(gateway: Running, body: dict[str, Any], **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named["authorization"] = f"Bearer {gateway.secret}"
    return httpx2.post(f"{gateway.url}/feedback", json=body, headers=named)


def test_a_completion_s_own_id_does_as_well_and_sending_twice_is_writing_once(
    gateway: Running,
) -> None:
    completion_id, _ = sample(gateway)
    body = {"inference_id": completion_id, "metric_name": "thumb", "value": True}
    first, second = (post(gateway, body, idempotency_key="k") for _ in range(2))
    assert first.json() == second.json()
    assert uuid.UUID(first.json()["feedback_id"])
    assert len(logged(gateway)) == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"episode_id": "chatcmpl-1"}, 422),
        ({"inference_id": None}, 422),
        ({"inference_id": "not a uuid"}, 400),
        ({"tags": {"a": 1}}, 422),
        ({"metric_name": ""}, 422),
        ({"weight": 2}, 422),
    ],
)
def test_a_body_of_another_shape_is_refused(
    gateway: Running, changes: dict[str, Any], status: int
) -> None:
    completion_id, _ = sample(gateway)
    body = {"inference_id": completion_id, "metric_name": "thumb", "value": True}
    assert post(gateway, {**body, **changes}).status_code == status
    assert logged(gateway) == []
