"""Brings everything hone needs into a virtual environment; `make` calls it. Standard library only.

    python3 requirements/install.py --flavour cpu|cuda --venv .venv --stamp .venv/installed-…

1. a virtual environment and a fresh pip
2. on a machine without a GPU: torch, alone, because no lock can name its CPU build
3. the lock, without dependencies: it is complete, and pip must not go and fetch another torch
4. hone itself, editable
Every step is skipped when its stamp says that it was done with these very inputs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "2.13.0"
# PyTorch's own index of builds without CUDA (a tenth of the default Linux build's size).
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# pip says this once per package for every configured index folder that is not there.
NOISE = re.compile(r"WARNING: Location '.*' is ignored: it is neither a file nor a directory")


def main() -> int:
    options = _options()
    started = time.monotonic()
    venv = Path(options.venv)
    lock = ROOT / "requirements" / f"{options.flavour}.lock"
    num_packages = len(lock.read_text().split())
    say(f"Installing hone for {options.flavour.upper()} into {venv} (once; later starts skip this)")
    try:
        make_venv(venv)
        if options.flavour == "cpu":
            with_stamp(venv, "torch", TORCH, lambda: install_torch(venv))
        with_stamp(
            venv, lock.name, lock.read_text(), lambda: install_lock(venv, lock, num_packages)
        )
        with_stamp(venv, "hone", (ROOT / "pyproject.toml").read_text(), lambda: install_hone(venv))
    except InstallFailed as failure:
        say(f"error: {failure}")
        return 1
    Path(options.stamp).touch()
    say(f"Installed in {time.monotonic() - started:.0f} s")
    return 0


class InstallFailed(Exception):
    """pip could not do it; the message holds pip's own last lines."""


def make_venv(venv: Path) -> None:
    """A virtual environment whose Python runs; one broken by a removed Python is made anew."""
    python = venv / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
        return
    say(f"[1/4] virtual environment (Python {sys.version_info.major}.{sys.version_info.minor})")
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", venv], capture_output=True, text=True
    )
    if made.returncode != 0:
        raise InstallFailed(
            "python -m venv failed. On Debian and Ubuntu: apt-get install python3-venv\n"
            + made.stdout
        )
    pip(venv, "install", "--upgrade", "pip")


def install_torch(venv: Path) -> None:
    """The build without CUDA: 0.2 GB instead of 3."""
    say(f"[2/4] torch {TORCH}, CPU build")
    attempts = (
        ("install", f"torch=={TORCH}+cpu"),
        ("install", f"torch=={TORCH}", "--index-url", CPU_INDEX),
    )
    for attempt in attempts:
        try:
            pip(venv, *attempt)
        except InstallFailed:
            continue
        return
    say(
        f"      no CPU build found here or at {CPU_INDEX}; taking the default one, which may be 3 GB"
    )
    pip(venv, "install", f"torch=={TORCH}")


def install_lock(venv: Path, lock: Path, num_packages: int) -> None:
    say(f"[3/4] {num_packages} packages of {lock.relative_to(ROOT)}")
    pip(venv, "install", "--no-deps", "--no-compile", "-r", lock, num_packages=num_packages)
    say("      compiling to bytecode on all cores")
    # Single files of some packages do not compile (templates, Python 2 remains): pip ignores them too.
    environment = {
        key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"
    }
    subprocess.run(
        [venv / "bin" / "python", "-m", "compileall", "-q", "-j", "0", _site_packages(venv)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        check=False,
    )


def install_hone(venv: Path) -> None:
    say("[4/4] hone")
    pip(venv, "install", "--no-deps", "-e", ROOT)


def pip(venv: Path, *arguments: str | Path, num_packages: int | None = None) -> None:
    """Runs pip; shows how many packages it has reached; on failure raises with what pip said."""
    command = [venv / "bin" / "python", "-m", "pip", "--disable-pip-version-check", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    said = list(_progress((line.rstrip() for line in process.stdout), num_packages))
    if process.wait() != 0:
        raise InstallFailed("\n".join(["pip " + " ".join(map(str, arguments)), *said[-15:]]))


def with_stamp(venv: Path, name: str, inputs: str, action: object) -> None:
    """Runs `action` unless it was done with the same inputs; the stamp is written last."""
    stamp = venv / f"stamp-{name}"
    digest = hashlib.sha256(inputs.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    assert callable(action)
    action()
    stamp.write_text(digest)


def say(line: str) -> None:
    print(line, flush=True)


def _progress(lines: Iterator[str], num_packages: int | None) -> Iterator[str]:
    """Counts `Collecting` lines on a terminal; every line but the noise is kept for an error."""
    num_reached, terminal = 0, sys.stdout.isatty()
    for line in lines:
        if NOISE.match(line):
            continue
        yield line
        if not line.lstrip().startswith(("Collecting", "Downloading", "Installing collected")):
            continue
        num_reached += line.startswith("Collecting")
        if not terminal:
            continue
        count = f"{num_reached}/{num_packages} " if num_packages else ""
        sys.stdout.write(f"\r\x1b[K      {count}{line.strip()[: 90 - len(count)]}")
        sys.stdout.flush()
    if terminal:
        sys.stdout.write("\r\x1b[K")
        sys.stdout.flush()


def _site_packages(venv: Path) -> Path:
    return next(venv.glob("lib/python3*/site-packages"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flavour", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--venv", required=True)
    parser.add_argument("--stamp", required=True, help="file that tells make that all is installed")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
