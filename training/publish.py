"""The last step of a round: a candidate that passed the gate becomes a version, and goes live.

1. Take a version number, once; it is never given out again.
2. Copy the candidate; manifest and model card are written last. Only what the gate passed, by the digest of that
copy, is given the version's name.
3. Register it. 4. Every engine loads it; full weights one engine after the other, by a gateway.
5. `production` means it, atomically; nothing is dropped. With HONE_SERVING_CANARY_SHARE over 0 it is a canary
first: that share of the people get it, and what they say decides, in the gateways. Full weights replace what an
engine runs, so they are never a canary. A canary of the round before gives way: this one learnt from more.

Each part looks before it works, so that a publisher killed anywhere is simply started again.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

import aiohttp
import redis

from feedback.connection import connect
from feedback.errors import Conflict, Refused, Unavailable
from feedback.settings import FeedbackSettings
from serving import artifact
from serving.canary.steering import limits_of
from serving.canary.store import Canaries
from serving.engines import Engine
from serving.lineage import card_facts, round_facts
from serving.registry import PRODUCTION, PolicyRecord, Registry
from serving.settings import ServingSettings
from training.files import write_text
from training.lease import Lease
from training.rounds import Plan, may_publish, read_plan

_ROLLOUT_S = 600.0
_LOOK_S = 0.2


def run(round_dir: Path) -> dict[str, Any]:
    """Publish the round's candidate: promoted, or a canary. Raises Refused without a passed gate for its
    digest."""
    plan = read_plan(round_dir)
    settings = ServingSettings()
    client = connect(FeedbackSettings().redis_url)
    registry = Registry(client)
    folder = round_dir / "publish"
    folder.mkdir(exist_ok=True)
    version = _version(folder, registry)
    manifest = _place(
        round_dir, settings.data_dir / "policies" / version, version=version, plan=plan
    )
    record = PolicyRecord(
        version=version,
        kind=manifest.kind,
        path=str((settings.data_dir / "policies" / version).resolve()),
        digest=manifest.digest,
        parent=plan.parent,
        round_id=plan.round_id,
        created=manifest.created,
    )
    if not Lease.from_environment(client).is_mine():
        raise Refused("this publisher's lease is lost; another one has the round")
    registry.add(record)
    canary = None
    if record.kind == "full":
        load_ms = make_live(registry, record)
    else:
        urls = plan.engine_urls
        load_ms = asyncio.run(load_everywhere(record, urls, token=settings.engine_token))
        canary = go_live(client, record, settings)
    result = {
        "version": version,
        "digest": manifest.digest,
        "parent": plan.parent,
        "promoted": time.time() if canary is None else None,
        "canary": canary,
        "load_ms": load_ms,
    }
    write_text(folder / "result.json", json.dumps(result))
    return result


async def load_everywhere(record: PolicyRecord, urls: list[str], *, token: str) -> dict[str, float]:
    """Load a version on every engine and look that it is there. Returns milliseconds by engine."""
    took: dict[str, float] = {}
    async with aiohttp.ClientSession() as session:
        for url in urls:
            engine = Engine(url, token, session)
            started = time.perf_counter()
            await engine.load(record.version, record.path, record.digest)
            took[url] = (time.perf_counter() - started) * 1e3
            loaded = {
                entry["version"]: entry["digest"] for entry in (await engine.policy())["loaded"]
            }
            if loaded.get(record.version) != record.digest:
                raise Refused(f"{url} does not hold {record.version} after loading it")
    return took


def go_live(client: redis.Redis, record: PolicyRecord, settings: ServingSettings) -> str | None:
    """The loaded adapter becomes a canary, whose id is returned, or production. Harmless to repeat, also
    when the canary has ended meanwhile: a round's begins once."""
    registry, canaries = Registry(client), Canaries(client)
    live = registry.snapshot()
    production = live.resolve(PRODUCTION)
    if (begun := canaries.of_round(str(record.round_id))) is not None:
        return begun.id
    if live.canary is not None:
        why = f"{record.round_id} has made {record.version}, which learnt from more"
        canaries.end(live.canary, "superseded", actor=str(record.round_id), reason=why)
    if settings.canary_share == 0 or production is None or production.kind == "full":
        registry.promote(record.version)
        return None
    begun = canaries.begin(
        record,
        live=live,
        share=settings.canary_share,
        actor=str(record.round_id),
        reason=f"{record.round_id} has passed the gate",
        limits=limits_of(settings),
        round_id=record.round_id,
    )
    canaries.tell()
    return begun.id


def make_live(
    registry: Registry, record: PolicyRecord, *, wait_s: float = _ROLLOUT_S
) -> dict[str, float]:
    """Full weights go engine by engine, which a gateway carries out; this asks for it and waits.

    Returns milliseconds in all. Raises Refused when an engine would not have them, Unavailable when
    nobody has carried it out in time; started again it goes on waiting, or finds that it is done.
    """
    started = time.monotonic()
    live = registry.snapshot()
    if live.aliases.get(PRODUCTION) != record.version and live.rollout is None:
        registry.begin_rollout(record.version)
    while (live := registry.snapshot()).rollout is not None:
        if live.rollout.version != record.version:
            raise Conflict(f"{live.rollout.version} is on its way to the engines; try again later")
        if time.monotonic() - started > wait_s:
            raise Unavailable("no gateway has carried the rollout out: is one running?")
        time.sleep(_LOOK_S)
    if live.aliases.get(PRODUCTION) != record.version:
        raise Refused(f"an engine refused {record.version}; see the gateway's log")
    return {"all": (time.monotonic() - started) * 1e3}


def _version(folder: Path, registry: Registry) -> str:
    path = folder / "version"
    if not path.exists():
        write_text(path, registry.next_version())
    return path.read_text()


def _place(round_dir: Path, target: Path, *, version: str, plan: Plan) -> artifact.Manifest:
    """Put the candidate where versions live. A folder that is there already is complete: it was
    renamed."""
    if not target.exists():
        partial = target.with_name(f".{version}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        candidate = round_dir / "ppo" / "candidate"
        shutil.copytree(candidate, partial, ignore=shutil.ignore_patterns(artifact.MANIFEST))
        lineage = {
            "round": plan.round_id,
            "recipe": plan.recipe,
            "snapshot": json.loads((round_dir / "snapshot" / "manifest.json").read_text()),
            "gate": _report(round_dir)["checks"],
            "override": round_facts.override_of(round_dir),
        }
        manifest = artifact.write_manifest(
            partial,
            version=version,
            kind=artifact.read_manifest(round_dir / "ppo" / "candidate").kind,
            parent=plan.parent,
            base_digest=artifact.base_digest(Path(plan.base_model)),
            lineage=lineage,
        )
        _check_gate(round_dir, manifest.digest)
        base = Path(plan.base_model)
        card_facts.write(partial, card_facts.facts_of(partial, round_dir=round_dir, base=base))
        partial.rename(target)
    manifest = artifact.read_manifest(target)
    _check_gate(round_dir, manifest.digest)
    return manifest


def _check_gate(round_dir: Path, digest: str) -> None:
    """Raises Refused unless the gate passed these weights, or an operator took them."""
    if may_publish(round_dir, digest=digest):
        return
    judged = _report(round_dir)["digest"]
    if judged != digest:
        raise Refused(f"the gate judged digest {judged[:12]}…, this is {digest[:12]}…")
    raise Refused(f"the gate refused these weights, {digest[:12]}…")


def _report(round_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((round_dir / "gate" / "report.json").read_text())
    return found
