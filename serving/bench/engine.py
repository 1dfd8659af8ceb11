"""`hone bench engine`: the running stack's vLLM, asked directly and through its gateway.

The gateway asks the engine for token ids and log-probabilities, for the log. A row that goes direct
with the same wishes shows what those cost the engine; the rest is the gateway's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from feedback.errors import HoneError, Unavailable
from serving.bench.load import Load, send
from serving.bench.report import DIRECT, compare, machine
from serving.commands.options import ready
from serving.engines import VERSION_HEADER, Engine
from serving.stack.parts import load_secrets

_TOPICS = ("bread", "rivers", "trains", "maps", "clocks", "gardens", "bridges", "letters")
_WISHES = {"logprobs": True, "top_logprobs": 0, "return_token_ids": True}  # as in request_fields


async def run(
    *,
    data_dir: Path,
    concurrency: Sequence[int],
    seconds: float,
    rounds: int,
    num_tokens: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The report on the stack that `hone up` started on `data_dir`."""
    loads, version = await _loads(data_dir, num_tokens=num_tokens)
    unpinned = partial(send, on=None)
    report: dict[str, Any] = {
        "machine": machine(),
        "version": version,
        "answers": [],
        "streams": [],
    }
    for size in concurrency:
        for kind, to_body in (("answers", dict), ("streams", _streamed)):
            shaped = {
                name: replace(
                    load,
                    bodies=list(map(to_body, load.bodies)),
                    concurrency=size,
                    seconds=seconds,
                )
                for name, load in loads.items()
            }
            report[kind] += await compare(shaped, rounds=rounds, send=unpinned, say=say)
    return report


async def find_engine(data_dir: Path, session: aiohttp.ClientSession) -> tuple[Engine, str]:
    """The first engine that the gateway reaches, and the version in production. Raises Unavailable."""
    stack = ready(data_dir)
    headers = {"authorization": f"Bearer {stack['api_key']}"}
    async with session.get(f"{stack['url']}/policy", headers=headers) as response:
        live = await response.json()
    token = load_secrets(data_dir / "secrets.json").engine_token
    for member in live.get("engines", ()):
        if member["reachable"] and live["production"] is not None:
            return Engine(member["url"], token, session), live["production"]["version"]
    raise Unavailable("no engine can be reached: the terminal of `hone up` shows why")


async def _loads(data_dir: Path, *, num_tokens: int) -> tuple[dict[str, Load], str]:
    """What each row is asked, but for how many at a time; and the version that all ask for."""
    stack = ready(data_dir)
    async with aiohttp.ClientSession() as session:
        engine, version = await find_engine(data_dir, session)
        loaded = {entry["version"]: entry for entry in (await engine.policy())["loaded"]}
    if version not in loaded:
        raise HoneError(f"the engine is loading {version} just now: try again in a minute")
    token = load_secrets(data_dir / "secrets.json").engine_token
    headers = {"authorization": f"Bearer {token}", VERSION_HEADER: version}
    headers["content-type"] = "application/json"
    # A salt each, as the gateway has its own: no target finds another's prompts in the cache.
    named = {"model": loaded[version]["served_as"], "cache_salt": "bench"}
    bodies = [_body(topic, num_tokens) for topic in _TOPICS]
    direct = Load(url=engine.url, headers=headers, bodies=[body | named for body in bodies])
    wishes = _WISHES | {"cache_salt": "bench, for the log"}
    through = headers | {"authorization": f"Bearer {stack['api_key']}"}
    return {
        DIRECT: direct,
        "direct, asked as for the log": replace(
            direct, bodies=[body | wishes for body in direct.bodies]
        ),
        "gateway": Load(
            url=stack["url"], headers=through, bodies=[b | {"model": version} for b in bodies]
        ),
    }, version


def _body(topic: str, num_tokens: int) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": f"Tell me something about {topic}."}],
        "max_tokens": num_tokens,
        "min_tokens": num_tokens,
        "temperature": 0,
    }


def _streamed(body: dict[str, Any]) -> dict[str, Any]:
    return body | {"stream": True, "stream_options": {"include_usage": True}}
