"""One step of a round, in a process of its own: `python -m training.step <step> --round-dir DIR`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the gate refused the candidate, 4 failed, and would again. A step
whose `DONE` exists exits at once; any other goes on from its last checkpoint. torch lives and dies in this process.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from feedback.errors import HoneError, Unprocessable
from training import files
from training.job import DONE, Job, Work
from training.rounds import may_publish
from training.shortage import cure_of
from training.worker import EXIT_FINAL, EXIT_REFUSED

log = logging.getLogger("training.step")

W = TypeVar("W", bound=Work)

_PR_SET_PDEATHSIG = 1
_NICENESS = 10  # on a shared machine people's answers come first


def run_snapshot(job: Job) -> bool:
    """The round's dataset."""
    from feedback.connection import connect
    from feedback.history import History
    from feedback.quality.report import frozen_weights
    from feedback.settings import FeedbackSettings
    from feedback.snapshots import builder, people, rules

    settings = FeedbackSettings()
    folder = job.step_folder("snapshot")
    with connect(settings.redis_url) as client:
        builder.create(
            History(client),
            folder,
            rules=rules.from_settings(settings, heldout_share=job.recipe.data.heldout_share),
            people=people.read(client, weights=frozen_weights(client, folder)),
        )
    return True


def run_sft(job: Job) -> bool:
    from training import sft

    sft.run(job, section="sft")
    return True


def run_ppo_init(job: Job) -> bool:
    from training import sft

    sft.run(job, section="ppo_init")
    return True


def run_reward(job: Job) -> bool:
    from training import independent, reward

    reward.run(job)
    independent.train(job)
    return True


def run_folds(job: Job) -> bool:
    from training import reward_folds

    reward_folds.run(job)
    return True


def run_export(job: Job) -> bool:
    from training import reward_export

    reward_export.run(job)
    return True


def run_ppo(job: Job) -> bool:
    from training import ppo

    ppo.run(job)
    return True


def run_gate(job: Job) -> bool:
    from training import evidence

    return may_publish(job.folder, digest=evidence.run(job)["digest"])


def run_publish(job: Job) -> bool:
    from training import publish

    publish.run(job.folder)
    return True


# Imported lazily, so that the snapshot's process loads no torch.
STEPS: dict[str, Callable[[Job], bool]] = {
    "snapshot": run_snapshot,
    "reward": run_reward,
    "ppo": run_ppo,
    "gate": run_gate,
    "publish": run_publish,
    # Of `hone train` only:
    "sft": run_sft,
    "ppo_init": run_ppo_init,
    "folds": run_folds,
    "export": run_export,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a step; returns the exit code."""
    code = carry_out(argv, prog="training.step", steps=STEPS, open_work=Job.open, prepare=_prepare)
    _part_from_others()
    return code


def carry_out(
    argv: Sequence[str] | None,
    *,
    prog: str,
    steps: Mapping[str, Callable[[W], bool]],
    open_work: Callable[[Path], W],
    prepare: Callable[[str, W], None] = lambda step, work: None,
) -> int:
    """What every kind of round's steps have in common: look, work, write DONE."""
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=__doc__)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--round-dir", type=Path, required=True)
    options = parser.parse_args(argv)
    _end_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    done = options.round_dir / options.step / DONE
    if done.exists():
        return 0
    try:
        work = open_work(options.round_dir)
        prepare(options.step, work)
        started = time.monotonic()
        if not steps[options.step](work):
            log.warning("refused: %s", options.step)
            return EXIT_REFUSED
        work.check_mine()
        files.write_text(done, f"{time.time()}\n")
    except HoneError as error:
        log.error("%s failed: %s", options.step, error.message)
        return EXIT_FINAL if isinstance(error, Unprocessable) else 1
    except Exception as error:  # this process's edge: a shortage has a cure, all else a traceback
        cure = cure_of(error)
        if cure is None:
            raise
        log.error("%s failed: %s", options.step, cure)
        return 1
    log.info("%s is done in %.0f s", options.step, time.monotonic() - started)
    return 0


def _prepare(step: str, job: Job) -> None:
    if step not in ("snapshot", "publish"):
        _prepare_torch(job.settings.threads)
        _meet_others(job.settings.device)


def _prepare_torch(threads: int) -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # The engine answers on the same cores. OpenMP threads that spin while they wait for one another
    # made a step eight times slower beside busy neighbours. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.nice(_NICENESS)
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # the log is a file
    if threads:
        torch.set_num_threads(threads)


def _meet_others(device: str) -> None:
    """Where `torchrun` started several processes of this step."""
    from training import models, parallel

    parallel.start(models.resolve_device(device))


def _part_from_others() -> None:
    """Their threads outlive Python's, and one that is still there when the process ends aborts it."""
    if "training.parallel" in sys.modules:
        from training import parallel

        parallel.stop()


def _end_with_parent() -> None:
    """Linux kills this process when its worker dies, kill -9 included: nobody would wait for it."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
