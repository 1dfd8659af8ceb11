"""What an operator decides about rounds: one begins, is cancelled, goes on, or is taken though its gate refused.

The command line and the gateway do it by the same functions. Who decided, and why, stays in the round's events.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, cast

import redis

from feedback import keys
from feedback.errors import Conflict, NotFound, Unprocessable
from feedback.events import RoundChanged, new_id
from serving import round_states
from serving.canary.store import Canaries
from serving.round_states import CANCELLING, PUBLISHING, REFUSED

_LAST = "publish"  # from this step on a version may be live
_OVER = ("ended", "detail", "error", "spent_s")  # what is said of a round that has ended


def request(
    client: redis.Redis, *, kind: str, recipe: str | None, actor: str, reason: str
) -> dict[str, Any]:
    """Ask for a round; the control worker takes it up when none is under way. `supersedes`: the canary that gives
    way to what it will make."""
    options = {"recipe": recipe} if recipe else {}
    asked = {**options, "kind": kind, "reason": reason, "by": actor, "requested": time.time()}
    canary = Canaries(client).running() if kind == "policy" else None
    asked["supersedes"] = canary.version if canary is not None else None
    client.set(keys.ROUND_REQUESTED, json.dumps(asked))
    return asked


def cancel(client: redis.Redis, round_id: str) -> None:
    """Have a round's worker end it; what it has made stays on disk. Raises NotFound, Conflict."""
    if _state(client, round_id)["status"] == CANCELLING:
        return
    asked = round_states.move(client, round_id, round_states.CANCEL)
    if asked.is_done:
        return
    if asked.found == PUBLISHING:
        raise Conflict(f"{round_id} is being published: roll its version back when it is live")
    raise Conflict(f"{round_id} is not under way")


def retry(client: redis.Redis, round_id: str, *, actor: str, reason: str = "") -> None:
    """Go on with a round that failed or was cancelled, where it was. What is to be different stands in
    its recipe.json by then. Raises NotFound, Conflict."""
    state = _state(client, round_id)
    is_published = state["step"] == _LAST
    retried = round_states.move(
        client,
        round_id,
        round_states.RETRY_PUBLISH if is_published else round_states.RETRY,
        event=_event(round_id, "retried", actor=actor, reason=reason),
        drop=(*_OVER, *(name for name in state if name.startswith("attempts:"))),
    )
    if not retried.is_done:
        _refuse(round_id, state, retried, "only a failed or cancelled one goes on")


def override(
    client: redis.Redis, data_dir: Path, round_id: str, *, actor: str, reason: str
) -> None:
    """Publish what the gate refused, for a reason that is kept beside its report, in the log and in the
    version. A gateway only reads that folder: the worker that goes on writes it there. Raises NotFound,
    Conflict, Unprocessable."""
    state = _state(client, round_id)
    if not reason.strip():
        raise Unprocessable("an override needs a reason", param="reason")
    report_file = data_dir / "rounds" / round_id / "gate" / "report.json"
    if state["status"] != REFUSED or not report_file.exists():
        raise Conflict(f"{round_id} is {state['status']}: only what the gate refused is overridden")
    digest = json.loads(report_file.read_text())["digest"]
    said = {"digest": digest, "actor": actor, "reason": reason, "created": time.time()}
    taken = round_states.move(
        client,
        round_id,
        round_states.OVERRIDE,
        event=_event(round_id, "overridden", actor=actor, reason=reason, digest=digest),
        drop=(*_OVER, "attempts:gate"),
        override=json.dumps(said),
    )
    if not taken.is_done:
        _refuse(round_id, state, taken, "only what the gate refused is overridden")


def _state(client: redis.Redis, round_id: str) -> dict[str, str]:
    found = cast("dict[bytes, bytes]", client.hgetall(keys.round_state(round_id)))
    if not found:
        raise NotFound(f"there is no {round_id}; `hone rounds list` shows what there is")
    return {name.decode(): value.decode() for name, value in found.items()}


def _refuse(
    round_id: str, state: dict[str, str], outcome: round_states.Outcome, wanted: str
) -> None:
    """Raises Conflict."""
    if outcome.because == "active":
        raise Conflict(f"{outcome.found} is under way; one round at a time")
    raise Conflict(f"{round_id} is {state['status']}: {wanted}")


def _event(round_id: str, what: str, **detail: Any) -> RoundChanged:
    return RoundChanged(
        id=new_id("rnd_"), created=time.time(), round_id=round_id, what=what, detail=detail
    )
