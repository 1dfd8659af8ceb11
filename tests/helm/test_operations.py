"""What helm/'s pages have an operator type: commands that are there, parts that are there, a pod that may run."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.api_schemas import VERSIONS, problems
from tests.helm.chart import FOLDER, Chart, Rendered
from tests.helm.invariants import broken

PAGES = ("README.md", "OPERATIONS.md", "RUNBOOKS.md")
USER = 10001


def page(name: str) -> str:
    return (FOLDER / name).read_text()


def block(name: str) -> str:
    """The block of OPERATIONS.md that begins with this comment."""
    blocks = re.findall(r"```bash\n# (\w+)\n(.*?)```", page("OPERATIONS.md"), flags=re.DOTALL)
    return dict(blocks)[name]


def to_restore() -> Rendered:
    return Rendered(list(yaml.safe_load_all((FOLDER / "restore-pod.yaml").read_text())))


@cache
def cli() -> Any:
    import typer

    from training.cli import app

    return typer.main.get_command(app)


def command_of(words: list[str]) -> Any:
    """The command that these words name; takes them away."""
    found = cli()
    while words and hasattr(found, "commands"):
        assert words[0] in found.commands, words
        found = found.commands[words.pop(0)]
    return found


def options_of(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("name", PAGES)
def test_every_hone_command_of_a_page_exists_with_its_options(name: str) -> None:
    pattern = r"(?:^ *|`)hone ((?:[a-z-]+)(?: [^`\n#]*)?)"
    commands = re.findall(pattern, page(name), flags=re.MULTILINE)
    assert commands
    for command in commands:
        words = command.split()
        known = options_of(command_of(words))
        for word in words:
            assert not word.startswith("--") or word in known, command


@pytest.mark.parametrize("name", PAGES)
def test_no_command_to_be_pasted_waits_for_an_answer(name: str) -> None:
    for line in re.findall(r"^ *hone ([^\n#]+)", page(name), flags=re.MULTILINE):
        words = line.split()
        assert "--yes" in words or "--yes" not in options_of(command_of(words)), line


def named(text: str) -> Iterator[tuple[str, str]]:
    """Kind and name of what commands name."""
    kinds = "deployment|statefulset|service|hpa"
    for kind, name in re.findall(rf"\b({kinds})[/ ]hone-([a-z]+)\b", text):
        yield (
            {"hpa": "HorizontalPodAutoscaler", "statefulset": "StatefulSet"}.get(
                kind, kind.title()
            ),
            name,
        )


@pytest.mark.parametrize("name", PAGES)
def test_every_part_that_a_command_names_is_in_the_trial_or_in_production(
    chart: Chart, name: str
) -> None:
    found = list(named(page(name)))
    assert found
    for kind, part in found:
        assert any(chart.render(way=way).has(kind, part) for way in ("cpu", "gpu")), (kind, part)


def stateful(rendered: Rendered) -> set[tuple[str, str]]:
    """All that has to stop for a restore; engines only read."""
    return {
        (kind, found["metadata"]["name"].removeprefix("hone-"))
        for kind in ("Deployment", "StatefulSet")
        for found in rendered.all(kind)
    } - {("StatefulSet", "engine")}


def test_what_is_stopped_for_a_restore_is_all_but_the_engines_and_comes_back(chart: Chart) -> None:
    lines = [line for line in page("OPERATIONS.md").splitlines() if " scale --replicas=" in line]
    stopped = [set(named(line)) for line in lines if "--replicas=0" in line]
    assert stopped == [stateful(chart.render(way=way)) for way in ("cpu", "gpu")]
    started = [set(named(line)) for line in lines if "--replicas=0" not in line]
    assert set.union(*started[:2]) == stopped[0]
    assert set.union(*started[2:]) == stopped[1]


def test_the_restore_pod_is_valid_restricted_and_mounts_what_the_trial_has(chart: Chart) -> None:
    found, trial = to_restore(), chart.render(way="cpu")
    assert [
        p for version in VERSIONS for one in found.objects for p in problems(one, version)
    ] == []
    assert broken(found) == []
    pod, nobody = found.one("Pod", "restore"), found.one("NetworkPolicy", "restore")["spec"]
    assert nobody["podSelector"]["matchLabels"] == pod["metadata"]["labels"]
    assert set(nobody) == {"podSelector", "policyTypes"}  # no rule: it speaks to nobody
    redis = trial.one("StatefulSet", "redis")
    claims = {
        "hone-artifacts",
        f"{redis['spec']['volumeClaimTemplates'][0]['metadata']['name']}-hone-redis-0",
    }
    volumes = pod["spec"]["volumes"]
    assert claims == {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if "persistentVolumeClaim" in volume
    }
    assert trial.has("PersistentVolumeClaim", "artifacts")
    (container,) = pod["spec"]["containers"]
    assert container["image"] == trial.container("redis")["image"]
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        assert pod["spec"]["securityContext"][field] == trial.pod("redis")["securityContext"][field]
    assert {each["name"] for each in container["env"]} == set(
        re.findall(r"\$([A-Z_]+)", block("restore"))
    ) - {"SOCKET"}


def test_the_restore_pod_is_no_part_of_the_chart(chart: Chart, tmp_path: Path) -> None:
    subprocess.run(
        [chart.helm, "package", FOLDER, "-d", tmp_path], check=True, capture_output=True, timeout=60
    )
    with tarfile.open(next(tmp_path.glob("hone-*.tgz"))) as package:
        names = package.getnames()
    assert "hone/values.yaml" in names
    assert "hone/restore-pod.yaml" not in names


@pytest.mark.skipif(os.geteuid() != 0, reason="makes folders of other users")
def test_user_10001_saves_and_restores_a_volume_whose_root_is_root_s() -> None:
    save, whole = [line for line in block("backup").splitlines() if line.startswith(("ls", "tar"))]
    restore = next(line for line in block("restore").splitlines() if line.startswith("tar"))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for name in ("old", "new"):
            volume(Path(folder) / name)
        (backup := Path(folder) / "backup").mkdir()
        os.chown(backup, USER, USER)
        written = Path(folder) / "old" / "policies" / "policy-0001"
        as_user(f'mkdir -p "{written}" && echo 1 > "{written}/weights"')
        as_user(f"{save}\n{whole}", BACKUP=str(backup), DATA=f"{folder}/old")
        as_user(restore, BACKUP=str(backup), DATA=f"{folder}/new")
        assert (Path(folder) / "new/policies/policy-0001/weights").read_text() == "1\n"


def volume(path: Path) -> None:
    """As a disk is mounted with an fsGroup: the root's, and the group may write."""
    path.mkdir()
    (path / "lost+found").mkdir(mode=0o700)
    os.chown(path, 0, USER)
    os.chmod(path, 0o2775)


def as_user(script: str, **environment: str) -> None:
    done = subprocess.run(
        ["sh", "-euc", script],
        env={"PATH": os.environ["PATH"], **environment},
        user=USER,
        group=USER,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
