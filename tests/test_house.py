"""The house rules that a test can hold: maps, sizes, imports, and what a process does not load."""

from __future__ import annotations

import ast
import re
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("feedback", "moderation", "serving", "training")
MAPPED = tuple(
    str(file.parent.relative_to(ROOT))
    for package in PACKAGES
    for file in (ROOT / package).rglob("__init__.py")
)
LINE_LIMIT = 400
HEAVY = ("torch", "transformers", "vllm", "celery", "numpy", "pyarrow", "fsspec")


def _modules(package: str) -> list[str]:
    return sorted(
        file.stem for file in (ROOT / package).glob("*.py") if not file.stem.startswith("__")
    )


def _sources() -> list[Path]:
    return [
        file
        for folder in (*PACKAGES, "tests", "requirements")
        for file in (ROOT / folder).rglob("*.py")
    ]


@pytest.mark.parametrize("package", MAPPED)
def test_the_package_docstring_names_every_module_and_no_other(package: str) -> None:
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    docstring = ast.get_docstring(tree) or ""
    named = re.findall(r"^(\w+) {2,}\S", docstring, flags=re.MULTILINE)
    assert sorted(named) == _modules(package)
    assert "may import: " in docstring


@pytest.mark.parametrize("package", MAPPED)
def test_a_package_init_holds_a_docstring_and_nothing_else(package: str) -> None:
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    assert len(tree.body) == 1


def test_no_file_is_longer_than_the_limit() -> None:
    too_long = {
        str(file.relative_to(ROOT)): num_lines
        for file in _sources()
        if (num_lines := len(file.read_text().splitlines())) > LINE_LIMIT
    }
    assert too_long == {}


def test_a_package_imports_only_packages_earlier_in_the_alphabet() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty_names = {"utils", "helpers", "common", "misc", "manager", "base", "core"}
    assert {file.stem for file in _sources()} & empty_names == set()


def test_the_gateway_loads_nothing_heavy() -> None:
    loaded = _modules_after("import serving.app, uvicorn")
    assert loaded & set(HEAVY) == set()


def test_hone_up_loads_nothing_heavy() -> None:
    loaded = _modules_after("import serving.stack.local, serving.stack.doctor")
    assert loaded & {*HEAVY, "fastapi", "aiohttp"} == set()


def test_hone_help_is_quick() -> None:
    """In processor time, so that a busy machine does not fail it."""
    times_s = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(
            [sys.executable, "-c", "from training.cli import main; main()", "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "up" in run.stdout
    assert statistics.median(times_s) < 0.5


def test_every_command_of_the_readme_exists() -> None:
    import typer

    from training.cli import app

    click = typer.main.get_command(app)
    readme = (ROOT / "README.md").read_text()
    section = readme.split("## Commands")[1].split("\n## ")[0]
    for words in re.findall(r"`([a-z][a-z| ]+)`", section):
        *groups, names = words.removeprefix("hone ").split(" ")
        if "make" in (*groups[:1], names):
            continue
        found: Any = click
        for group in groups:
            assert group in found.commands, words
            found = found.commands[group]
        for name in names.split("|"):
            assert name in found.commands, words


def test_the_readme_s_python_is_python_and_its_quickstart_is_short() -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    for language, text in blocks:
        if language == "python":
            compile(text, "README.md", "exec")
    quickstart = next(text for language, text in blocks if language == "bash")
    assert len(quickstart.splitlines()) <= 6


def _modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh process has loaded after the statement."""
    code = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())
