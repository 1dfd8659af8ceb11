"""`hone bench gateway`: a real gateway with a real Redis, before a mock upstream.

1. Start Redis (every event on disk, as under `hone up`), the mock, the gateway, a relay of bytes as
   the floor and, where it is given, LiteLLM's proxy: what is under test on the first core, all else
   on the others.
2. Round by round send every target the same load, one after the other: whole answers, then streams.

The gateway's rows add one cost at a time: `store: false` leaves out the log, a key that allows everything
leaves out moderation (which is the mock's: its classifier's time is not the gateway's). What was logged and
moderated is counted, so that a row that claims more than was done is seen.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiohttp

from feedback import keys
from feedback.connection import connect
from moderation.policy import ALL, Actions
from serving import auth
from serving.bench.load import Load, Sample, pinned, send
from serving.bench.mock import WORDS, blank
from serving.bench.processes import cores, running
from serving.bench.report import DIRECT, compare, machine, times
from serving.stack import parts
from serving.stack.parts import Part, Plan
from serving.stack.preflight import CannotStart, choose_port
from serving.stack.probes import http_ok

LITELLM = "LiteLLM"
RELAY = "bytes only"
_PROMPT = (
    "Tell me, in a few friendly words, how somebody who is new in town finds good company. " * 2
)


async def run(
    *,
    data_dir: Path,
    concurrency: Sequence[int],
    streams: Sequence[int],
    seconds: float,
    rounds: int,
    pace_ms: float = 100.0,
    litellm: Path | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The report. Redis' folder is made in `data_dir`, to be on the disk that `hone up` writes."""
    if litellm is not None and not os.access(litellm, os.X_OK):
        raise CannotStart(
            f"{litellm} cannot be run: name the `litellm` of a virtual environment of its own, made "
            "with `pip install 'litellm[proxy]'`"
        )
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=data_dir.resolve()) as temporary:
        folder, port = Path(temporary), choose_port(8300)
        plan = parts.plan(
            data_dir=folder, base_model=folder, host="127.0.0.1", port=port, redis_url=None
        )
        relay_port = choose_port(8350)
        chosen = _parts(plan, relay_port=relay_port, pace_ms=pace_ms, litellm=litellm)
        async with running(plan, chosen) as pids:
            loads = _loads(plan, pids, relay_port=relay_port)
            counting = partial(_send, plan)
            report: dict[str, Any] = {"machine": machine(), "answers": [], "streams": []}
            for size in concurrency:
                shaped = {
                    name: replace(load, concurrency=size, seconds=seconds)
                    for name, load in loads.items()
                }
                report["answers"] += await compare(shaped, rounds=rounds, send=counting, say=say)
            for size in streams:
                paced = {name: _paced(load, size, seconds, pace_ms) for name, load in loads.items()}
                report["streams"] += await compare(paced, rounds=rounds, send=counting, say=say)
    for rows in (report["answers"], report["streams"]):
        _beside_litellm(rows)
    return report


def _loads(plan: Plan, pids: dict[str, int], *, relay_port: int) -> dict[str, Load]:
    """What each row of the report is asked, but for how many at a time."""
    with connect(plan.redis_url) as client:
        key, no_limit = plan.secrets.api_key, 10**9
        free_key = f"{key}-free"  # moderation has no say in what it asks, and is not asked
        for secret in (key, free_key):
            record = auth.ensure_key(
                client,
                secret,
                name="bench",
                scopes=("infer",),
                requests_per_minute=no_limit,
                tokens_per_minute=no_limit,
                max_concurrent=no_limit,
            )
        allow: Actions = {ALL: "allow"}
        auth.set_moderation(client, record.id, {"prompt": allow, "completion": allow})
    body: dict[str, Any] = {"model": "policy"}
    body["messages"] = [{"role": "user", "content": _PROMPT}]
    nothing = body | {"messages": [{"role": "user", "content": blank(_PROMPT)}]}
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    text = "".join(WORDS)
    direct = Load(url=_mock_url(plan), headers=headers, bodies=[body], expect=text)
    ours = replace(direct, url=plan.url, pids=(pids["gateway"],))
    limited = replace(
        ours,
        headers=headers | {"authorization": f"Bearer {free_key}"},
        bodies=[nothing | {"store": False}],
        expect=blank(text),
    )
    loads = {
        DIRECT: direct,
        RELAY: replace(direct, url=f"http://127.0.0.1:{relay_port}", pids=(pids["relay"],)),
        "hone: keys, limits": limited,
        "hone: + durable log": replace(limited, bodies=[nothing | {"store": True}]),
        "hone: + moderation": replace(ours, bodies=[body | {"store": True}]),
    }
    if "litellm" in pids:
        url = f"http://127.0.0.1:{plan.moderation_port}"
        loads[LITELLM] = replace(direct, url=url, pids=(pids["litellm"],))
    return loads


