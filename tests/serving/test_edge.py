"""What every request passes, as any HTTP client sees it."""

from __future__ import annotations

import httpx2
import pytest

from tests.serving.conftest import Running


def error_of(answer: httpx2.Response) -> dict[str, object]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


def test_a_valid_request_id_is_echoed_and_another_replaced(gateway: Running) -> None:
    url = f"{gateway.url}/healthz"
    answer = httpx2.get(url, headers={"x-request-id": "trace-1"})
    assert answer.headers["x-request-id"] == "trace-1"
    answer = httpx2.get(url, headers={"x-request-id": "x y\t<z>"})
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("PUT", "/v1/models", 405),
        ("POST", "/v1/chat/completions", 401),
    ],
)
def test_every_error_has_openais_shape(
    gateway: Running, method: str, path: str, status: int
) -> None:
    answer = httpx2.request(method, gateway.url + path)
    assert answer.status_code == status
    assert error_of(answer)["message"]
    assert answer.headers["x-should-retry"] == "false"


def test_what_is_no_json_is_a_400_on_every_route(gateway: Running) -> None:
    headers = {"authorization": f"Bearer {gateway.secret}", "content-type": "application/json"}
    for path in ("chat/completions", "completions", "moderations", "feedback/rankings"):
        url = f"{gateway.url}/v1/{path}"
        answer = httpx2.post(url, content=b"{no json", headers=headers)
        assert (answer.status_code, path) == (400, path)
        assert "JSON" in str(error_of(answer)["message"])


def test_a_body_without_a_length_is_counted_as_it_comes(gateway: Running) -> None:
    def endless() -> object:
        for _ in range(40):
            yield b"x" * 50_000

    headers = {"authorization": f"Bearer {gateway.secret}"}
    url = f"{gateway.url}/v1/chat/completions"
    answer = httpx2.post(url, content=endless(), headers=headers)
    assert answer.status_code == 413
    assert error_of(answer)["code"] == "request_too_large"


def test_the_documentation_lists_every_route(gateway: Running) -> None:
    paths = httpx2.get(f"{gateway.url}/openapi.json").json()["paths"]
    assert {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/v1/moderations",
        "/v1/feedback/rankings",
        "/v1/feedback/assignments/next",
        "/policy",
        "/admin/rollback",
        "/metrics",
    } <= set(paths)
    body = paths["/v1/chat/completions"]["post"]["requestBody"]
    assert "messages" in body["content"]["application/json"]["schema"]["properties"]


def test_metrics_count_requests_by_version(gateway: Running) -> None:
    gateway.openai().chat.completions.create(
        model="policy", messages=[{"role": "user", "content": "one two"}]
    )
    text = httpx2.get(f"{gateway.url}/metrics").text
    assert 'hone_requests_total{endpoint="chat",status="200",version="policy-0000"} 1.0' in text
    assert 'hone_tokens_total{version="policy-0000",what="completion"} 2.0' in text
    assert 'hone_moderation_total{outcome="passed",stage="prompt"} 1.0' in text
    assert "hone_outbox_depth 0.0" in text
    assert 'hone_production_info{digest="bbbb' in text
