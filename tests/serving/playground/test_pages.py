"""Who comes in at the playground, and what a visitor may do: by HTTP, without a browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import httpx2
import openai
import pytest

from feedback import eventlog
from feedback.events import Completion, Feedback
from serving import auth
from serving.limits import OF_A_VISITOR
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

HELLO: Any = [{"role": "user", "content": "hello there"}]
Start = Callable[..., Running]


def session(gateway: Running, page: httpx2.Client | None = None, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"origin": gateway.url, "sec-fetch-site": "same-origin", **named}
    sent = {name: value for name, value in sent.items() if value}
    post = page.post if page is not None else httpx2.post
    return post(f"{gateway.url}/playground/session", headers=sent)


def token_of(answer: httpx2.Response) -> str:
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def ask(gateway: Running, token: str, **options: Any) -> Any:
    client = gateway.openai(token)
    return client.chat.completions.create(model="policy", messages=HELLO, **options)


def judge(gateway: Running, token: str, completion_id: str, **more: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {token}", **more.pop("headers", {})}
    body = {"completion_id": completion_id, "thumb": "up", **more}
    return httpx2.post(f"{gateway.url}/v1/feedback/ratings", json=body, headers=headers)


def judged(gateway: Running) -> list[Feedback]:
    return [cast(Feedback, event) for _, event in eventlog.read(gateway.redis, "feedback")]


def test_a_visitor_asks_and_judges_as_one_person_whatever_is_claimed(gateway: Running) -> None:
    answer = session(gateway)
    visitor = answer.json()["visitor"]
    completion_id = ask(gateway, token_of(answer), user="somebody else").id
    claimed = judge(gateway, token_of(answer), completion_id, labeler="somebody else")
    assert claimed.status_code == 422
    assert judge(gateway, token_of(answer), completion_id).status_code == 201
    (event,) = judged(gateway)
    assert (event.labeler, event.source) == (visitor, "end_user")
    completion = eventlog.get(gateway.redis, "completions", completion_id)
    assert isinstance(completion, Completion)
    assert completion.end_user == visitor


def test_a_visitor_takes_back_what_they_said_and_nobody_else_does(gateway: Running) -> None:
    one, other = (token_of(session(gateway)) for _ in range(2))
    said = judge(gateway, one, ask(gateway, one).id).json()["id"]
    statuses = [
        httpx2.delete(
            f"{gateway.url}/v1/feedback/{said}", headers={"authorization": f"Bearer {token}"}
        ).status_code
        for token in (other, one)
    ]
    assert statuses == [404, 200]
    assert [event.form for event in judged(gateway)] == ["rating", "retraction"]


def test_a_visitor_judges_no_other_visitors_answers(gateway: Running) -> None:
    one, other = (token_of(session(gateway)) for _ in range(2))
    completion_id = ask(gateway, one).id
    assert judge(gateway, other, completion_id).status_code == 404
    assert judged(gateway) == []
    assert judge(gateway, one, completion_id).status_code == 201


def test_two_visitors_with_the_same_idempotency_key_do_not_meet(gateway: Running) -> None:
    one, other = (token_of(session(gateway)) for _ in range(2))
    same = {"idempotency-key": "1"}
    ids = [ask(gateway, token, extra_headers=same).id for token in (one, other)]
    assert ids[0] != ids[1]
    for token, completion_id in zip((one, other), ids, strict=True):
        assert judge(gateway, token, completion_id, headers=same).status_code == 201
    assert len(judged(gateway)) == 2


def test_a_browser_stays_one_visitor_and_its_cookie_opens_nothing_else(gateway: Running) -> None:
    with httpx2.Client() as page:
        first = session(gateway, page)
        assert session(gateway, page).json()["visitor"] == first.json()["visitor"]
        cookie = first.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "path=/playground/session" in cookie
        sealed = page.cookies["hone_visitor"]
    assert (
        httpx2.get(
            f"{gateway.url}/v1/models", headers={"authorization": f"Bearer {sealed}"}
        ).status_code
        == 401
    )
    assert session(gateway).json()["visitor"] != first.json()["visitor"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/moderations"),
        ("GET", "/v1/feedback/assignments/next"),
        ("GET", "/admin/keys"),
    ],
)
def test_a_visitor_reaches_nothing_of_others(gateway: Running, method: str, path: str) -> None:
    headers = {"authorization": f"Bearer {token_of(session(gateway))}"}
    answer = httpx2.request(method, gateway.url + path, headers=headers)
    assert answer.status_code == 403
    completion_id = gateway.openai().chat.completions.create(model="policy", messages=HELLO).id
    stored = f"{gateway.url}/v1/chat/completions/{completion_id}"
    assert httpx2.get(stored, headers=headers).status_code == 403
    assert httpx2.delete(stored, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site", "origin": "https://evil.example"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "", "origin": "https://evil.example"},
        {"sec_fetch_site": "", "origin": ""},
    ],
)
def test_another_sites_page_gets_no_token(gateway: Running, headers: dict[str, str]) -> None:
    answer = session(gateway, **headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "other_origin"
    assert "set-cookie" not in answer.headers


def test_a_name_that_was_rebound_to_this_machine_is_asked_for_a_key(gateway: Running) -> None:
    rebound = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}
    behind_a_proxy = {"origin": "https://chat.example"}
    for headers in (rebound, behind_a_proxy):
        answer = session(gateway, **headers)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "api_key_needed"


def test_on_other_addresses_a_key_is_asked_for_unless_it_is_set_open(
    start_gateway: Start, redis_url: str, engine: FakeEngine
) -> None:
    for options, status in (
        ({"host": "0.0.0.0"}, 403),
        ({"host": "0.0.0.0", "playground": "open"}, 201),
        ({"playground": "key"}, 403),
    ):
        assert session(start_gateway(redis_url, engine, **options)).status_code == status, options


def test_off_there_is_no_page_no_session_and_an_old_token_is_no_good(
    start_gateway: Start, redis_url: str, engine: FakeEngine
) -> None:
    token = token_of(session(start_gateway(redis_url, engine)))
    off = start_gateway(redis_url, engine, playground="off")
    assert session(off).status_code == 404
    html = httpx2.get(off.url).text
    assert "main.js" not in html
    assert 'href="/label"' in html
    with pytest.raises(openai.AuthenticationError):
        ask(off, token)


def test_revoking_the_playgrounds_key_ends_all_visits_until_it_is_opened_again(
    gateway: Running,
) -> None:
    token = token_of(session(gateway))
    ask(gateway, token)
    (key,) = [k for k in auth.list_keys(gateway.redis) if k.name == "playground"]
    auth.revoke_key(gateway.redis, key.id)
    deadline = time.monotonic() + 5
    while session(gateway).status_code == 201:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(openai.AuthenticationError):
        ask(gateway, token)
    assert session(gateway).json()["error"]["code"] == "api_key_needed"
    assert auth.playground_key(gateway.redis) is None
    auth.reopen_playground(gateway.redis)
    ask(gateway, token_of(session(gateway)))


def test_one_visitor_at_the_limit_leaves_the_others_theirs(gateway: Running) -> None:
    busy, other = (token_of(session(gateway)) for _ in range(2))
    with httpx2.Client(base_url=gateway.url) as client:

        def look(token: str) -> int:
            headers = {"authorization": f"Bearer {token}"}
            return client.get("/v1/models", headers=headers).status_code

        most = OF_A_VISITOR.requests_per_minute
        statuses = [look(busy) for _ in range(2 * most + 1)]  # a new minute may begin meanwhile
        assert statuses[:most] == [200] * most
        assert 429 in statuses
        assert look(other) == 200


def test_the_pages_files_are_served_once_and_no_others(gateway: Running) -> None:
    html = httpx2.get(gateway.url)
    policy = html.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    script = httpx2.get(f"{gateway.url}/playground/main.js")
    assert script.headers["content-type"].startswith("text/javascript")
    known = {"if-none-match": script.headers["etag"]}
    assert httpx2.get(f"{gateway.url}/playground/main.js", headers=known).status_code == 304
    for name in ("index.html", "..%2Fvisits.py", "visits.py", ""):
        assert httpx2.get(f"{gateway.url}/playground/{name}").status_code == 404, name


def test_the_page_leads_to_labeling_and_to_the_docs_without_javascript(gateway: Running) -> None:
    html = httpx2.get(gateway.url).text
    assert 'href="/label"' in html
    assert 'href="/docs"' in html
    assert "<noscript>" in html
