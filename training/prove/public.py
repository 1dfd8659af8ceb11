"""Experiment E: three rounds meet the public. A stack of its own, the real model, and people at every door.

1. Misled: labelers like what end users do not. The gate, which knows labelers, passes it; end users vote against
   the canary, and it goes back by itself.
2. Poisoned: new labelers turn every ranking round. Those who are held out do not: the gate refuses.
3. Honest: those who poisoned are blocked; the first act's voters leave and are erased, since rounds learn from votes
   too; end users like what labelers like. Their votes promote it.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import stamina

from feedback.connection import connect_async
from feedback.labeling.labelers import Labelers
from serving.commands.options import ready
from serving.lineage import round_facts
from training.demo_people import Person, end_users_ask, noisy_order
from training.demo_prompts import prompts
from training.prove import voters
from training.prove.acts import Act, Outcome, Taste, acts, marks
from training.prove.label_page import Labeler
from training.prove.own_stack import own_stack
from training.prove.recording import Recording, recording
from training.prove.report import Proof

NUM_LABELERS = 3
HELDOUT_SHARE = 0.3  # of the sets; the gate's second judge learns from them
NUM_END_USERS = 96  # who ask
NUM_VOTERS = 320  # at most: at a win rate of 60 % half of all canaries have heard 156 when they end
SHARE = 0.5  # of the end users who get the canary
_NUM_CANDIDATES = 4
_ANSWER_TOKENS = 32
_AT_A_TIME = 8
_UNDECIDED_S = 60.0  # after the last vote
_ROUND_S = 3_600.0
_ERASED_S = 600.0
_SETTINGS = {
    "HONE_SERVING_CANARY_SHARE": str(SHARE),
    "HONE_SERVING_CANARY_MIN_S": "30",
    "HONE_FEEDBACK_SUPPLY_TARGET": "0",  # labelers rank what these people asked, and nothing else
    "HONE_TRAINING_MIN_NEW_JUDGEMENTS": "1000000",  # rounds start when the story says so
}


def prove(*, num_sets: int, seed: int, tell: Callable[[str], None]) -> Proof:
    """Three acts on a stack that is started and ended. `tell` gets a line for each thing that happens."""
    stamina.instrumentation.set_on_retry_hooks([])  # a busy server is no news
    with own_stack(_SETTINGS) as data_dir:
        outcomes, record = asyncio.run(_play(ready(data_dir), num_sets, seed, tell))
        gates = [row for outcome in outcomes for row in _gate(outcome, data_dir)]
    figures = {
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "gates": gates,
        "recording": [asdict(moment) for moment in record.moments],
    }
    wanted = acts(num_sets=num_sets)
    return Proof(
        experiment="E, three rounds meet the public",
        seed=seed,
        figures=figures,
        marks=marks(outcomes, wanted),
    )


def _gate(outcome: Outcome, data_dir: Path) -> list[dict[str, Any]]:
    """A row for each check."""
    report = round_facts.read(data_dir / "rounds" / outcome.round / "gate" / "report.json") or {}
    names = ("name", "value", "limit", "passed", "interval")
    return [
        {"act": outcome.act} | {name: check.get(name) for name in names}
        for check in report.get("checks", [])
    ]


async def _play(
    stack: Mapping[str, Any], num_sets: int, seed: int, tell: Callable[[str], None]
) -> tuple[list[Outcome], Recording]:
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        developer = Person(session, url=stack["url"], key=stack["api_key"])
        operator = Person(session, url=stack["url"], key=stack["admin_key"])
        async with recording(operator, tell) as record:
            story = _Story(
                stack=stack, developer=developer, operator=operator, record=record, seed=seed
            )
            return [await story.play(act) for act in acts(num_sets=num_sets)], record


@dataclass(kw_only=True)
class _Story:
    stack: Mapping[str, Any]
    developer: Person
    operator: Person
    record: Recording
    seed: int
    number: int = 0  # of the act
    voters: dict[str, list[str]] = field(default_factory=dict)  # by act

    async def play(self, act: Act) -> Outcome:
        self.number += 1
        rng = random.Random(1_000 * self.seed + self.number)
        began = time.monotonic()
        if act.erases:
            await self._erase(act.erases)
        rankings = await self._label(act, rng)
        labeled = time.monotonic()
        round_ = await self._round(act)
        trained = time.monotonic()
        running = (await self.operator.get("/admin/canary"))["running"]
        votes = 0
        ended: dict[str, Any] = {}
        if running is not None:
            votes, ended = await self._vote(running, act, rng)
        return Outcome(
            act=act.name,
            round=round_["round_id"],
            round_status=round_["status"],
            failed_checks=", ".join(_detail(round_).get("failed_checks", ())),
            version=running["version"] if running is not None else "",
            canary_outcome=ended.get("outcome", ""),
            end_reason=ended.get("end_reason", ""),
            rankings=rankings,
            votes=votes,
            production=(await self.developer.get("/policy"))["production"]["version"],
            seconds_labeling=labeled - began,
            seconds_round=trained - labeled,
            seconds_canary=time.monotonic() - trained,
        )

    async def _erase(self, act: str) -> None:
        """All that an act's voters asked and said. The control worker carries it out."""
        left = self.voters.get(act, [])
        self.record.note(act, f"{len(left)} end users leave and are erased")
        asked = [await self.operator.delete(f"/admin/users/{name}") for name in left]
        deadline = time.monotonic() + _ERASED_S
        for erasure in asked:
            while (found := await self.operator.get(f"/admin/erasures/{erasure['id']}"))[
                "status"
            ] != "done":
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not erased within {_ERASED_S:.0f} s: {found['error']}")
                await asyncio.sleep(0.3)

    async def _label(self, act: Act, rng: random.Random) -> int:
        """End users ask; labelers of this act rank. Returns the number of rankings."""
        self.record.note(act.name, "end users ask")
        await end_users_ask(
            self.developer,
            prompts(num=act.num_sets, seed=rng.randrange(2**32)),
            num_users=NUM_END_USERS,
            num_candidates=_NUM_CANDIDATES,
            max_tokens=_ANSWER_TOKENS,
            concurrency=_AT_A_TIME,
            on_answer=lambda: None,
        )
        self.record.note(act.name, "labelers rank")
        people = await self._people(act, rng)
        heldout, rest = round(act.num_sets * HELDOUT_SHARE), act.num_sets
        try:
            first = await people[0].rank(limit=heldout)
            others = await asyncio.gather(*(one.rank(limit=rest) for one in people[1:]))
        finally:
            for one in people:
                await one.leave()
        self.record.note(act.name, f"{first + sum(others)} rankings, {first} of them held out")
        return first + sum(others)

    async def _people(self, act: Act, rng: random.Random) -> list[Labeler]:
        """The held-out one first; all of them new, and trusted at their word."""
        people = []
        async with connect_async(str(self.stack["redis_url"])) as client:
            labelers = Labelers(client)
            for known in await labelers.all():
                if act.blocks and known.name.startswith(act.blocks):
                    await labelers.set_status(known.id, "blocked")
            for number in range(NUM_LABELERS + 1):
                is_heldout = number == 0
                taste = act.heldout_like if is_heldout else act.labelers_like
                name = f"{'heldout' if is_heldout else act.name}-{self.number}-{number}"
                person = Labeler(
                    url=self.stack["url"], name=name, order=_order(taste, rng.randrange(2**32))
                )
                people.append(person)
                await person.join(
                    await labelers.invite(by="prove", is_heldout=is_heldout, is_trusted=True)
                )
        return people

    async def _round(self, act: Act) -> dict[str, Any]:
        """Its state when it has ended."""
        known = {state["round_id"] for state in (await self.operator.get("/admin/rounds"))["data"]}
        await self.operator.post("/admin/rounds", {"reason": act.name})
        deadline = time.monotonic() + _ROUND_S
        while time.monotonic() < deadline:
            for state in (await self.operator.get("/admin/rounds"))["data"]:
                if state["round_id"] not in known and "ended" in state:
                    return dict(state)
            await asyncio.sleep(0.3)
        raise TimeoutError(f"the {act.name} round has not ended within {_ROUND_S / 60:.0f} minutes")

    async def _vote(
        self, running: Mapping[str, Any], act: Act, rng: random.Random
    ) -> tuple[int, dict[str, Any]]:
        """End users compare blind; the canary's own test decides. Votes, and how it ended; {} if undecided."""

        def prefer(ours: str, theirs: str) -> bool:
            taste = act.end_users_like
            return noisy_order([taste(ours), taste(theirs)], rng=rng)[0] == 0

        found = await voters.vote(
            self.developer,
            voters=[f"{act.name}-voter-{number:03d}" for number in range(NUM_VOTERS)],
            prompts=prompts(num=NUM_VOTERS, seed=rng.randrange(2**32)),
            prefer=prefer,
            max_tokens=_ANSWER_TOKENS,
            concurrency=_AT_A_TIME,
        )
        self.voters[act.name] = list(found)
        votes = sum(found.values())
        deadline = time.monotonic() + _UNDECIDED_S
        while time.monotonic() < deadline:
            for ended in (await self.operator.get("/admin/canary"))["history"]:
                if ended["id"] == running["id"]:
                    return votes, dict(ended)
            await asyncio.sleep(0.3)
        return votes, {}


def _order(taste: Taste, seed: int) -> Callable[[list[str]], list[int]]:
    """Plackett–Luce noise, as the demo's labelers have it."""
    rng = random.Random(seed)
    return lambda texts: noisy_order([taste(text) for text in texts], rng=rng)


def _detail(state: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(state.get("detail") or "{}"))
