"""A round: one directory, its steps, each finished when its `DONE` exists.

Of a policy: `beat → snapshot → reward → ppo → gate → publish`; of moderation's classifier:
`beat → snapshot → fit → gate → publish`. One of either kind at a time.

State has one writer: the worker that holds the round's lease. The lease carries a fencing token and
expires when its worker dies; `tick` then hands the round to another one, which goes on at the
first step
without `DONE`. Nothing here depends on Celery delivering a message exactly once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import redis

from feedback import eventlog, keys
from feedback.corrections import Correction
from feedback.errors import Conflict, NotFound, Unavailable
from feedback.events import Feedback, RoundChanged, new_id
from feedback.history import History
from moderation.versions import Versions
from serving.registry import PRODUCTION, Registry
from serving.settings import ServingSettings
from training.settings import TrainingSettings

POLICY, MODERATION = "policy", "moderation"
STEPS = ("snapshot", "reward", "ppo", "gate", "publish")
STEPS_OF = {POLICY: STEPS, MODERATION: ("snapshot", "fit", "gate", "publish")}
MAX_ATTEMPTS = 6  # of one step: a step that kills its worker must not do so for ever


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`round.json`: what a round starts from. Written once."""

    round_id: str
    recipe: str
    parent: str  # version in production when the round began
    parent_path: str | None  # its adapter; None for the base
    base_model: str
    engine_urls: list[str]
    seed: int
    created: float  # unix seconds
    kind: str = POLICY
    # Of `hone train` only, which is one step of a round by itself:
    is_round: bool = True  # False: nobody's labeling queue is put in another order
    snapshot: str | None = None  # a dataset elsewhere; None: the round's own
    reward: str | None = None  # a reward model elsewhere; None: the round's own
    num_folds: int = 0  # of the reward model's cross-validation


def directory(settings: ServingSettings, round_id: str) -> Path:
    return settings.data_dir / "rounds" / round_id


def is_done(folder: Path, step: str) -> bool:
    return (folder / step / "DONE").exists()


def read_plan(folder: Path) -> Plan:
    return Plan(**json.loads((folder / "round.json").read_text()))


