"""GET /v1/feedback: what a caller said, and what it replaced."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from feedback import own
from serving import auth
from tests.serving.conftest import Running

HELLO: Any = [{"role": "user", "content": "hello there"}]


def ask(
    gateway: Running, path: str = "", *, key: str | None = None, **query: Any
) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key or gateway.secret}"}
    return httpx2.get(f"{gateway.url}/v1/feedback{path}", headers=headers, params=query)


def rate(gateway: Running, likert: int, *, completion_id: str = "", key: str | None = None) -> str:
    secret = key or gateway.secret
    if not completion_id:
        client = gateway.openai(secret)
        completion_id = client.chat.completions.create(model="policy", messages=HELLO).id
    body = {"completion_id": completion_id, "likert": likert}
    headers = {"authorization": f"Bearer {secret}"}
    answer = httpx2.post(f"{gateway.url}/v1/feedback/ratings", json=body, headers=headers)
    assert answer.status_code == 201
    return str(answer.json()["id"])


def test_the_newest_come_first_page_by_page(gateway: Running) -> None:
    said = [rate(gateway, likert) for likert in (1, 2, 3, 4, 5)]
    pages, after = [], {}
    while True:
        page = ask(gateway, limit=2, **after).json()
        pages.append([item["id"] for item in page["data"]])
        assert (page["first_id"], page["last_id"]) == (pages[-1][0], pages[-1][-1])
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    assert pages == [said[:2:-1], [said[2], said[1]], [said[0]]]


def test_a_changed_judgement_has_its_history_and_what_was_taken_back_is_listed(
    gateway: Running,
) -> None:
    completion_id = gateway.openai().chat.completions.create(model="policy", messages=HELLO).id
    first, second, third = (rate(gateway, n, completion_id=completion_id) for n in (2, 5, 6))
    item = ask(gateway, f"/{third}").json()
    assert (item["replaces"], item["body"]["likert"]) == (second, 6)
    assert item["completion_ids"] == [completion_id]
    assert [(before["id"], before["body"]["likert"]) for before in item["history"]] == [
        (second, 5),
        (first, 2),
    ]
    headers = {"authorization": f"Bearer {gateway.secret}"}
    assert httpx2.delete(f"{gateway.url}/v1/feedback/{third}", headers=headers).status_code == 200
    newest = ask(gateway).json()["data"][0]
    assert (newest["form"], newest["body"]) == ("retraction", {"of": third})


def test_nobody_sees_or_takes_back_what_another_key_said(gateway: Running) -> None:
    mine = rate(gateway, 3)
    other, _ = auth.create_key(gateway.redis, name="other", scopes=("infer",))
    theirs = rate(gateway, 4, key=other)
    assert [item["id"] for item in ask(gateway).json()["data"]] == [mine]
    assert [item["id"] for item in ask(gateway, key=other).json()["data"]] == [theirs]
    assert ask(gateway, f"/{theirs}").status_code == 404
    headers = {"authorization": f"Bearer {gateway.secret}"}
    taken = httpx2.delete(f"{gateway.url}/v1/feedback/{theirs}", headers=headers)
    assert taken.status_code == 404


def test_a_long_walk_is_cut_short_and_goes_on_from_there(
    gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = rate(gateway, 3)
    other, _ = auth.create_key(gateway.redis, name="other", scopes=("infer",))
    for likert in (1, 2, 3):
        rate(gateway, likert, key=other)
    monkeypatch.setattr(own, "_LOOK_AT", 1)
    monkeypatch.setattr(own, "_MAX_LOOKS", 2)
    first = ask(gateway).json()
    assert (first["data"], first["has_more"]) == ([], True)
    second = ask(gateway, after=first["last_id"]).json()
    assert [item["id"] for item in second["data"]] == [mine]


@pytest.mark.parametrize(("query", "status"), [({"limit": 0}, 422), ({"after": "fbk_no"}, 404)])
def test_a_wrong_query_is_refused(gateway: Running, query: dict[str, Any], status: int) -> None:
    answer = ask(gateway, **query)
    assert answer.status_code == status
    assert answer.json()["error"]["param"] in query


def test_without_a_key_there_is_nothing_to_see(gateway: Running) -> None:
    assert ask(gateway, key="sk-wrong").status_code == 401