def _paced(load: Load, size: int, seconds: float, pace_ms: float) -> Load:
    """Every slot begins once while the others run, and goes on for as long again."""
    took_s = len(WORDS) * pace_ms / 1e3
    return replace(
        load,
        bodies=[body | {"stream": True} for body in load.bodies],
        concurrency=size,
        seconds=max(seconds, 2 * took_s),
        stagger_s=took_s,
        num_frames=len(WORDS),
    )


async def _send(plan: Plan, load: Load) -> Sample:
    logged, moderated = await _counters(plan)
    sample = await send(load, on=cores()[1])
    logged_after, moderated_after = await _counters(plan)
    return replace(
        sample, num_logged=logged_after - logged, num_moderated=moderated_after - moderated
    )


async def _counters(plan: Plan) -> tuple[int, int]:
    """Completions in the log, texts that moderation was asked about."""
    with connect(plan.redis_url) as client:
        num_logged = cast(int, client.xlen(keys.stream("completions")))
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{_mock_url(plan)}/healthz") as response,
    ):
        return num_logged, int((await response.json())["num_moderated"])


def _beside_litellm(rows: list[dict[str, Any]]) -> None:
    """How many times LiteLLM's requests a second each target does at the same load, and its CPU time the other way."""
    peers = {row["at_a_time"]: row for row in rows if row["target"] == LITELLM}
    for row in rows:
        if peer := peers.get(row["at_a_time"]):
            row["litellm_rate_times"] = times(row["requests_per_s"], peer["requests_per_s"])
            row["litellm_cpu_times"] = times(peer["cpu_ms_per_request"], row["cpu_ms_per_request"])


def _mock_url(plan: Plan) -> str:
    return f"http://127.0.0.1:{plan.engine_port}"


def _parts(plan: Plan, *, relay_port: int, pace_ms: float, litellm: Path | None) -> list[Part]:
    tested, others = cores()
    stack = {part.name: part for part in parts.parts(plan)}
    mock = (sys.executable, "-m", "serving.bench.mock", str(plan.engine_port), str(pace_ms))
    relay = (sys.executable, "-m", "serving.bench.relay", str(relay_port), str(plan.engine_port))
    redis, gateway = stack["redis"], stack["gateway"]
    chosen = [
        replace(redis, command=pinned(redis.command, to=others)),
        Part(
            name="mock",
            command=pinned(mock, to=others),
            ready=http_ok(plan.engine_port, "/healthz"),
        ),
        Part(
            name="relay",
            command=pinned(relay, to=tested),
            ready=http_ok(relay_port, "/healthz"),
            needs=("mock",),
        ),
        replace(
            gateway,
            command=pinned(gateway.command, to=tested),
            needs=("redis", "mock"),
            env={
                "HONE_SERVING_MODERATION_URL": _mock_url(plan),
                "HONE_SERVING_MAX_IN_FLIGHT": "10000",
                # Every prompt here is the same one: remembered scores would hide what they cost.
                "HONE_SERVING_MODERATION_CACHE_TEXTS": "0",
            },
        ),
    ]
    if litellm is not None:
        chosen.append(_litellm(plan, litellm, on=tested))
    return chosen


def _litellm(plan: Plan, executable: Path, *, on: Iterable[int]) -> Part:
    """One worker, a master key, no database; on the port that the moderation server does not use."""
    upstream = {"model": "openai/policy", "api_base": f"{_mock_url(plan)}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": "policy", "litellm_params": upstream}],
        "general_settings": {"master_key": plan.secrets.api_key},
    }
    file, port = plan.data_dir / "litellm.yaml", plan.moderation_port
    file.write_text(json.dumps(config))  # JSON is YAML
    options = ("--config", str(file), "--host", "127.0.0.1", "--port", str(port))
    return Part(
        name="litellm",
        command=pinned((str(executable.absolute()), *options, "--num_workers", "1"), to=on),
        ready=http_ok(port, "/health/liveliness"),
        needs=("mock",),
        start_timeout_s=120.0,
        env={"PYTHONPATH": "", "LITELLM_LOG": "ERROR"},  # its packages are not ours
    )
