from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.server import Server

TIMEOUT_S = 2.0
LET_GO_S = 8.0
LARGE = 5_000_000
GET = b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """As many bytes as the path says, once the request is here."""
    await Request(scope, receive).body()
    await Response(b"x" * int(scope["path"][1:]))(scope, receive, send)


@pytest.fixture
def server() -> Iterator[Server]:
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    running = Server(config, read_timeout_s=TIMEOUT_S, write_timeout_s=TIMEOUT_S, let_go_s=LET_GO_S)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield running
    running.should_exit = True
    thread.join(10)


def ask(server: Server, num_bytes: int) -> socket.socket:
    """Has asked for so many bytes, and read the first of them."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    client.connect(server.servers[0].sockets[0].getsockname())
    client.sendall(GET % num_bytes)
    assert client.recv(15) == b"HTTP/1.1 200 OK"
    return client


def is_held(server: Server) -> bool:
    return bool(server.server_state.connections)


def test_a_client_that_takes_nothing_of_a_whole_answer_is_broken_off(server: Server) -> None:
    with ask(server, LARGE):
        time.sleep(TIMEOUT_S / 2)
        assert is_held(server)
        time.sleep(TIMEOUT_S + 1)
        assert not is_held(server)


def test_a_client_that_takes_a_little_now_and_then_is_not(server: Server) -> None:
    with ask(server, LARGE) as client:
        for _ in range(5):
            time.sleep(TIMEOUT_S / 2)
            client.recv(16_384)
        assert is_held(server)


def test_an_idle_connection_is_not(server: Server) -> None:
    with ask(server, 10) as client:
        client.recv(1000)
        time.sleep(TIMEOUT_S + 1.5)
        client.sendall(GET % 10)
        assert client.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST / HTTP/1.1\r\nhost: x\r\n",
        b"POST /1 HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
        GET % 0 + b"GET",  # after an answer
    ],
)
def test_a_request_that_does_not_come_whole_is_broken_off(server: Server, begun: bytes) -> None:
    with socket.create_connection(server.servers[0].sockets[0].getsockname()) as client:
        client.sendall(begun)
        time.sleep(TIMEOUT_S / 2)
        assert is_held(server)
        client.sendall(b" ")  # it goes on, and comes to no end
        time.sleep(TIMEOUT_S + 1.5)
        assert not is_held(server)


def test_a_server_that_ends_closes_a_connection_behind_an_answer_and_not_under_a_request(
    server: Server,
) -> None:
    with ask(server, 10) as client:
        assert client.recv(1000).endswith(b"x" * 10)
        server.should_exit = True
        while server.servers[0].is_serving():
            time.sleep(0.01)
        client.sendall(GET % 10)
        answer = b""
        while part := client.recv(1000):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"x" * 10)


def test_a_server_that_is_to_end_soon_goes_on_answering_and_has_clients_leave(
    server: Server,
) -> None:
    server.let_go()
    with ask(server, 10) as client:
        answer = b"".join(iter(lambda: client.recv(1000), b""))
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"x" * 10)
    assert server.servers[0].is_serving()
