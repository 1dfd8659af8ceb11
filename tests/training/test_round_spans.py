"""A round as a trace: the real worker, a real OTLP receiver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from feedback.connection import connect
from serving import round_states
from serving.registry import Registry
from serving.settings import ServingSettings
from tests.feedback.archive.logs import completion, fill, judgement
from tests.serving.otlp_collector import ERROR, Collector
from training import worker
from training.lease import Keeper, Lease
from training.round_spans import spans_of
from training.rounds import STEPS, Rounds
from training.settings import TrainingSettings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def collector() -> Iterator[Collector]:
    served = Collector()
    served.start()
    yield served
    served.stop()


@pytest.fixture
def rounds(redis_url: str, tmp_path: Path) -> Iterator[Rounds]:
    with connect(redis_url) as client:
        Registry(client).ensure_base("/models/base", "b" * 64)
        serving = ServingSettings(data_dir=tmp_path, engine_token="t" * 16)
        yield Rounds(client, serving, TrainingSettings(recipe="tiny"))


class Steps:
    """In place of the trainer: each step writes what the worker reads of it, or fails, or loses the lease."""

    def __init__(self, *, judged: str = "") -> None:
        self.judged = judged
        self.dies_in: str | None = None
        self.refuses = False

    def run(self, rounds: Rounds, _id: str, folder: Path, step: str, _held: worker.Holder) -> int:
        if step == self.dies_in:
            raise worker.LeaseLost
        (folder / step).mkdir(exist_ok=True)
        if step == "snapshot":
            (folder / step / "manifest.json").write_text(json.dumps({"bounds": {"feedback": None}}))
            (folder / step / "rankings.jsonl").write_text(json.dumps({"id": self.judged}) + "\n")
        if step == "gate" and self.refuses:
            report = {"checks": [{"name": "win_rate", "passed": False}]}
            (folder / step / "report.json").write_text(json.dumps(report))
            return worker.EXIT_REFUSED
        if step == "publish":
            (folder / step / "result.json").write_text(json.dumps({"version": "policy-0001"}))
        (folder / step / "DONE").touch()
        return 0


def work(rounds: Rounds, round_id: str, steps: Steps, collector: Collector) -> None:
    lease = Lease.acquire(rounds.redis)
    assert lease is not None
    exporter = OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces")
    with Keeper(lease) as keeper, spans_of(rounds, round_id, steps.run, exporter) as run_step:
        worker.work(rounds, round_id, keeper, run_step=run_step)


def test_two_workers_that_share_a_round_make_one_trace_of_it(
    rounds: Rounds, collector: Collector
) -> None:
    round_id, steps = rounds.start(reason="test"), Steps()
    steps.dies_in = "ppo"
    work(rounds, round_id, steps, collector)
    assert "round" not in {span.name for span in collector.spans}  # it has not ended
    steps.dies_in = None
    work(rounds, round_id, steps, collector)
    whole, *parts = collector.wait("round", *(f"round.{step}" for step in STEPS))
    assert {(part.trace_id, part.parent) for part in parts} == {(whole.trace_id, whole.id)}
    assert whole.parent == ""
    assert [part.attributes["hone.round.attempt"] for part in parts] == [1, 1, 2, 1, 1]
    assert whole.start_s <= parts[0].start_s <= parts[-1].end_s <= whole.end_s + 0.1
    assert whole.attributes == {
        "hone.round.id": round_id,
        "hone.round.kind": "policy",
        "hone.round.recipe": "tiny",
        "hone.round.status": "finished",
    }
    assert {span.resource["service.name"] for span in collector.spans} == {"hone-worker"}
    lost = [span for span in collector.spans if span.name == "round.ppo"][0]
    assert lost.status == ERROR


def test_a_round_is_linked_with_the_requests_whose_answers_were_judged(
    rounds: Rounds, collector: Collector
) -> None:
    answer = completion(trace_id=TRACE)
    said = judgement(answer)
    fill(rounds.redis, answer, said)
    work(rounds, rounds.start(reason="test"), Steps(judged=said.id), collector)
    (whole,) = collector.wait("round")
    assert whole.links == [TRACE]


def test_a_gate_that_refuses_is_no_fault(rounds: Rounds, collector: Collector) -> None:
    steps = Steps()
    steps.refuses = True
    work(rounds, rounds.start(reason="test"), steps, collector)
    whole, gate = collector.wait("round", "round.gate")
    assert (whole.status, gate.status) == (0, 0)
    assert whole.attributes["hone.round.status"] == round_states.REFUSED
    assert gate.attributes["hone.round.exit_code"] == worker.EXIT_REFUSED


def test_two_rounds_are_two_traces(rounds: Rounds, collector: Collector) -> None:
    for _ in range(2):
        work(rounds, rounds.start(reason="test"), Steps(), collector)
    assert len({span.trace_id for span in collector.spans if span.name == "round"}) == 2
