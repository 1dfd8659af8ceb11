"""Where policies answer: a stack that runs, or an engine for as long as they are asked."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from serving.engines import Engine
from serving.registry import BASE
from training import own_engine
from training.evaluation import policies
from training.evaluation.answering import Endpoint
from training.evaluation.policies import Policy

# The paper's prompted GPT-3 had such a prefix; its words are not in the paper.
PREFIX = (
    "Below are questions and instructions. Each is followed by an answer that is helpful, truthful and "
    "harmless, and that does what was asked and no more.\n\n"
)


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """A stack that runs; policies are asked by the names of their versions."""

    url: str
    key: str


@contextmanager
def opened(
    asked: Sequence[Policy], *, gateway: Gateway | None, out: Path
) -> Iterator[Callable[[Policy], Endpoint]]:
    """Where policies of one base model answer. Without a gateway an engine runs meanwhile; adapters are
    loaded when they are asked for."""
    if gateway is not None:
        yield lambda policy: Endpoint(
            gateway.url,
            key=gateway.key,
            model=policy.version,
            concurrency=8,
            prefix=prefix_of(policy),
            is_gateway=True,
        )
        return
    served = out / "served"
    served.mkdir(parents=True, exist_ok=True)
    base_model = asked[0].base_model
    recipe = policies.adapter_recipe(asked)
    with own_engine.serving(base_model, recipe=recipe, out=served) as own:
        names: dict[str, str] = {}

        def endpoint_of(policy: Policy) -> Endpoint:
            if policy.label not in names:
                names[policy.label] = _load(policy, served, url=own.url, token=own.token)
            name = names[policy.label]
            return Endpoint(own.url, key=own.token, model=name, prefix=prefix_of(policy))

        yield endpoint_of


def _load(policy: Policy, served: Path, *, url: str, token: str) -> str:
    """The name it answers to; an adapter gets one that no engine has seen."""
    if policy.kind == "full":
        return str(BASE)
    version = f"evaluate-{secrets.token_hex(4)}"
    ready = policies.servable(policy, served / version, version=version)

    async def load() -> None:
        async with aiohttp.ClientSession() as session:
            path = str(ready.folder.resolve())
            await Engine(url, token, session).load(version, path, ready.digest)

    asyncio.run(load())
    return version


def prefix_of(policy: Policy) -> str:
    return PREFIX if policy.is_prompted else ""
