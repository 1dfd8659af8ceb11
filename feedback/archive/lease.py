"""One archiver at a time. The lease saves work; what keeps two from writing the same is the manifest."""

from __future__ import annotations

import time

import redis

from feedback import keys
from feedback.errors import Conflict

LEASE_S = 60.0
_PARTS = 6

# KEYS: lease. ARGV: token, milliseconds. Only its holder renews or ends a lease.
_RENEW = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then "
    "return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
)
_RELEASE = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
)


class LeaseLost(Conflict):
    """Another process has the archive by now. Nothing may be written any more."""


class Lease:
    """Lost when it is not renewed for so many seconds."""

    def __init__(self, client: redis.Redis, token: int, ttl_s: float) -> None:
        self._redis = client
        self._ttl_ms = int(ttl_s * 1000)
        self._renew_at = 0.0  # of the monotonic clock
        self.token = token  # each lease has a higher one than all before it

    @classmethod
    def acquire(cls, client: redis.Redis, *, ttl_s: float = LEASE_S) -> Lease | None:
        """None while another process holds it."""
        token = client.incr(keys.ARCHIVE_FENCE)
        if not client.set(keys.ARCHIVE_LEASE, str(token), nx=True, px=int(ttl_s * 1000)):
            return None
        return cls(client, token, ttl_s)

    def hold(self) -> None:
        """Between short steps: renewed when a part of its time is over. Each time would be a write that
        Redis has to bring to the disk. Raises LeaseLost."""
        if time.monotonic() >= self._renew_at:
            self.renew()

    def renew(self) -> None:
        """Raises LeaseLost."""
        self._renew_at = time.monotonic() + self._ttl_ms / 1000 / _PARTS
        if not self._redis.eval(_RENEW, 1, keys.ARCHIVE_LEASE, str(self.token), str(self._ttl_ms)):
            raise LeaseLost("another process archives by now; this one stops")

    def release(self) -> None:
        self._redis.eval(_RELEASE, 1, keys.ARCHIVE_LEASE, str(self.token))
