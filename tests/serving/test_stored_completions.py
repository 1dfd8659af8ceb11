"""Stored completions as the openai package sees them; the storage itself is in tests/feedback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from feedback import eventlog, keys
from feedback.connection import connect
from serving import auth
from tests.conftest import RedisServer
from tests.serving.conftest import Running
from tests.serving.fake_engine import BASE_DIGEST, FakeEngine
from tests.serving.fake_moderation import FakeModeration

HELLO: Any = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "you"}]},
    {"role": "assistant", "content": "yes?"},
    {"role": "user", "content": "hello there"},
]  # fmt: skip


def ask(gateway: Running, *, key: str | None = None, **options: Any) -> str:
    options = {"model": "policy", "messages": HELLO, **options}
    answer = gateway.openai(key).chat.completions.create(**options)
    return str(answer.id)


def get(gateway: Running, path: str = "", **headers: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {gateway.secret}", **headers}
    return httpx2.get(f"{gateway.url}/v1/chat/completions{path}", headers=headers)


def test_a_stored_completion_reads_as_it_was_answered(gateway: Running) -> None:
    client = gateway.openai()
    answered = client.chat.completions.create(
        model="policy", messages=HELLO, n=2, metadata={"screen": "home"}
    )
    found = client.chat.completions.retrieve(answered.id)
    assert found.metadata == {"screen": "home"}
    assert found.system_fingerprint == f"policy-0000-{BASE_DIGEST[:8]}"
    assert found.model_dump(exclude={"metadata"}) == answered.model_dump(exclude={"metadata"})


def test_a_streamed_one_reads_as_a_whole(gateway: Running) -> None:
    client = gateway.openai()
    stream = client.chat.completions.create(model="policy", messages=HELLO, stream=True)
    (completion_id,) = {chunk.id for chunk in stream}
    found = client.chat.completions.retrieve(completion_id)
    assert found.object == "chat.completion"
    assert found.choices[0].message.content == "HELLO THERE"
    assert found.choices[0].finish_reason == "stop"


def test_one_that_broke_off_does_not_say_that_it_stopped(
    gateway: Running, engine: FakeEngine
) -> None:
    engine.break_next = 1
    client = gateway.openai()
    stream = client.chat.completions.create(
        model="policy", messages=[{"role": "user", "content": "one two three four"}], stream=True
    )
    chunks: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIError):
        chunks.extend(stream)
    heard = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    (found,) = client.chat.completions.list().data
    assert heard in ("ONE", "ONE TWO")  # what had come when the connection was lost
    assert found.choices[0].message.content == heard
    assert found.choices[0].finish_reason == "length"


def test_a_choice_that_was_withheld_stays_withheld(
    gateway: Running, engine: FakeEngine, moderation: FakeModeration
) -> None:
    engine.by_index = {0: "tea", 1: "attack"}
    moderation.word = "ATTACK"  # what the engine makes of it
    completion_id = ask(gateway, n=2)
    for answer in (get(gateway, f"/{completion_id}"), get(gateway)):
        assert answer.status_code == 200
        assert moderation.word not in answer.text
    found = gateway.openai().chat.completions.retrieve(completion_id)
    tea, withheld = found.choices
    assert (tea.message.content, tea.finish_reason) == ("TEA", "stop")
    assert (withheld.message.content, withheld.finish_reason) == ("", "content_filter")


def test_all_pages_hold_each_once_in_either_order(gateway: Running) -> None:
    asked = [ask(gateway) for _ in range(5)]
    ask(gateway, store=False)
    gateway.openai().completions.create(model="policy", prompt="no chat")
    completions = gateway.openai().chat.completions
    assert [found.id for found in completions.list(limit=2)] == asked
    assert [found.id for found in completions.list(limit=2, order="desc")] == asked[::-1]
    assert [found.id for found in completions.list(after=asked[2])] == asked[3:]
    page = get(gateway, "?limit=2").json()
    assert {name: page[name] for name in page.keys() - {"data"}} == {
        "object": "list", "first_id": asked[0], "last_id": asked[1], "has_more": True,
    }  # fmt: skip
    page = get(gateway, f"?after={asked[4]}").json()
    assert page == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip


def test_lists_are_filtered_by_metadata_and_model(gateway: Running) -> None:
    home = [ask(gateway, metadata={"screen": "home", "day": str(i)}) for i in range(3)]
    ask(gateway, metadata={"screen": "shop", "day": "1"})
    completions = gateway.openai().chat.completions
    assert [found.id for found in completions.list(metadata={"screen": "home"}, limit=2)] == home
    both = completions.list(metadata={"screen": "home", "day": "1"}).data
    assert [found.id for found in both] == [home[1]]
    assert completions.list(metadata={"screen": "none"}).data == []
    for model in ("policy", "policy@production", "policy-0000"):
        assert len(completions.list(model=model).data) == 4
    assert completions.list(model="policy-0001").data == []
    with pytest.raises(openai.NotFoundError):
        completions.list(model="policy@canary")


def test_metadata_is_replaced_and_nothing_else_is(gateway: Running) -> None:
    completion_id = ask(gateway, metadata={"old": "1"})
    completions = gateway.openai().chat.completions
    changed = completions.update(completion_id, metadata={"new": "2"})
    assert changed == completions.retrieve(completion_id)
    assert changed.metadata == {"new": "2"}
    assert completions.list(metadata={"old": "1"}).data == []
    with pytest.raises(openai.BadRequestError) as caught:
        completions.update(completion_id, metadata={}, extra_body={"model": "policy-0001"})
    assert (caught.value.param, caught.value.code) == ("model", "unknown_field")
    assert completions.update(completion_id, metadata=None).metadata == {}


@pytest.mark.parametrize(
    "metadata",
    [{str(i): "x" for i in range(17)}, {"k" * 65: "x"}, {"k": "x" * 513}, {"k": 1}, ["k"], "k"],
)
def test_metadata_out_of_bounds_is_refused_by_name(gateway: Running, metadata: Any) -> None:
    completion_id = ask(gateway, metadata={"old": "1"})
    with pytest.raises(openai.BadRequestError) as caught:
        gateway.openai().chat.completions.update(completion_id, metadata=metadata)
    assert caught.value.param == "metadata"
    assert gateway.openai().chat.completions.retrieve(completion_id).metadata == {"old": "1"}


def test_a_deleted_one_is_gone_everywhere(gateway: Running) -> None:
    completion_id = ask(gateway, n=4)
    completions = gateway.openai().chat.completions
    deleted = completions.delete(completion_id)
    assert (deleted.id, deleted.deleted) == (completion_id, True)
    assert deleted.object == "chat.completion.deleted"
    with pytest.raises(openai.NotFoundError):
        completions.retrieve(completion_id)
    with pytest.raises(openai.NotFoundError):
        completions.delete(completion_id)
    with pytest.raises(openai.NotFoundError):
        list(completions.messages.list(completion_id))
    assert completions.list().data == []
    assert list(eventlog.read(gateway.redis, "completions")) == []
    assert gateway.redis.zcard(keys.stored("default")) == 0
    judgement = {"completion_id": completion_id, "thumb": "up"}
    answer = httpx2.post(
        f"{gateway.url}/v1/feedback/ratings",
        json=judgement,
        headers={"authorization": f"Bearer {gateway.secret}"},
    )
    assert answer.status_code == 404


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_deleted_one_is_not_replayed_for_its_idempotency_key(
    gateway: Running, is_stream: bool
) -> None:
    def send(method: str, path: str, body: Any = None) -> httpx2.Response:
        headers = {"authorization": f"Bearer {gateway.secret}", "idempotency-key": "once"}
        url = f"{gateway.url}/v1/chat/completions{path}"
        return httpx2.request(method, url, json=body, headers=headers)

    body = {"model": "policy", "messages": HELLO, "stream": is_stream}
    answer = send("POST", "", body)
    assert send("POST", "", body).headers["idempotent-replayed"] == "true"
    (found,) = gateway.openai().chat.completions.list().data
    assert found.id in answer.text
    kept = [name for name in gateway.redis.scan_iter() if b"idem" in name]
    assert len(kept) == 1
    assert send("DELETE", f"/{found.id}").status_code == 200
    assert not gateway.redis.exists(*kept)
    again = send("POST", "", body)
    assert "idempotent-replayed" not in again.headers
    assert found.id not in again.text


def test_the_messages_are_those_that_it_answers(gateway: Running) -> None:
    completion_id = ask(gateway)
    messages = gateway.openai().chat.completions.messages
    found = list(messages.list(completion_id, limit=3))
    assert [message.id for message in found] == [f"{completion_id}-{i}" for i in range(4)]
    assert [message.role for message in found] == ["system", "user", "assistant", "user"]
    assert [m.content for m in found] == ["be kind", "hello\nyou", "yes?", "hello there"]
    assert found[0].content_parts is None
    assert found[1].content_parts is not None
    assert [part.to_dict() for part in found[1].content_parts] == HELLO[1]["content"]
    backwards = messages.list(completion_id, limit=3, order="desc")
    assert [message.id for message in backwards] == [message.id for message in reversed(found)]
    with pytest.raises(openai.BadRequestError) as caught:
        messages.list(completion_id, after="chatcmpl-another-0")
    assert caught.value.param == "after"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("order=up", "order"),
        ("after=", "after"),
        ("metadata=x", "metadata"),
        ("metdata[k]=v", "metdata[k]"),
        ("metadata[k]=" + "v" * 513, "metadata"),
        ("&".join(f"metadata[{i}]=v" for i in range(17)), "metadata"),
        ("user=ann", "user"),
    ],
)
def test_a_query_out_of_bounds_is_refused_by_name(gateway: Running, query: str, param: str) -> None:
    answer = get(gateway, f"?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_another_tenants_are_as_unknown_ones(gateway: Running) -> None:
    completion_id = ask(gateway)
    other, _ = auth.create_key(gateway.redis, name="b", scopes=("infer",), tenant="other")
    second, _ = auth.create_key(gateway.redis, name="c", scopes=("infer",))
    theirs = gateway.openai(other).chat.completions
    assert theirs.list().data == []
    for call in (
        lambda known: theirs.retrieve(known),
        lambda known: theirs.update(known, metadata={"a": "b"}),
        lambda known: theirs.delete(known),
        lambda known: theirs.messages.list(known),
    ):
        messages = []
        for known in (completion_id, "chatcmpl-unknown"):
            with pytest.raises(openai.NotFoundError) as caught:
                call(known)
            messages.append(caught.value.message.replace(known, "…"))
        assert messages[0] == messages[1]
    # A second key of the same tenant sees it, unharmed.
    assert gateway.openai(second).chat.completions.retrieve(completion_id).metadata == {}


def test_a_key_without_the_scope_sees_none(gateway: Running) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        gateway.openai(gateway.label_secret).chat.completions.list()


def test_while_redis_is_away_they_are_a_503_that_says_when_to_come_back(
    start_gateway: Callable[..., Running], redis_server: RedisServer, engine: FakeEngine
) -> None:
    gateway = start_gateway(redis_server.url, engine)
    completion_id = ask(gateway)
    redis_server.stop(kill=True)
    completions = gateway.openai().chat.completions
    for call in (
        lambda: completions.list(),
        lambda: completions.retrieve(completion_id),
        lambda: completions.update(completion_id, metadata={}),
        lambda: completions.delete(completion_id),
        lambda: completions.messages.list(completion_id),
    ):
        with pytest.raises(openai.InternalServerError) as caught:
            call()
        assert caught.value.status_code == 503
        assert caught.value.type == "service_unavailable_error"
        assert int(caught.value.response.headers["retry-after"]) >= 1
    redis_server.start()
    client = connect(redis_server.url)
    assert eventlog.get(client, "completions", completion_id) is not None
    client.close()
