"""`/admin/webhooks` and `hone webhooks …`, up to a promotion that a receiver is told of."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import openai
import pytest
from typer.testing import CliRunner

from feedback.errors import BadRequest
from serving.cli import app
from serving.webhooks.delivery import Deliverer
from tests.serving.conftest import Running
from tests.serving.test_admin import call, promote, publish
from tests.serving.webhook_receiver import Receiver, wait_until


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    served = Receiver()
    served.start()
    yield served
    served.stop()


def test_a_promotion_and_a_rollback_are_told(
    gateway: Running, redis_url: str, receiver: Receiver
) -> None:
    made = call(gateway, "POST", "/admin/webhooks", {"url": f"{receiver.url}/hook"})
    assert made.status_code == 201
    publish(gateway, "policy-0001")
    promote(gateway, "policy-0001")
    call(gateway, "POST", "/admin/rollback")
    deliverer = Deliverer(redis_url, poll_s=0.01)
    deliverer.ensure_running()
    wait_until(lambda: len(receiver.posts) == 2)
    deliverer.stop()
    told = [(post.event["type"], post.event["data"]["version"]) for post in receiver.posts]
    assert told == [("policy.promoted", "policy-0001"), ("policy.rolled_back", "policy-0000")]
    for post in receiver.posts:
        gateway.openai().webhooks.verify_signature(
            post.body, post.headers, secret=made.json()["secret"]
        )


def test_an_endpoint_is_made_listed_without_its_secret_tested_and_removed(
    gateway: Running, receiver: Receiver
) -> None:
    wanted = {"url": f"{receiver.url}/hook", "events": ["gate.failed"]}
    made = call(gateway, "POST", "/admin/webhooks", wanted).json()
    path = f"/admin/webhooks/{made['id']}"
    listed = call(gateway, "GET", "/admin/webhooks").json()
    (row,) = listed["data"]
    assert (row["url"], row["events"], row["pending"]) == (wanted["url"], ["gate.failed"], 0)
    assert made["secret"] not in str(listed)
    assert call(gateway, "POST", f"{path}/test").json() == {
        "id": made["id"],
        "delivered": True,
        "outcome": "200",
    }
    (post,) = receiver.posts
    assert post.event["type"] == "webhook.test"
    gateway.openai().webhooks.verify_signature(post.body, post.headers, secret=made["secret"])
    receiver.answers["hook"] = [418]
    assert not call(gateway, "POST", f"{path}/test").json()["delivered"]
    assert call(gateway, "DELETE", path).json()["deleted"]
    assert call(gateway, "GET", "/admin/webhooks").json()["data"] == []
    for method, missing in (("DELETE", path), ("POST", f"{path}/test")):
        assert call(gateway, method, missing).status_code == 404


def test_a_wrong_address_is_a_400_that_names_the_field(gateway: Running) -> None:
    refused = call(gateway, "POST", "/admin/webhooks", {"url": "gopher://example.com"})
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "url")
    assert "http or https" in error["message"]
    unknown = {"url": "https://example.com", "events": ["policy.eaten"]}
    assert call(gateway, "POST", "/admin/webhooks", unknown).json()["error"]["param"] == "events"


def test_only_an_operator_sees_or_changes_webhooks(gateway: Running) -> None:
    headers = {"authorization": f"Bearer {gateway.secret}"}
    for method, path in (
        ("GET", "/admin/webhooks"),
        ("POST", "/admin/webhooks"),
        ("POST", "/admin/webhooks/whk_1/test"),
        ("DELETE", "/admin/webhooks/whk_1"),
    ):
        body = {"url": "https://example.com"}
        answer = httpx2.request(method, gateway.url + path, headers=headers, json=body)
        assert (answer.status_code, path) == (403, path)
        assert httpx2.request(method, gateway.url + path, json=body).status_code == 401


def test_the_commands_make_list_test_and_remove(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    hone = CliRunner()
    url = f"{receiver.url}/hook"
    shown = hone.invoke(app, ["webhooks", "add", url, "--event", "round.finished"]).stdout
    secret, made = shown.splitlines()
    endpoint_id = made.split(".")[0]
    assert secret.startswith("whsec_")
    listed = hone.invoke(app, ["webhooks", "list", "--json"]).stdout
    (row,) = json.loads(listed)
    assert (row["id"], row["events"], row["pending"]) == (endpoint_id, ["round.finished"], 0)
    assert secret not in listed
    text = hone.invoke(app, ["webhooks", "list"]).stdout
    assert secret not in text
    assert "round.finished  not called yet  0 pending, 0 given up" in text
    tested = hone.invoke(app, ["webhooks", "test", endpoint_id])
    assert (tested.exit_code, tested.stdout) == (0, f"{url}: 200\n")
    (post,) = receiver.posts
    with openai.OpenAI(api_key="none") as client:
        client.webhooks.verify_signature(post.body, post.headers, secret=secret)
    receiver.answers["hook"] = [500]
    assert hone.invoke(app, ["webhooks", "test", endpoint_id]).exit_code == 1
    assert endpoint_id in hone.invoke(app, ["webhooks", "remove", endpoint_id]).stdout
    assert json.loads(hone.invoke(app, ["webhooks", "list", "--json"]).stdout) == []
    refused = hone.invoke(app, ["webhooks", "add", "mailto:op@example.com"])
    assert isinstance(refused.exception, BadRequest)
