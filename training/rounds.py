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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import redis

from feedback import eventlog, keys
from feedback.errors import Conflict, Unavailable
from feedback.events import RoundChanged, new_id
from moderation.versions import Versions
from serving import round_states
from serving.lineage import round_facts
from serving.registry import PRODUCTION, Registry
from serving.settings import ServingSettings
from training import news
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


def may_publish(folder: Path, *, digest: str) -> bool:
    """The gate passed these weights, or an operator took them for a reason. Of another digest neither counts."""
    return round_facts.may_serve(folder, digest)


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
        return news.judgements(self.redis, wanted=self._training.min_new_judgements)

    def new_corrections(self) -> int:
        """How many corrections of moderation no snapshot has seen."""
        return news.corrections(self.redis, wanted=self._training.min_new_corrections)

    def start(self, *, kind: str = POLICY, recipe: str | None = None, reason: str) -> str:
        """Begin a round. Raises Conflict when one is under way or learning is paused."""
        if self.redis.exists(keys.LEARNING_PAUSED):
            raise Conflict("learning is paused; `hone rounds resume` lets rounds start again")
        round_id = f"round-{self.redis.incr(keys.ROUND_SEQ):04d}"
        started = round_states.move(
            self.redis,
            round_id,
            round_states.START,
            event=_event(round_id, "started", reason=reason),
            round_id=round_id,
            kind=kind,
            recipe=(recipe or self._training.recipe) if kind == POLICY else "",
            step=STEPS_OF[kind][0],
            reason=reason,
            started=time.time(),
        )
        if not started.is_done:
            raise Conflict(f"{started.found} is under way; one round at a time")
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

    def parent(self, round_id: str) -> str:
        """The version that a round goes on from; empty while it has no plan, for then it is production."""
        folder = directory(self._serving, round_id)
        return read_plan(folder).parent if (folder / "round.json").exists() else ""

    def kind(self, round_id: str) -> str:
        """Of the policy, or of moderation."""
        return self.state(round_id).get("kind", POLICY)

    def state(self, round_id: str) -> dict[str, str]:
        """What `hone rounds show` shows."""
        raw = cast("dict[bytes, bytes]", self.redis.hgetall(keys.round_state(round_id)))
        return {name.decode(): value.decode() for name, value in raw.items()}

    def update(self, round_id: str, **fields: str | float) -> None:
        self.redis.hset(keys.round_state(round_id), mapping=dict[Any, Any](fields))

    def begin_step(self, round_id: str, step: str, *, token: str) -> round_states.Outcome:
        """The worker goes on with a step: not with a round that ended, or is being cancelled. From
        `publish` on it cannot be cancelled."""
        change = round_states.PUBLISH if step == STEPS[-1] else round_states.GO_ON
        return round_states.move(self.redis, round_id, change, token=token, step=step)

    def finish(
        self, round_id: str, change: round_states.Move, *, token: str = "", **detail: Any
    ) -> round_states.Outcome:
        """Close a round by FINISH, REFUSE, FAIL or CANCELLED_NOW. Repeating changes nothing."""
        if (kind := self.kind(round_id)) != POLICY:
            detail["kind"] = kind
        return round_states.move(
            self.redis,
            round_id,
            change,
            event=_event(round_id, change.after, **detail),
            token=token,
            ended=time.time(),
            detail=json.dumps(detail),
        )

    def step_done(self, round_id: str, step: str) -> None:
        """Said once, however often a worker finds it done."""
        if self.redis.hsetnx(keys.round_state(round_id), f"done:{step}", time.time()):
            eventlog.append(self.redis, _event(round_id, "step_done", step=step))

    def mark_trained(self, bounds: dict[str, str | None], *, kind: str = POLICY) -> None:
        """What was said up to a snapshot's bound is no news any more for rounds of this kind."""
        if bounds["feedback"] is not None:
            key = keys.JUDGEMENTS_TRAINED if kind == POLICY else keys.CORRECTIONS_TRAINED
            self.redis.set(key, bounds["feedback"])

    def former_seconds(self, state: Mapping[str, str]) -> list[dict[str, float]]:
        """How long each step took in the rounds before that were like this one, oldest first."""
        like = [
            other
            for other in self.list()
            if (other.get("kind", POLICY), other["recipe"])
            == (state.get("kind", POLICY), state["recipe"])
        ]
        return [
            {
                name.removeprefix("seconds:"): float(value)
                for name, value in other.items()
                if name.startswith("seconds:")
            }
            for other in like
        ]

    def list(self) -> list[dict[str, str]]:
        """All rounds, oldest first."""
        last = int(cast("bytes | None", self.redis.get(keys.ROUND_SEQ)) or 0)
        states = (self.state(f"round-{number:04d}") for number in range(1, last + 1))
        return [state for state in states if state]


def _event(round_id: str, what: str, **detail: Any) -> RoundChanged:
    return RoundChanged(
        id=new_id("rnd_"), created=time.time(), round_id=round_id, what=what, detail=detail
    )


def _number(round_id: str) -> int:
    return int(round_id.removeprefix("round-"))
