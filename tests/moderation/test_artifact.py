from __future__ import annotations

import json
from pathlib import Path

import pytest

from feedback.errors import Refused
from moderation import artifact
from moderation.classifier import Classifier
from moderation.manifest import MANIFEST, read_manifest
from tests.moderation.made import PROBES, write_version


@pytest.fixture
def made(classifier: Classifier, tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / "moderation-0001"
    record = write_version(folder, classifier.encoder, number=1, limit_shift=2.0)
    return folder, record.digest


def test_a_version_comes_back_as_it_was_written(
    made: tuple[Path, str], classifier: Classifier
) -> None:
    folder, digest = made
    loaded = artifact.load(folder, digest=digest, encoder=classifier.encoder)
    assert loaded.model == "moderation-0001"
    before, after = classifier.score(PROBES[1]), loaded.score(PROBES[1])
    assert all(after[name] < before[name] for name in before if before[name] > 0)
    assert read_manifest(folder).lineage == {"round": "round-0001"}


def test_another_digest_than_was_judged_is_refused(
    made: tuple[Path, str], classifier: Classifier
) -> None:
    with pytest.raises(Refused, match="was asked for"):
        artifact.load(made[0], digest="0" * 64, encoder=classifier.encoder)


@pytest.mark.parametrize("name", [artifact.HEADS, artifact.PROBES, artifact.REPORT])
def test_a_file_that_changed_is_refused(
    name: str, made: tuple[Path, str], classifier: Classifier
) -> None:
    folder, digest = made
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(Refused, match=f"{name} is not what was written"):
        artifact.load(folder, digest=digest, encoder=classifier.encoder)


def test_a_probe_that_is_scored_otherwise_here_is_refused(
    made: tuple[Path, str], classifier: Classifier
) -> None:
    folder, _ = made
    probes = json.loads((folder / artifact.PROBES).read_text())
    probes[1]["scores"]["violence"] += 0.05
    (folder / artifact.PROBES).write_text(json.dumps(probes))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][artifact.PROBES] = artifact._sha256(folder / artifact.PROBES)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    digest = read_manifest(folder).digest
    with pytest.raises(Refused, match=r"a probe is scored 0\.050 away"):
        artifact.load(folder, digest=digest, encoder=classifier.encoder)


def test_a_folder_without_a_manifest_is_no_version(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="holds no version"):
        read_manifest(tmp_path)
