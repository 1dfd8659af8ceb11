"""One step of a round by itself, on a dataset on disk: what `hone train` does. Loads no torch.

1. Make the folder a round's: its plan, its dataset, its recipe. A folder that holds a run of something else
is refused. 2. Run the step as the worker does, in a process of its own; it goes on from its last checkpoint.
3. Tell what it writes until it ends; return its report.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from feedback.errors import Conflict, HoneError, NotFound, Unprocessable
from training import preferences, worker
from training.config import Recipe, load_recipe, read_reward_recipe
from training.rounds import Plan, is_done, read_plan

WISH = "train.json"
_WATCH_S = 0.2
_NEEDS = {
    "sft": (preferences.DEMONSTRATIONS, "demonstration: messages; prompt and completion"),
    "ppo_init": (preferences.DEMONSTRATIONS, "demonstration: messages; prompt and completion"),
    "reward": (
        preferences.RANKINGS,
        "comparison: prompt, chosen, rejected; prompt, completions, ranks",
    ),
    "ppo": (preferences.PROMPTS, "prompt"),
}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person asked for on the command line."""

    step: str  # sft, ppo_init, reward, ppo
    data: Path
    base_model: Path
    recipe: str
    out: Path
    seed: int
    reward: Path | None = None  # the --out of `hone train rm`
    skip_bad: bool = False
    num_folds: int = 0  # of the reward model's cross-validation


Show = Callable[[Mapping[str, Any]], None]  # a new line of metrics.jsonl or samples.jsonl


def prepare(wish: Wish, *, on_bad: preferences.OnBad) -> Recipe:
    """The folder with its plan, dataset and recipe. Raises HoneError with the cure."""
    recipe = load_recipe(wish.recipe)
    reward = None if wish.reward is None else _reward_folder(wish, recipe)
    check_data(wish.data)
    claim = _claim(wish, recipe)
    _check_claim(wish.out, claim)
    snapshot = wish.data
    if not preferences.is_snapshot(wish.data):
        snapshot = wish.out / "snapshot"
        if not _is_made_of(snapshot, claim["data"]):
            preferences.write_snapshot(
                wish.data,
                snapshot,
                heldout_share=recipe.data.heldout_share,
                skip_bad=wish.skip_bad,
                on_bad=on_bad,
            )
    _check_holds(wish, snapshot)
    _write(wish.out / WISH, claim)
    _write_plan(wish, snapshot=snapshot, reward=reward)
    return recipe


def check_data(data: Path) -> None:
    """Raises NotFound."""
    if not data.exists():
        raise NotFound(f"--data {data}: there is no such file or folder")


