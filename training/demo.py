"""`hone demo`: simulated people use the running stack until a better version answers.

1. End users ask; each prompt is answered K = 4 times.       2. Labelers rank the candidate sets.
3. A round runs: snapshot, reward model, PPO-ptx, gate.      4. It is published and swapped in
under traffic.
5. Old and new version answer held-out prompts; gold scores are compared, whatever came out.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import stamina
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from training.demo_people import PREFERENCE, Failed, Person, end_users_ask, gold, labeler_ranks
from training.demo_prompts import prompts
from training.demo_report import compare, draw, print_result, read_metrics
from training.demo_traffic import Traffic

NUM_CANDIDATES = 4
NUM_LABELERS = 4
NUM_END_USERS = 96
ANSWER_TOKENS = 32  # the recipe's response_tokens: people judge what the trainer will sample
SAMPLES_PER_PROMPT = 4
_CONCURRENCY = 8
_EVALUATION_SEED = 10_000


@dataclass(frozen=True, kw_only=True)
class Options:
    data_dir: Path
    num_sets: int
    num_heldout: int
    seed: int
    out: Path


@dataclass(kw_only=True)
class Story:
    """What happened, figure by figure; becomes demo.json."""

    preference: str = PREFERENCE
    old: str = ""
    new: str = ""
    status: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


def run(stack: dict[str, Any], options: Options, *, console: Console) -> Story:
    """Run the demo against a stack (`ready.json`). The story's status is the round's: finished,
    refused, failed."""
    stamina.instrumentation.set_on_retry_hooks([])  # a busy server is no news on a progress bar
    return asyncio.run(_run(stack, options, console))


def split_prompts(options: Options) -> tuple[list[str], list[str]]:
    """Those to measure on, and those that people ask. No prompt is in both."""
    both = prompts(num=options.num_sets + options.num_heldout, seed=options.seed)
    return both[: options.num_heldout], both[options.num_heldout :]


async def _run(stack: dict[str, Any], options: Options, console: Console) -> Story:
    story = Story()
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        developer = Person(session, url=stack["url"], key=stack["api_key"])
        operator = Person(session, url=stack["url"], key=stack["admin_key"])
        story.old = (await developer.get("/policy"))["production"]["version"]
        console.print(f"{story.old} answers. The labelers like {PREFERENCE}.")
        heldout, asked = split_prompts(options)
        with Progress(
            TextColumn("{task.description:34}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        ) as progress:
            await _people(developer, asked, options, story, progress)
            round_id = await _round(developer, operator, story, progress)
        story.figures["round"] = round_id
        story.new = (await developer.get("/policy"))["production"]["version"]
        folder = options.data_dir / "rounds" / round_id
        story.figures["gate"] = _gate(folder)
        if story.new != story.old:
            with Progress(console=console) as progress:
                await _measure(developer, heldout, story, progress)
    options.out.mkdir(parents=True, exist_ok=True)
    metrics = read_metrics(folder / "metrics.jsonl")
    (options.out / "demo.json").write_text(json.dumps(vars(story) | {"metrics": metrics}, indent=1))
    draw(vars(story), metrics, options.out / "demo.png")
    print_result(vars(story), console)
    console.print(f"written: {options.out / 'demo.png'}, {options.out / 'demo.json'}")
    return story


async def _people(
    developer: Person, asked: list[str], options: Options, story: Story, progress: Progress
) -> None:
    bar = progress.add_task("1 end users ask", total=len(asked), note="")
    async with _timed(story, "ask"):
        refused = await end_users_ask(
            developer,
            asked,
            num_users=NUM_END_USERS,
            num_candidates=NUM_CANDIDATES,
            max_tokens=ANSWER_TOKENS,
            concurrency=_CONCURRENCY,
            on_answer=lambda: progress.advance(bar),
        )
    bar = progress.add_task("2 labelers rank", total=len(asked) - refused, note="")
    limit = -(-len(asked) // NUM_LABELERS)
    async with _timed(story, "rank"):
        ranked = await asyncio.gather(
            *(
                labeler_ranks(
                    developer,
                    name=f"labeler-{number}",
                    seed=options.seed * NUM_LABELERS + number,
                    limit=limit,
                    on_ranking=lambda: progress.advance(bar),
                )
                for number in range(NUM_LABELERS)
            )
        )
    story.figures |= {"prompts_refused_by_moderation": refused, "rankings": sum(ranked)}


async def _round(developer: Person, operator: Person, story: Story, progress: Progress) -> str:
    """Start a round, follow it, and keep traffic on while it is published. Returns its id."""
    bar = progress.add_task("3 round", total=None, note="")
    known = {state["round_id"] for state in (await operator.get("/admin/rounds"))["data"]}
    await operator.post("/admin/rounds", {"reason": "demo"})
    round_id = await _started(operator, known)
    traffic = Traffic(developer)
    step, since = "", time.monotonic()
    while True:
        state = await _state(operator, round_id)
        if state["step"] != step:
            story.seconds[step or "start"] = time.monotonic() - since
            step, since = state["step"], time.monotonic()
        if step in ("gate", "publish"):
            traffic.start()
        if step == "publish" or "gate/passed" in state.get("progress", ""):
            traffic.swap_is_near()
        _show(progress, bar, round_id, state)
        if "ended" in state:
            break
        await asyncio.sleep(0.3)  # publishing takes a second or two; the traffic must not miss it
    story.seconds[step] = time.monotonic() - since
    story.status = state["status"]
    if story.status == "finished":
        swap = await traffic.stop(
            after_swap_to=(await developer.get("/policy"))["production"]["version"]
        )
    else:
        swap = await traffic.stop(after_swap_to=None)
    story.figures["swap"] = swap | {"detail": json.loads(state.get("detail") or "{}")}
    return round_id


async def _started(operator: Person, known: set[str]) -> str:
    for _ in range(120):
        active = (await operator.get("/admin/rounds"))["active"]
        if active is not None and active not in known:
            return str(active)
        await asyncio.sleep(0.5)
    raise RuntimeError("nobody took the request: are the control worker and beat running?")


async def _state(operator: Person, round_id: str) -> dict[str, Any]:
    states = (await operator.get("/admin/rounds"))["data"]
    return next(state for state in states if state["round_id"] == round_id)


def _show(progress: Progress, bar: Any, round_id: str, state: dict[str, Any]) -> None:
    newest = json.loads(state.get("progress") or "{}")
    wanted = ("reward/train_accuracy", "reward/accuracy", "objective/scores", "objective/kl")
    note = "  ".join(f"{name} {newest[name]:.3f}" for name in wanted if name in newest)
    description = f"3 {round_id}: {state['step']}"
    task = progress.tasks[bar]
    is_news = (description, note) != (task.description, task.fields["note"])
    progress.update(bar, description=description, completed=newest.get("iteration", 0), note=note)
    if is_news and not progress.console.is_terminal:  # a file has no bars: a line for each change
        progress.console.print(f"{description:34} {newest.get('iteration', '')} {note}")


async def _measure(developer: Person, heldout: list[str], story: Story, progress: Progress) -> None:
    """Gold of both versions on prompts that nobody has asked before; the same seeds for both."""
    bar = progress.add_task("5 held-out prompts, old and new", total=2 * len(heldout))
    async with _timed(story, "measure"):
        old, new = [
            await _answers(developer, heldout, version, lambda: progress.advance(bar))
            for version in (story.old, story.new)
        ]
    answered = [prompt for prompt in heldout if prompt in old and prompt in new]
    story.figures["heldout_refused_by_moderation"] = len(heldout) - len(answered)
    story.figures["gold"] = compare(
        [[gold(text) for text in old[prompt]] for prompt in answered],
        [[gold(text) for text in new[prompt]] for prompt in answered],
    )
    story.figures["examples"] = [
        {
            "prompt": prompt,
            "old": old[prompt][0],
            "new": new[prompt][0],
            "gold_old": gold(old[prompt][0]),
            "gold_new": gold(new[prompt][0]),
        }
        for prompt in answered
    ]


async def _answers(
    person: Person, asked: list[str], version: str, on_answer: Callable[[], None]
) -> dict[str, list[str]]:
    """A version's answers by prompt; prompts that moderation refuses are left out."""
    room = asyncio.Semaphore(_CONCURRENCY)
    answers: dict[str, list[str]] = {}

    async def one(number: int, prompt: str) -> None:
        async with room:
            try:
                answer, headers = await person.ask_again(
                    prompt,
                    model=version,
                    n=SAMPLES_PER_PROMPT,
                    max_tokens=ANSWER_TOKENS,
                    temperature=1.0,
                    seed=_EVALUATION_SEED + number,
                    store=False,
                )
            except Failed as error:
                if error.status != 400:
                    raise
                return
            finally:
                on_answer()
        if headers["x-policy-version"] != version:
            raise RuntimeError(f"asked {version}, {headers['x-policy-version']} answered")
        answers[prompt] = [choice["message"]["content"] or "" for choice in answer["choices"]]

    await asyncio.gather(*(one(number, prompt) for number, prompt in enumerate(asked)))
    return answers


def _gate(folder: Path) -> dict[str, Any]:
    path = folder / "gate" / "report.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


@asynccontextmanager
async def _timed(story: Story, name: str) -> AsyncIterator[None]:
    started = time.monotonic()
    yield
    story.seconds[name] = time.monotonic() - started
