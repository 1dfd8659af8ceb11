from __future__ import annotations

import json
import time

import pytest
import redis
import redis.asyncio

from feedback import keys
from feedback.connection import connect, connect_async
from feedback.errors import BadRequest, Forbidden, NotFound, Unauthorized, Unavailable
from serving import auth
from serving.auth import Authenticator


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)


async def known(client: redis.Redis, authenticator: Authenticator) -> None:
    authenticator.update(client.hgetall(keys.API_KEYS))  # type: ignore[arg-type]


def test_what_is_stored_does_not_hold_the_key(client: redis.Redis) -> None:
    secret, record = auth.create_key(client, name="app", scopes=("infer",))
    stored = client.hgetall(keys.API_KEYS)
    assert secret not in str(stored)
    assert secret.startswith("sk-")
    assert [key.id for key in auth.list_keys(client)] == [record.id]


def test_ensuring_a_key_twice_is_one_key(client: redis.Redis) -> None:
    first = auth.ensure_key(client, "sk-the-demo-key-of-hone", name="demo", scopes=("infer",))
    again = auth.ensure_key(client, "sk-the-demo-key-of-hone", name="demo", scopes=("label",))
    assert again.id == first.id
    assert [key.scopes for key in auth.list_keys(client)] == [("label",)]


def test_weak_keys_and_unknown_scopes_are_refused(client: redis.Redis) -> None:
    with pytest.raises(BadRequest):
        auth.ensure_key(client, "sk-short", name="x", scopes=("infer",))
    for scopes in ((), ("root",), ("infer", "root")):
        with pytest.raises(BadRequest):
            auth.create_key(client, name="x", scopes=scopes)


def test_revoking_what_is_not_there_is_not_found(client: redis.Redis) -> None:
    with pytest.raises(NotFound):
        auth.revoke_key(client, "key_nobody")
    with pytest.raises(NotFound):
        auth.rotate_key(client, "key_nobody", grace_s=0)


async def test_a_rotated_key_has_a_new_secret_and_the_old_one_works_until_its_grace_is_over(
    redis_url: str, client: redis.Redis
) -> None:
    old, record = auth.create_key(client, name="app", scopes=("infer",))
    new, rotated = auth.rotate_key(client, record.id, grace_s=0.3)
    assert rotated == record
    assert [key.id for key in auth.list_keys(client)] == [record.id]
    async with connect_async(redis_url) as shared:
        authenticator = Authenticator(shared)
        await known(client, authenticator)
        assert (await authenticator.identify(new)).id == record.id
        assert (await authenticator.identify(old)).id == record.id
        time.sleep(0.35)
        with pytest.raises(Unauthorized):
            await authenticator.identify(old)
        assert (await authenticator.identify(new)).id == record.id
    auth.rotate_key(client, record.id, grace_s=60)
    assert client.hlen(keys.API_KEYS) == 2  # the first secret, over by then, is gone
    auth.revoke_key(client, record.id)
    assert client.hlen(keys.API_KEYS) == 0


async def test_a_new_key_works_before_the_next_refresh(redis_url: str, client: redis.Redis) -> None:
    async with connect_async(redis_url) as shared:
        authenticator = Authenticator(shared)
        await known(client, authenticator)
        secret, record = auth.create_key(client, name="app", scopes=("infer",))
        assert await authenticator.authenticate(f"Bearer {secret}") == record


async def test_a_key_revoked_right_after_it_was_asked_for_is_forgotten(
    redis_url: str, client: redis.Redis
) -> None:
    async with connect_async(redis_url) as shared:
        authenticator = Authenticator(shared)
        await known(client, authenticator)
        secret, record = auth.create_key(client, name="app", scopes=("infer",))
        await authenticator.identify(secret)
        auth.revoke_key(client, record.id)
        await known(client, authenticator)  # the same hash as at first
        with pytest.raises(Unauthorized):
            await authenticator.identify(secret)


async def test_known_keys_work_while_redis_is_away(redis_url: str, client: redis.Redis) -> None:
    secret, record = auth.create_key(client, name="app", scopes=("infer",))
    async with connect_async("redis://127.0.0.1:1/0") as nowhere:
        authenticator = Authenticator(nowhere)
        await known(client, authenticator)
        assert await authenticator.identify(secret) == record
        with pytest.raises(Unauthorized):
            await authenticator.identify("sk-another")


async def test_a_gateway_that_never_saw_the_keys_does_not_call_one_wrong() -> None:
    async with connect_async("redis://127.0.0.1:1/0") as nowhere:
        with pytest.raises(Unavailable):
            await Authenticator(nowhere).identify("sk-perhaps-a-right-one")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "sk-abc"])
async def test_without_a_bearer_key_nobody_is_known(redis_url: str, header: str | None) -> None:
    async with connect_async(redis_url) as shared:
        with pytest.raises(Unauthorized):
            await Authenticator(shared).authenticate(header)


def test_one_of_the_scopes_is_enough(client: redis.Redis) -> None:
    _, record = auth.create_key(client, name="lab", scopes=("label",))
    record.require("infer", "label")
    with pytest.raises(Forbidden, match="no scope 'admin'"):
        record.require("admin")


def test_a_record_of_this_release_is_read_back(client: redis.Redis) -> None:
    _, record = auth.create_key(
        client,
        name="app",
        scopes=("infer", "admin"),
        tenant="t",
        requests_per_minute=5,
        store=False,
    )
    (data,) = client.hvals(keys.API_KEYS)
    assert json.loads(data)["requests_per_minute"] == 5
    assert auth.list_keys(client) == [record]
