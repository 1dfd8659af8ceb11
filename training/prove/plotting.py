"""Pictures of a proof, PNG. Needs matplotlib (the extra `demo`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from feedback.errors import Unprocessable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def check_folder(folder: Path | None) -> None:
    """Before minutes of work: could `save` draw there? Raises Unprocessable with the cure."""
    if folder is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise Unprocessable(
            "--plot needs matplotlib: install the extra `demo` (pip install 'hone-llm[demo]'), or leave "
            "--plot out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unprocessable(f"--plot {folder}: no folder can be made there: {error}") from None


def save(path: Path, draw: Callable[[Axes], None]) -> None:
    """One picture; `draw` gets its axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.2), dpi=130, layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    figure.savefig(path)
    pyplot.close(figure)
