"""The gateway does what its own /openapi.json says: by hand once per operation, then by schemathesis."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from feedback import keys
from moderation.versions import ModerationRecord, Versions
from serving import auth
from serving.registry import PolicyRecord, Registry
from serving.schemas.document import OPERATIONS, operations
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

HELLO = {"model": "policy", "messages": [{"role": "user", "content": "hello there"}]}
CHAT = "/v1/chat/completions"
# Whether a judgement can be true depends on what it is about; an address is to be http(s)://….
MORE_RULES = ("/v1/feedback", "/feedback", "/admin/webhooks")
EXAMPLES = 20  # per operation and mode

Send = Callable[..., httpx2.Response]


@pytest.fixture
def gateway(start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine) -> Running:
    """No limit gets in the way."""
    return start_gateway(redis_url, engine, default_requests_per_minute=10**6, max_model_len=10**6)


@pytest.fixture
def secret(gateway: Running) -> str:
    """A key that may do everything."""
    made, _ = auth.create_key(gateway.redis, name="all", scopes=auth.SCOPES)
    return made


@pytest.fixture
def document(gateway: Running) -> dict[str, Any]:
    fetched: dict[str, Any] = httpx2.get(f"{gateway.url}/openapi.json").json()
    return fetched


def described(document: dict[str, Any], gateway: Running) -> schemathesis.BaseSchema:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=gateway.url)
    return schema


def test_every_operation_is_named_with_its_answer_and_its_errors(document: dict[str, Any]) -> None:
    found = operations(document["paths"])
    assert set(found) == set(OPERATIONS)
    for (method, path), operation in found.items():
        responses = operation["responses"]
        assert operation["security"], path
        assert {"401", "403", "429"} <= set(responses), (method, path)
        for status, response in responses.items():
            if status == "204":
                continue
            schema = response["content"]["application/json"]["schema"]
            assert schema["$ref"].endswith("/ErrorBody") == (status >= "400"), (method, path)
    assert "HTTPValidationError" not in str(document)


def good_requests(gateway: Running, send: Send) -> dict[tuple[str, str], list[httpx2.Response]]:
    """What each operation answers to a request that is right."""
    answers: dict[tuple[str, str], list[httpx2.Response]] = {}

    def do(method: str, path: str, body: Any = None, query: str = "", **at: str) -> Any:
        answer = send(method, path.format(**at) + query, body)
        answers.setdefault((method, path), []).append(answer)
        return answer.json() if answer.status_code != 204 else None

    function = {"name": "f", "parameters": {"type": "object"}}
    two = do("post", CHAT, {**HELLO, "n": 2, "metadata": {"a": "b"}})["id"]
    do("post", CHAT, {**HELLO, "logprobs": True, "top_logprobs": 1})
    called = do("post", CHAT, {**HELLO, "tools": [{"type": "function", "function": function}]})
    send("post", CHAT, {**HELLO, "stream": True})
    do("post", CHAT, {**HELLO, "moderation": {"model": "omni-moderation-latest"}})
    do("get", CHAT)
    for completion_id in (two, called["id"]):
        do("get", f"{CHAT}/{{completion_id}}", completion_id=completion_id)
    at = {"completion_id": two}
    do("post", f"{CHAT}/{{completion_id}}", {"metadata": {"c": "d"}}, **at)
    do("get", f"{CHAT}/{{completion_id}}/messages", **at)
    do("post", "/v1/completions", {"model": "policy", "prompt": "a b", "logprobs": 1})
    do("post", "/v1/completions/{completion_id}/candidates", {"n": 2}, **at)
    do("get", "/v1/models")
    do("get", "/v1/models/{model}", model="policy-0000")
    do("post", "/v1/moderations", {"input": ["tea", "attack"]})

    deadline = time.monotonic() + 5
    while gateway.redis.zcard(keys.queue("default", "compare")) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    following, pairs = "/v1/feedback/assignments/next", "?task=compare"
    item = do("get", following, query=pairs)
    at_item = {"assignment_id": item["id"]}
    do("post", "/v1/feedback/assignments/{assignment_id}/renew", **at_item)
    a, b = ({"completion_id": two, "index": index} for index in range(2))
    do("post", "/v1/feedback/rankings", {"candidates": [a, b], "tiers": [["b"], ["a"]]})
    item = do("get", following, query=pairs)  # the candidates
    why, at_item = {"reason": "broken"}, {"assignment_id": item["id"]}
    do("post", "/v1/feedback/assignments/{assignment_id}/skip", why, **at_item)
    do("get", following, query=pairs)  # nothing waits any more
    do("post", "/v1/feedback/comparisons", {"a": a, "b": b, "preference": 1})
    said = do("post", "/v1/feedback/ratings", {**a, "likert": 5})["id"]
    do("get", "/v1/feedback")
    do("get", "/v1/feedback/{feedback_id}", feedback_id=said)
    do("delete", "/v1/feedback/{feedback_id}", feedback_id=said)
    do("post", "/v1/feedback/demonstrations", {"parent": two, "completion": "better"})
    do("post", "/v1/feedback/corrections", {**a, "labels": {"violence": False}})
    do("post", "/feedback", {"inference_id": two, "metric_name": "comment", "value": "fine"})

    record = {"kind": "adapter", "path": "/policies/1", "digest": "1" * 64, "created": 1.0}
    Registry(gateway.redis).add(PolicyRecord(version="policy-0001", parent="policy-0000", **record))
    why = {"override": "a test"}
    do("post", "/admin/policies/{version}/promote", why, version="policy-0001")
    do("get", "/policy")
    do("post", "/admin/rollback")
    begun = {"share": 0.1, "reason": "try", "override": "a test"}
    do("post", "/admin/policies/{version}/canary", begun, version="policy-0001")
    do("post", "/admin/canary/hold", {})
    do("get", "/admin/canary")
    do("post", "/admin/canary/abort", {"reason": "seen enough"})
    do("get", "/admin/canary")
    Versions(gateway.redis).add(
        ModerationRecord(version="moderation-0001", path="/m/1", digest="1")
    )
    classifier = {"version": "moderation-0001"}
    do("post", "/admin/moderation/{version}/promote", {"reason": "try"}, **classifier)
    do("post", "/admin/moderation/rollback")
    do("get", "/admin/moderation")
    do("get", "/admin/moderation/{version}", **classifier)
    for query in ("", "?forward=true", "?verify=true"):
        do("get", "/admin/lineage/{asked}", query=query, asked="policy-0001")
    do("get", "/admin/lineage/{asked}", query="?forward=true", asked=said)
    made = do("post", "/admin/keys", {"name": "new"})
    do("get", "/admin/keys")
    do("post", "/admin/keys/{key_id}/rotate", {"grace_s": 60}, key_id=made["id"])
    actions = {"prompt": {"hate": "flag"}, "completion": {"all": "allow"}}
    do("put", "/admin/keys/{key_id}/moderation", actions, key_id=made["id"])
    do("delete", "/admin/keys/{key_id}", key_id=made["id"])
    hook = do("post", "/admin/webhooks", {"url": f"{gateway.url}/nobody"})["id"]
    do("get", "/admin/webhooks")
    do("post", "/admin/webhooks/{endpoint_id}/test", endpoint_id=hook)
    do("post", "/admin/webhooks/{endpoint_id}/rotate", {"grace_s": 60}, endpoint_id=hook)
    do("delete", "/admin/webhooks/{endpoint_id}", endpoint_id=hook)
    erasure = do("delete", "/admin/users/{user_id}", user_id="nobody")["id"]
    do("get", "/admin/erasures/{erasure_id}", erasure_id=erasure)
    do("delete", "/admin/tenants/{tenant}", tenant="nobody")
    do("post", "/admin/rounds", {"reason": "try"})
    under_way = "round-0001"
    state: dict[Any, Any] = {"round_id": under_way, "status": "running", "step": "ppo"}
    gateway.redis.hset(keys.round_state(under_way), mapping=state)
    gateway.redis.mset({keys.ROUND_SEQ: 1, keys.ROUND_ACTIVE: under_way})
    do("get", "/admin/rounds")
    do("get", "/admin/rounds/{round_id}", round_id=under_way)
    do("get", "/admin/rounds/{round_id}/curves", round_id=under_way)
    do("get", "/admin/rounds/{round_id}/logs/{step}", round_id=under_way, step="ppo")
    do("post", "/admin/rounds/{round_id}/cancel", {"reason": "no"}, round_id=under_way)
    end_round(gateway, under_way, "failed")
    do("post", "/admin/rounds/{round_id}/retry", {"reason": "once more"}, round_id=under_way)
    end_round(gateway, under_way, "refused")
    do("post", "/admin/rounds/{round_id}/override", {"reason": "urgent"}, round_id=under_way)
    do("get", "/admin/policies")
    do("get", "/admin/policies/{version}", version="production")
    do("post", "/admin/learning/pause", {"reason": "look"})
    do("post", "/admin/learning/resume")
    do("get", "/admin/learning")
    for name in ("overview", "engines", "audit", "settings"):
        do("get", f"/admin/{name}")
    do("delete", f"{CHAT}/{{completion_id}}", **at)
    return answers


def end_round(gateway: Running, round_id: str, status: str) -> None:
    """As its worker leaves it, with a gate that has judged."""
    gateway.redis.hset(keys.round_state(round_id), mapping={"status": status})
    gateway.redis.delete(keys.ROUND_ACTIVE)
    report = gateway.app.state.gateway.settings.data_dir / "rounds" / round_id / "gate/report.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps({"digest": "d" * 64, "passed": False, "checks": []}))


def test_a_right_request_to_each_operation_is_answered_as_it_says_and_without_a_key_refused(
    gateway: Running, secret: str, document: dict[str, Any]
) -> None:
    sent: list[tuple[str, str, Any]] = []

    def send(method: str, path: str, body: Any, *, key: str = secret) -> httpx2.Response:
        sent.append((method, path, body))
        headers = {"authorization": f"Bearer {key}"}
        return httpx2.request(method, gateway.url + path, json=body, headers=headers, timeout=100)

    schema = described(document, gateway)
    answers = good_requests(gateway, send)
    assert set(answers) == set(OPERATIONS)
    for (method, path), given_answers in answers.items():
        for answer in given_answers:
            assert answer.status_code < 300, (method, path, answer.text)
            schema[path][method.upper()].validate_response(answer)
    for method, path, body in list(sent):
        assert send(method, path, body, key="sk-wrong").status_code == 401, (method, path)


def make_consistent(body: Any) -> None:
    """What a JSON schema says badly: which models there are, and rules across fields."""
    if not isinstance(body, dict):
        return
    if {"messages", "prompt"} & body.keys() and "model" in body:
        body["model"] = "policy"
    if body.get("stream_options"):
        body["stream"] = True
    if body.get("top_logprobs") is not None:
        body["logprobs"] = True
    if body.get("seed"):  # made with floats, it may be past the largest
        body["seed"] = min(body["seed"], 2**63 - 1)


def tried(
    operation: Any, mode: GenerationMode, *, secret: str, statuses: Counter[str]
) -> list[str]:
    """What is wrong with the answers of one operation; counts them."""
    # A key that comes again with another body is refused, whatever else is right.
    is_negative = mode is GenerationMode.NEGATIVE
    has_more_rules = is_negative or operation.path.startswith(MORE_RULES)
    # ignored_auth takes a key that was given to the strategy for a random one; see the test above.
    excluded = [ignored_auth, *([positive_data_acceptance] if has_more_rules else [])]
    made = operation.as_strategy(
        generation_mode=mode, headers={"Authorization": f"Bearer {secret}"}
    )

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=made)
    def check(case: Case) -> None:
        if mode is GenerationMode.POSITIVE:
            make_consistent(case.body)
            (case.headers or {}).pop("Idempotency-Key", None)  # another body would be refused
        answer = case.call_and_validate(excluded_checks=excluded)
        statuses[f"{answer.status_code // 100}xx"] += 1

    try:
        check()
    except Unsatisfiable:  # it takes nothing that could be wrong
        assert mode is GenerationMode.NEGATIVE
    except FailureGroup as group:
        return [f"{operation.label}: {failure}" for failure in group.exceptions]
    return []


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_made_from_it_breaks_it(
    gateway: Running, secret: str, document: dict[str, Any], mode: GenerationMode
) -> None:
    """No server error; every answer is of a kind that is named there; what is wrong is refused."""
    statuses: Counter[str] = Counter()
    failures: list[str] = []
    for found in described(document, gateway).get_all_operations():
        operation = found.ok()
        if (operation.method, operation.path) in OPERATIONS:
            failures += tried(operation, mode, secret=secret, statuses=statuses)
    assert failures == [], statuses
    assert statuses["5xx"] == 0
    assert statuses["2xx" if mode is GenerationMode.POSITIVE else "4xx"] > 100