@contextmanager
def held(out: Path) -> Iterator[None]:
    """One command at a time: two would write into each other's checkpoints. Ends with the process."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"another `hone train` works on {out}; name another --out") from None
        yield


def use_engines(out: Path, urls: list[str]) -> None:
    """Put the engines into the plan: another start may find them elsewhere."""
    plan = asdict(read_plan(out)) | {"engine_urls": urls}
    _write(out / "round.json", plan)


def run(
    out: Path,
    step: str,
    *,
    environment: Mapping[str, str],
    show: Show,
    num_processes: int = 1,
) -> dict[str, Any]:
    """Run a step to its end; returns its report. Raises HoneError with its last words."""
    log = out / f"{step}.log"
    command = worker.step_command(step, out, num_processes=num_processes)
    before = _size(log)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        with _following(out, show) as look:
            while child.poll() is None:
                time.sleep(_WATCH_S)
                look()
            look()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode != 0:
        if child.returncode == -signal.SIGKILL:
            raise HoneError(
                "killed by signal 9: most often Linux was out of memory; lower [model] tokens_per_pass in "
                f"{out / 'recipe.json'}, then the same command again"
            )
        raise HoneError(f"{worker.last_words(log, after=before)} (all of it: {log})")
    report: dict[str, Any] = json.loads((out / step / "report.json").read_text())
    return report


def forget_other_folds(wish: Wish) -> None:
    """A cross-validation with another number of folds was something else."""
    report = wish.out / "folds" / "report.json"
    if report.exists() and json.loads(report.read_text())["num_folds"] != wish.num_folds:
        shutil.rmtree(report.parent)


def _reward_folder(wish: Wish, recipe: Recipe) -> Path:
    assert wish.reward is not None
    folder = wish.reward.resolve()
    if not is_done(folder, "reward"):
        raise NotFound(
            f"--reward {wish.reward} holds no finished reward model: make one with "
            f"`hone train rm --out {wish.reward}`"
        )
    if wish.step == "ppo":
        _check_fits(wish, folder, recipe)
    return folder / "reward"


def _check_fits(wish: Wish, folder: Path, recipe: Recipe) -> None:
    """PPO holds policy and reward model on one base."""
    trained_on = Path(read_plan(folder).base_model)
    if trained_on.resolve() != wish.base_model.resolve():
        raise Unprocessable(
            f"the reward model in {folder} was trained on {trained_on}: train one on this model with "
            f"`hone train rm --model {wish.base_model}`"
        )
    trained_with = read_reward_recipe(folder)
    ours, theirs = ((one.model, one.reward.readout) for one in (recipe, trained_with))
    if ours != theirs:
        raise Unprocessable(
            f"the reward model in {folder} was trained with another [model] section or reward.readout "
            f"than recipe {recipe.name!r} has: use one recipe for both"
        )


def _claim(wish: Wish, recipe: Recipe) -> dict[str, Any]:
    """What makes a run this run, now and when it is started again."""
    return {
        "step": wish.step,
        "data": preferences.digest_of(wish.data),
        "recipe": json.loads(recipe.model_dump_json()),
        "model": str(wish.base_model.resolve()),
        "reward": None if wish.reward is None else str(wish.reward.resolve()),
        "seed": wish.seed,
    }


def _check_claim(out: Path, claim: Mapping[str, Any]) -> None:
    """Raises Conflict when the folder is of something else."""
    if not (out / WISH).exists():
        if (out / "round.json").exists():
            raise Conflict(f"{out} is a round's folder; name another --out")
        return
    before = json.loads((out / WISH).read_text())
    other = [name for name, value in claim.items() if before[name] != value]
    if other:
        raise Conflict(
            f"{out} holds a run with another {' and '.join(other)}; name another --out, or remove it"
        )


def _is_made_of(snapshot: Path, digest: str) -> bool:
    if not preferences.is_snapshot(snapshot):
        return False
    manifest = json.loads((snapshot / preferences.MANIFEST).read_text())
    return bool(manifest["source_digest"] == digest)


def _check_holds(wish: Wish, snapshot: Path) -> None:
    """What the step learns from is there. Raises Unprocessable."""
    manifest = json.loads((snapshot / preferences.MANIFEST).read_text())
    part, what = _NEEDS[wish.step]
    if not manifest["parts"][part].get("rows"):
        raise Unprocessable(f"--data {wish.data} holds no {what}")
    if wish.step == "reward" and manifest.get("with_winner") == 0:
        raise Unprocessable(
            f"--data {wish.data}: in all {manifest['parts'][part]['rows']} comparisons the answers are "
            "tied; a reward model learns from preferences only"
        )


def _write_plan(wish: Wish, *, snapshot: Path, reward: Path | None) -> None:
    name = hashlib.sha256(os.fsencode(wish.out.resolve())).hexdigest()[:8]
    plan = Plan(
        round_id=f"train-{name}",  # engines may be shared with others
        recipe=wish.recipe,
        parent="base",
        parent_path=None,
        base_model=str(wish.base_model),
        engine_urls=[],  # `use_engines` says
        seed=wish.seed,
        created=time.time(),
        is_round=False,
        snapshot=str(snapshot.resolve()),
        reward=None if reward is None else str(reward),
        num_folds=wish.num_folds,
    )
    _write(wish.out / "round.json", asdict(plan))


def _write(path: Path, value: Any) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1))
    partial.rename(path)


@contextmanager
def _following(out: Path, show: Show) -> Iterator[Callable[[], None]]:
    """Tells whole new lines of the files that a step appends to."""
    places = {name: _size(out / name) for name in ("samples.jsonl", "metrics.jsonl")}

    def look() -> None:
        for name, place in places.items():
            if _size(out / name) < place:  # a resumed step took lines back
                places[name] = place = 0
            if _size(out / name) == place:
                continue
            with (out / name).open("rb") as file:
                file.seek(place)
                whole = file.read().rpartition(b"\n")[0]
            places[name] = place + len(whole) + bool(whole)
            for line in whole.splitlines():
                show(json.loads(line))

    yield look


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
