"""Whole rounds of moderation: real Redis, worker, child processes and moderation server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.corrections import Correction
from feedback.errors import Refused
from feedback.events import Feedback, new_id
from feedback.judgements import body_of
from moderation.manifest import read_manifest
from moderation.versions import ON_BOARD, Versions
from serving.settings import ServingSettings
from tests.moderation import server
from tests.training.moderation.said import NEW, said
from training import worker
from training.job import Work
from training.moderation import publish
from training.moderation.labels import is_heldout
from training.rounds import MODERATION, Rounds
from training.settings import TrainingSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def rounds(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounds]:
    """With a moderation server that follows; steps find it by the environment."""
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    monkeypatch.setenv("HONE_FEEDBACK_ARCHIVE_URL", str(tmp_path / "archive"))
    monkeypatch.setenv("HONE_SERVING_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HONE_SERVING_ENGINE_TOKEN", "t" * 16)
    monkeypatch.setattr(worker, "_RETRY_S", 0.0)
    monkeypatch.setattr(worker, "MAX_ATTEMPTS", 1)
    with server.running(tmp_path, REDIS_URL=redis_url) as url:
        monkeypatch.setenv("HONE_SERVING_MODERATION_URL", url)
        yield Rounds(connect(redis_url), ServingSettings(), TrainingSettings())


def correct(rounds: Rounds, labels: dict[str, bool]) -> None:
    """An operator says of each text whether it is hateful."""
    for text, is_hateful in labels.items():
        said_so = Correction(text=text, labels={"hate": is_hateful})
        event = Feedback(
            id=new_id("fbk_"),
            created=1.0,
            form=said_so.form,
            labeler="key_ops",
            tenant="t",
            completion_ids=[],
            body=body_of(said_so),
            source="key",
        )
        eventlog.append(rounds.redis, event)


def judged(text: str) -> tuple[str, float]:
    url = f"{ServingSettings().moderation_url}/v1/moderations"
    answer = httpx2.post(url, json={"input": text}).json()
    return answer["model"], answer["results"][0]["category_scores"]["hate"]


def test_corrections_become_a_version_that_serves_and_can_be_rolled_back(
    rounds: Rounds, tmp_path: Path
) -> None:
    correct(rounds, {row.text: bool(row.labels["hate"]) for row in said()})
    assert (rounds.new_corrections(), rounds.new_judgements()) == (120, 0)
    unseen = [text.format("weavers") for text in NEW]
    (on_board, _), before = judged(unseen[0]), [judged(text)[1] for text in unseen]
    round_id = rounds.start(kind=MODERATION, reason="test")
    worker.run(rounds, round_id)
    state = rounds.state(round_id)
    assert state["status"] == "finished", state
    version = json.loads(state["detail"])["version"]
    assert version == "moderation-0001"
    after = [judged(text) for text in unseen]
    assert {model for model, _ in after} == {version}
    assert sum(score for _, score in after) > sum(before) + 0.2 * len(unseen)
    assert rounds.new_corrections() == 0

    record = Versions(rounds.redis).live().wanted
    manifest = read_manifest(tmp_path / "moderation" / version)
    assert (record.digest, record.parent, record.round_id) == (manifest.digest, ON_BOARD, round_id)
    report = json.loads((tmp_path / "rounds" / round_id / "gate" / "report.json").read_text())
    assert report["digest"] == record.digest  # what was judged is what serves
    files = {check["evidence"] for check in report["checks"]}
    (texts,) = (tmp_path / "rounds" / round_id / name for name in files)
    assert {"text", "labels", "candidate", "incumbent"} <= json.loads(
        texts.read_text().splitlines()[0]
    ).keys()

    # Each part of publishing looks before it works: once more changes nothing.
    publish.run(Work.open(tmp_path / "rounds" / round_id))
    assert Versions(rounds.redis).live().previous == ON_BOARD
    ((said_by, why),) = [(c.by, c.reason) for c in Versions(rounds.redis).history()]
    assert (said_by, why) == (round_id, "its gate passed it")
    Versions(rounds.redis).roll_back(by="key_op")
    assert publish._serves(ServingSettings().moderation_url, on_board, wait_s=30)

    # A folder that is not what the gate judged is published by nobody.
    gate = tmp_path / "rounds" / round_id / "gate" / "report.json"
    gate.write_text(json.dumps(report | {"digest": "0" * 64}))
    with pytest.raises(Refused, match="the gate has not passed"):
        publish.run(Work.open(tmp_path / "rounds" / round_id))


def test_what_does_not_hold_for_texts_held_out_is_refused_by_the_gate(rounds: Rounds) -> None:
    correct(rounds, {row.text: bool(row.labels["hate"]) != is_heldout(row.text) for row in said()})
    before = judged("good morning")
    round_id = rounds.start(kind=MODERATION, reason="test")
    worker.run(rounds, round_id)
    state = rounds.state(round_id)
    assert state["status"] == "refused"
    failed = json.loads(state["detail"])["failed_checks"]
    assert {"heldout_loss_change", "heldout_errors_change"} <= set(failed)
    assert Versions(rounds.redis).live().production == ON_BOARD
    assert judged("good morning") == before
    assert not rounds.redis.exists(keys.ROUND_ACTIVE)


def test_a_round_with_nothing_to_learn_fails_at_once_and_says_so(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_ATTEMPTS", 6)
    round_id = rounds.start(kind=MODERATION, reason="test")
    worker.run(rounds, round_id)
    state = rounds.state(round_id)
    assert (state["status"], state["step"], state["attempts:fit"]) == ("failed", "fit", "1")
    assert "there is nothing to learn" in json.loads(state["detail"])["error"]
    assert not rounds.redis.exists(keys.ROUND_ACTIVE)


def test_a_server_that_will_not_serve_it_leaves_everything_as_it_was(
    rounds: Rounds, tmp_path: Path
) -> None:
    """A version is promoted on its way, and nobody serves it: the server follows another registry."""
    from moderation.classifier import load
    from moderation.settings import ModerationSettings
    from tests.moderation.made import write_version

    round_id = rounds.start(kind=MODERATION, reason="test")
    folder = rounds.prepare(round_id)
    candidate = folder / "fit" / "candidate"
    encoder = load(ModerationSettings()).encoder
    record = write_version(candidate, encoder, number=1, limit_shift=1.0)
    (folder / "gate").mkdir()
    report = {"digest": record.digest, "passed": True, "checks": []}
    (folder / "gate" / "report.json").write_text(json.dumps(report))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_SERVING_MODERATION_URL", "http://127.0.0.1:9")
        with pytest.raises(Refused, match="did not serve moderation-0001"):
            publish.run(Work.open(folder), wait_s=1.0)
    live = Versions(rounds.redis).live()
    assert (live.production, live.previous) == (ON_BOARD, None)
