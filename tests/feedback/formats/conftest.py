from __future__ import annotations

import pytest
import redis

from feedback.connection import connect


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)
