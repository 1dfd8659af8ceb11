from __future__ import annotations

import pytest
import redis

from feedback.connection import connect_async


async def test_a_connection_that_uvloop_finds_closed_is_a_redis_that_is_away(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect_async(redis_url) as client:
        connection = client.connection_pool.make_connection()

        async def closed(command: object) -> None:
            raise RuntimeError("unable to perform operation; the handler is closed")

        monkeypatch.setattr(connection, "_send_packed_command", closed)
        with pytest.raises(redis.ConnectionError, match="closed"):
            await connection.connect()
        await connection.disconnect()
