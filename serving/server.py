"""uvicorn's server, with bounds for clients that are slow beyond reason, and an end that cuts nobody off.

uvicorn itself waits for a client without end. Here a connection is broken off when its client takes
nothing of what waits for it, or does not come to the end of its request. To the request under way
it is then as if the client had left.

uvicorn closes idle connections the moment it is told to end, and a request that is on its way over one is
lost. Here every answer says from then on, or from SIGUSR1 on, that its connection is closed behind it; only
those over which nothing has come for a while are closed without.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import signal
import socket
import sys
import termios
import threading
import time
from typing import Any

import uvicorn

log = logging.getLogger(__name__)

_TICKS = 10  # of a tenth of a second, from one look at the connections to the next
# What the kernel keeps of an answer that a client does not take; by itself up to 4 MB (tcp_wmem),
# and the stream would run on that far ahead of its reader. What is on its way is not bounded by it.
_KERNEL_BYTES = 1 << 16
_LET_GO_S = 1.0  # clients and proxies that ask more often than this have left by themselves
_CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """Written by its own event loop."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        read_timeout_s: float,
        write_timeout_s: float,
        let_go_s: float = _LET_GO_S,
    ) -> None:
        super().__init__(config)
        self._let_go_s = let_go_s
        self._read_timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s
        # By connection, since when (monotonic seconds): how many bytes its client has not taken …
        self._untaken: dict[Any, tuple[int, float]] = {}
        self._unasked: dict[Any, float] = {}  # … and those whose request has not come whole

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:  # those it accepts inherit the option
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_BYTES)
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.let_go)

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0:
            self._break_off(time.monotonic())
        return await super().on_tick(counter)

    def let_go(self) -> None:
        """Have clients leave: from here on each answer is the last one over its connection."""
        if _CLOSE not in self.config.encoded_headers:
            self.config.encoded_headers.append(_CLOSE)  # from the next tick on
            self.server_state.default_headers.append(_CLOSE)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self.let_go()
        deadline = time.monotonic() + self._let_go_s
        while self.server_state.connections and time.monotonic() < deadline:
            if self.force_exit:
                break
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    def _break_off(self, now: float) -> None:
        untaken, self._untaken = self._untaken, {}
        unasked, self._unasked = self._unasked, {}
        for connection in list(self.server_state.connections):
            if connection.transport.get_write_buffer_size():
                amount = _untaken_bytes(connection.transport)
                known, since = untaken.get(connection, (None, now))
                since = since if known == amount else now
                self._untaken[connection] = amount, since
                if now - since >= self._write_timeout_s:
                    log.warning("a client takes nothing of its answer: broken off")
                    connection.transport.abort()
            elif _is_asking(connection):
                since = self._unasked[connection] = unasked.get(connection, now)
                if now - since >= self._read_timeout_s:
                    log.info("a client does not come to the end of its request: broken off")
                    connection.transport.abort()


def _untaken_bytes(transport: asyncio.Transport) -> int:
    """What waits here and in the kernel, which is told of every byte that a slow client takes."""
    connection = transport.get_extra_info("socket")
    queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    return transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)


def _is_asking(connection: Any) -> bool:
    """Whether a request has begun, or should have, and is not here as a whole."""
    cycle = connection.cycle
    if cycle is None or cycle.response_complete:
        return connection.timeout_keep_alive_task is None  # else idle, with a time of its own
    return bool(cycle.more_body)
