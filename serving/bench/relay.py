"""The floor under a gateway's cost: bytes passed on between two sockets, and nothing else done.

One Python process on the gateway's event loop. It reads no HTTP, so whatever a gateway costs less
than this was not measured right.

    python -m serving.bench.relay PORT UPSTREAM_PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

from serving.bench.load import run_loop


class Side(asyncio.Protocol):
    """One of the two connections. What it receives before the other is there is kept."""

    def __init__(self) -> None:
        self.other: asyncio.Transport | None = None
        self.transport: asyncio.Transport | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


class Client(Side):
    """The client's side; it opens the other."""

    def __init__(self, upstream_port: int) -> None:
        super().__init__()
        self._upstream_port = upstream_port
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self.other, upstream = await loop.create_connection(Side, "127.0.0.1", self._upstream_port)
        upstream.other = self.transport
        self.other.writelines(self.early)


async def _serve(port: int, upstream_port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Client(upstream_port), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    run_loop(_serve(int(sys.argv[1]), int(sys.argv[2])))
