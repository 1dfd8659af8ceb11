"""One step of a round of moderation, in a process of its own, as `training.step` for the policy's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from training.job import Work
from training.rounds import may_publish
from training.step import carry_out

_NICENESS = 10  # on a shared machine people's answers come first


def run_snapshot(work: Work) -> bool:
    from training.moderation import labels

    labels.freeze(work)
    return True


def run_fit(work: Work) -> bool:
    from training.moderation import fit

    os.nice(_NICENESS)
    fit.run(work)
    return True


def run_gate(work: Work) -> bool:
    from training.moderation import evidence

    os.nice(_NICENESS)
    return may_publish(work.folder, digest=evidence.run(work)["digest"])


def run_publish(work: Work) -> bool:
    from training.moderation import publish

    publish.run(work)
    return True


STEPS: dict[str, Callable[[Work], bool]] = {
    "snapshot": run_snapshot,
    "fit": run_fit,
    "gate": run_gate,
    "publish": run_publish,
}


if __name__ == "__main__":
    sys.exit(carry_out(None, prog="training.moderation.step", steps=STEPS, open_work=Work.open))