class Rounds:
    """The state of rounds in Redis and on disk."""

    def __init__(
        self, client: redis.Redis, serving: ServingSettings, training: TrainingSettings
    ) -> None:
        self.redis = client
        self._serving = serving
        self._training = training

    def active(self) -> str | None:
        """Id of the round under way."""
        found = cast("bytes | None", self.redis.get(keys.ROUND_ACTIVE))
        return found.decode() if found else None

    def new_judgements(self) -> int:
        """How many judgements no snapshot has seen; corrections of moderation are none."""
        trained, counted = keys.JUDGEMENTS_TRAINED, keys.JUDGEMENTS_COUNTED
        wanted = self._training.min_new_judgements
        return self._count_new(
            trained, counted, is_meant=lambda form: form != Correction.form, wanted=wanted
        )

    def new_corrections(self) -> int:
        """How many corrections of moderation no snapshot has seen."""
        trained, counted = keys.CORRECTIONS_TRAINED, keys.CORRECTIONS_COUNTED
        wanted = self._training.min_new_corrections
        return self._count_new(
            trained, counted, is_meant=lambda form: form == Correction.form, wanted=wanted
        )

    def _count_new(
        self, trained_key: str, counted_key: str, *, is_meant: Callable[[str], bool], wanted: int
    ) -> int:
        """Each is read once, when it is new: not all of them every time. `wanted`: how many start a round,
        for who looks on."""
        trained = cast("bytes | None", self.redis.get(trained_key)) or b"-"
        counted = cast("dict[bytes, bytes]", self.redis.hgetall(counted_key))
        count, last = 0, trained.decode()
        if counted.get(b"since") == trained:
            count, last = int(counted[b"count"]), counted[b"through"].decode()
        before = last
        for entry, event in History(self.redis).read(Feedback.kind, after=last):
            assert isinstance(event, Feedback)
            count, last = count + is_meant(event.form), entry
        if last != before:
            seen: dict[Any, Any] = {
                "since": trained,
                "through": last,
                "count": count,
                "wanted": wanted,
            }
            self.redis.hset(counted_key, mapping=seen)
        return count

    def start(self, *, kind: str = POLICY, recipe: str | None = None, reason: str) -> str:
        """Begin a round. Raises Conflict when one is under way or learning is paused."""
        if self.redis.exists(keys.LEARNING_PAUSED):
            raise Conflict("learning is paused; `hone rounds resume` lets rounds start again")
        round_id = f"round-{self.redis.incr(keys.ROUND_SEQ):04d}"
        state: dict[Any, Any] = {
            "round_id": round_id,
            "kind": kind,
            "recipe": (recipe or self._training.recipe) if kind == POLICY else "",
            "status": "running",
            "step": STEPS_OF[kind][0],
            "reason": reason,
            "started": time.time(),
        }
        self.redis.hset(keys.round_state(round_id), mapping=state)
        if not self.redis.set(keys.ROUND_ACTIVE, round_id, nx=True):
            self.redis.delete(keys.round_state(round_id))
            raise Conflict(f"{self.active()} is under way; one round at a time")
        self.record(round_id, "started", reason=reason)
        return round_id

    def prepare(self, round_id: str) -> Path:
        """The round's directory with its plan; made by the first worker that takes the round."""
        folder = directory(self._serving, round_id)
        if (folder / "round.json").exists():
            return folder
        is_policy = self.kind(round_id) == POLICY
        plan = self._policy_plan(round_id) if is_policy else self._moderation_plan(round_id)
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "round.json.partial"
        partial.write_text(json.dumps(asdict(plan), indent=1))
        partial.rename(folder / "round.json")
        return folder

    def _policy_plan(self, round_id: str) -> Plan:
        live = Registry(self.redis).snapshot()
        parent = live.resolve(PRODUCTION)
        if parent is None:
            raise Unavailable(
                "no version is in production yet; start the gateway and an engine first"
            )
        return Plan(
            round_id=round_id,
            recipe=self.state(round_id).get("recipe") or self._training.recipe,
            parent=parent.version,
            parent_path=None if parent.kind == "base" else parent.path,
            base_model=str(self._serving.base_model),
            engine_urls=list(self._serving.engine_urls),
            seed=_number(round_id),
            created=time.time(),
        )

    def _moderation_plan(self, round_id: str) -> Plan:
        parent = Versions(self.redis).live().wanted
        return Plan(
            round_id=round_id,
            recipe="",
            parent=parent.version,
            parent_path=parent.path,
            base_model="",
            engine_urls=[],
            seed=_number(round_id),
            created=time.time(),
            kind=MODERATION,
        )

    def kind(self, round_id: str) -> str:
        """Of the policy, or of moderation."""
        return self.state(round_id).get("kind", POLICY)

    def state(self, round_id: str) -> dict[str, str]:
        """What `hone rounds show` shows."""
        raw = cast("dict[bytes, bytes]", self.redis.hgetall(keys.round_state(round_id)))
        return {name.decode(): value.decode() for name, value in raw.items()}

    def update(self, round_id: str, **fields: str | float) -> None:
        self.redis.hset(keys.round_state(round_id), mapping=dict[Any, Any](fields))

    def finish(self, round_id: str, *, status: str, **detail: Any) -> None:
        """Close a round: finished, refused (by the gate), failed or cancelled. Repeating is
        harmless."""
        self.update(round_id, status=status, ended=time.time(), detail=json.dumps(detail))
        self.record(round_id, status, **detail)
        if self.active() == round_id:
            self.redis.delete(keys.ROUND_ACTIVE)

    def retry(self, round_id: str) -> None:
        """Go on with a round that failed or was cancelled, where it was. What is to be different stands in
        its recipe.json by then. Raises NotFound, Conflict."""
        state = self.state(round_id)
        if not state:
            raise NotFound(f"there is no {round_id}; `hone rounds list` shows what there is")
        if state["status"] not in ("failed", "cancelled"):
            raise Conflict(
                f"{round_id} is {state['status']}: only a failed or cancelled one goes on"
            )
        if not self.redis.set(keys.ROUND_ACTIVE, round_id, nx=True):
            raise Conflict(f"{self.active()} is under way; one round at a time")
        attempts = [f"attempts:{step}" for step in STEPS_OF[self.kind(round_id)]]
        self.redis.hdel(keys.round_state(round_id), "ended", "detail", "error", *attempts)
        self.update(round_id, status="running")
        self.record(round_id, "retried")

    def record(self, round_id: str, what: str, **detail: Any) -> None:
        """An event of the log."""
        event = RoundChanged(
            id=new_id("rnd_"), created=time.time(), round_id=round_id, what=what, detail=detail
        )
        eventlog.append(self.redis, event)

    def mark_trained(self, bounds: dict[str, str | None], *, kind: str = POLICY) -> None:
        """What was said up to a snapshot's bound is no news any more for rounds of this kind."""
        if bounds["feedback"] is not None:
            key = keys.JUDGEMENTS_TRAINED if kind == POLICY else keys.CORRECTIONS_TRAINED
            self.redis.set(key, bounds["feedback"])

    def list(self) -> list[dict[str, str]]:
        """All rounds, oldest first."""
        last = int(cast("bytes | None", self.redis.get(keys.ROUND_SEQ)) or 0)
        states = (self.state(f"round-{number:04d}") for number in range(1, last + 1))
        return [state for state in states if state]


def _number(round_id: str) -> int:
    return int(round_id.removeprefix("round-"))
