from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import orjson
import pytest
import redis

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.labeling.known_answers import KnownAnswer
from feedback.labeling.labelers import Labeler
from feedback.quality import plots, report
from feedback.quality.judged import Judged
from feedback.quality.report import People
from tests.feedback.quality.people import KINDS, Kind, ranked, work
from tests.feedback.quality.test_judged import completion, ranking

PEOPLE: dict[str, Kind] = {f"lab_{k}{i}": k for k in KINDS for i in range(3 if k == "good" else 1)}
NOW = 1_790_000_000 + 4 * 7 * 86_400


def labeler(id: str, **facts: object) -> Labeler:
    given = {"tenant": "t", "status": "active", "is_heldout": False, "created": 0.0, **facts}
    return Labeler(id=id, name=id.removeprefix("lab_").title(), **given)  # type: ignore[arg-type]


def crowd(**changed: Labeler) -> tuple[list[Judged], People]:
    day = work(PEOPLE, seed=0)
    labelers = {id: labeler(id) for id in PEOPLE} | changed
    return day.rows, People(labelers=labelers, known=day.known)


def test_the_report_holds_every_labeler_least_trusted_first() -> None:
    rows, people = crowd()
    found = report.report(rows, people, now=NOW)
    assert [person.name for person in found.people][-3:] == ["Good0", "Good1", "Good2"]
    assert [p.trust.weight for p in found.people] == sorted(p.trust.weight for p in found.people)
    good = found.people[-1]
    assert good.known is not None
    assert good.known.low < 0.9 < good.known.high
    assert good.agreement is not None
    assert 30 < (good.median_s or 0) < 90
    assert found.num_sets == 300
    assert found.num_judgements == len(rows)
    assert sum(found.judged_by_week.values()) == len(rows)
    json.dumps(found.as_json(), allow_nan=False)


def test_sets_with_known_answers_are_in_nobody_s_agreement() -> None:
    rows = [ranked("k", name, 1, 2) for name in ("lab_a", "lab_b")]
    rows += [ranked("x", "lab_a", 1, 2), ranked("x", "lab_b", 2, 1)]
    people = People(
        labelers={"lab_a": labeler("lab_a"), "lab_b": labeler("lab_b")}, known={"k": {0: 1, 1: 2}}
    )
    found = report.report(rows, people)
    assert found.training.decided.value == 0.0
    assert {person.agreement.value for person in found.people if person.agreement} == {0.0}
    assert {person.known.value for person in found.people if person.known} == {1.0}


def test_held_out_labelers_are_measured_apart_and_those_in_screening_not_at_all() -> None:
    rows = [ranked("x", name, 1, 2) for name in ("lab_a", "lab_b", "lab_c")]
    rows += [ranked("x", name, 2, 1) for name in ("lab_h", "lab_i")]
    records = {
        **{id: labeler(id) for id in ("lab_a", "lab_b")},
        "lab_c": labeler("lab_c", status="screening"),
        **{id: labeler(id, is_heldout=True) for id in ("lab_h", "lab_i")},
    }
    found = report.report(rows, People(labelers=records, known={}))
    assert (found.training.decided.value, found.training.num_labelers) == (1.0, 2)
    assert (found.heldout.decided.value, found.heldout.num_labelers) == (1.0, 2)


def test_a_labeler_s_own_statistics_are_about_them_alone() -> None:
    day = 86_400
    rows = [
        ranked("x", "lab_a", 1, 2, created=10 * day + 5, duration_ms=20_000),
        ranked("x", "lab_b", 1, 2, created=9 * day),
        ranked("y", "lab_a", 1, 2, created=9 * day, duration_ms=40_000),
        ranked("y", "lab_b", 2, 1, created=9 * day),
        ranked("k", "lab_a", 2, 1, created=10 * day + 6, duration_ms=30_000),
        ranked("k", "lab_b", 1, 2, created=10 * day + 6),
        ranked("z", "lab_b", 1, 2, created=9 * day),
        ranked("z", "lab_c", 1, 2, created=9 * day),
    ]
    people = People(labelers={}, known={"k": {0: 1, 1: 2}})
    found = report.own(rows, "lab_a", people, now=10 * day + 100)
    assert (found.num_judged, found.num_today, found.median_s) == (3, 2, 30.0)
    assert found.agreement is not None
    assert (found.agreement.value, found.agreement.num_units) == (0.5, 2)
    assert found.known is not None
    assert found.known.value == 0.0
    nobody = report.own(rows, "lab_new", people, now=10 * day)
    assert (nobody.num_judged, nobody.agreement, nobody.known, nobody.median_s) == (
        0,
        None,
        None,
        None,
    )


def test_the_weights_of_a_snapshot_come_from_the_log_up_to_its_bound(redis_url: str) -> None:
    client = connect(redis_url)
    _keep(client, labeler("lab_anna"), labeler("lab_bert", status="blocked"))
    known = KnownAnswer(
        completion_id="chatcmpl-1", tenant="t", tiers=[[0], [1], [2]], added=0.0, by="op"
    )
    client.hset(keys.KNOWN_ANSWERS, known.completion_id, orjson.dumps(asdict(known)))
    eventlog.append(client, completion(1))
    eventlog.append(client, ranking("fbk_1", "a", "b", "c"))
    eventlog.append(client, ranking("fbk_2", "a", "b", "c", labeler="lab_bert"))
    bound = eventlog.last_entry(client, "feedback")
    assert bound is not None
    eventlog.append(client, ranking("fbk_3", "c", "b", "a"))
    assert report.weights(client, until=bound) == {"lab_anna": 1.0, "lab_bert": 0.0}
    assert 0 < report.weights(client)["lab_anna"] < 0.9


def test_a_snapshot_that_is_made_again_weighs_everybody_as_it_did(
    redis_url: str, tmp_path: Path
) -> None:
    client = connect(redis_url)
    _keep(client, labeler("lab_anna"))
    eventlog.append(client, ranking("fbk_1", "a", "b", "c"))
    assert report.frozen_weights(client, tmp_path) == {"lab_anna": 1.0}
    _keep(client, labeler("lab_anna", status="blocked"))
    assert report.frozen_weights(client, tmp_path) == {"lab_anna": 1.0}
    assert report.weights(client) == {"lab_anna": 0.0}


def test_there_are_four_pictures_and_none_of_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows, people = crowd(lab_lazy0=labeler("lab_lazy0", status="screening"))
    drawn = plots.write(report.report(rows, people, now=NOW), tmp_path)
    assert [path.name for path in drawn] == [
        "agreement.png",
        "trust.png",
        "positions.png",
        "durations.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    assert plots.write(report.report([], people), tmp_path / "empty") == []


def test_every_labeler_is_shown_and_the_least_trusted_of_all_others() -> None:
    rows = [ranked("x", f"key_{n:03}", 1, 2, source="key") for n in range(150)]
    rows += [ranked("x", "lab_a", 1, 2), ranked("x", "lab_b", 2, 1)]
    people = People(labelers={id: labeler(id) for id in ("lab_a", "lab_b")}, known={})
    found = report.report(rows, people)
    names = {person.name for person in found.people}
    assert {"A", "B"} <= names
    assert (len(names), found.num_left_out) == (102, 50)


def test_a_report_of_nothing_is_a_report() -> None:
    found = report.report([], People(labelers={}, known={}))
    assert (found.num_judgements, found.people, found.by_week) == (0, (), {})
    json.dumps(found.as_json(), allow_nan=False)


def _keep(client: redis.Redis, *labelers: Labeler) -> None:
    for one in labelers:
        client.hset(keys.LABELERS, one.id, orjson.dumps(asdict(one)))
