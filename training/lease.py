"""The right to work on a round: one worker at a time has it, and loses it when it dies.

The lease carries a fencing token: whoever is told to write looks first whether it is still the one.
"""

from __future__ import annotations

import os
import threading
from typing import cast

import redis

from feedback import keys

FENCE = "HONE_ROUND_FENCE"  # set for the step's process; a step started by hand has no rival
LEASE_S = 15

# KEYS: lease, counter of tokens. ARGV: milliseconds. A token is spent only where the lease is free.
_ACQUIRE = (
    "if redis.call('EXISTS', KEYS[1]) == 1 then return nil end "
    "local token = redis.call('INCR', KEYS[2]) "
    "redis.call('SET', KEYS[1], token, 'PX', ARGV[1]) return token"
)
# KEYS: lease. ARGV: token, milliseconds. Only for its holder.
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
)


class LeaseLost(Exception):
    """Another worker has the round, or Redis forgot us. Nothing may be written any more."""


class Lease:
    """The right to write a round's state and directory. Lost when it is not renewed for LEASE_S."""

    def __init__(self, client: redis.Redis, token: str) -> None:
        self._redis = client
        self.token = token

    @classmethod
    def acquire(cls, client: redis.Redis) -> Lease | None:
        """A lease with the next fencing token, or None while another worker holds it."""
        token = client.eval(_ACQUIRE, 2, keys.ROUND_LEASE, keys.ROUND_FENCE, LEASE_S * 1000)
        return None if token is None else cls(client, str(token))

    @classmethod
    def from_environment(cls, client: redis.Redis) -> Lease:
        """The lease of the worker that started this child process."""
        return cls(client, os.environ.get(FENCE, ""))

    def renew(self) -> bool:
        """False when the lease is lost: stop at once."""
        return bool(self._redis.eval(_RENEW, 1, keys.ROUND_LEASE, self.token, LEASE_S * 1000))

    def retake(self) -> bool:
        """Take a lease that ran out back, with the same token; False when somebody else has it."""
        newest = int(cast("bytes | None", self._redis.get(keys.ROUND_FENCE)) or 0)
        if newest != int(self.token):
            return False
        return bool(self._redis.set(keys.ROUND_LEASE, self.token, nx=True, px=LEASE_S * 1000))

    def is_mine(self) -> bool:
        held = cast("bytes | None", self._redis.get(keys.ROUND_LEASE))
        return held is not None and held.decode() == self.token

    def release(self) -> None:
        self._redis.eval(_RELEASE, 1, keys.ROUND_LEASE, self.token)


class Keeper:
    """Renews a lease in the background, for as long as a `with` lasts, and gives it back.

    Redis may be away for a while: the lease is lost only when Redis says so, since while it is
    away nobody else can take it.
    """

    def __init__(self, lease: Lease) -> None:
        self.is_lost = False
        self.token = lease.token
        self._lease = lease
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._lease.release()

    def _keep(self) -> None:
        while not self._stop.wait(LEASE_S / 5):
            try:
                # After Redis was away the lease may have run out with nobody on it: take it again.
                if not self._lease.renew() and not self._lease.retake():
                    self.is_lost = True
                    return
            except (redis.ConnectionError, redis.TimeoutError):
                continue
