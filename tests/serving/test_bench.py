"""`hone bench …`, small: what is counted is there, what goes wrong is seen. No figure is judged."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from serving.bench import engine as engine_bench
from serving.bench import gateway as gateway_bench
from serving.bench import swap as swap_bench
from serving.bench.load import Answer, Load, Sample, drive, quantile
from serving.bench.report import row_of, show
from serving.bench.verdict import judged, silence_s
from serving.engines import VERSION_HEADER
from serving.registry import BASE, Live, PolicyRecord, Registry
from serving.stack.parts import Secrets
from serving.stack.preflight import CannotStart
from tests.serving.conftest import Running
from tests.serving.fake_engine import TOKEN, FakeEngine


def sample(**figures: Any) -> Sample:
    nothing = dict.fromkeys(Sample.__dataclass_fields__, 0)
    some = {"errors": [], "seconds": 1.0, "num_sent": 1, "took_ms": [], "first_ms": []}
    return Sample(**{**nothing, **some, **figures})


def record(version: str, kind: str = "adapter", path: str = "p") -> PolicyRecord:
    return PolicyRecord(version=version, kind=kind, path=path, digest=version[-1] * 64, created=1.0)


def shown(report: dict[str, Any]) -> str:
    console = Console(file=StringIO(), width=140)
    show(report, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.fixture
def stack(gateway: Running, engine: FakeEngine, tmp_path: Path) -> Path:
    """A folder as `hone up` leaves it, with two adapters."""
    for version in ("policy-0001", "policy-0002"):
        folder = tmp_path / "policies" / version
        folder.mkdir(parents=True)
        (folder / "adapter.safetensors").write_bytes(b"\0" * 1000)
        Registry(gateway.redis).add(record(version, path=str(folder)))
    running = {"url": gateway.url, "api_key": gateway.secret, "admin_key": gateway.admin_secret}
    (tmp_path / "ready.json").write_text(json.dumps(running))
    secrets = Secrets(engine_token=TOKEN, api_key="-", admin_key="-")
    (tmp_path / "secrets.json").write_text(json.dumps(asdict(secrets)))
    return tmp_path


@pytest.fixture
def load(engine: FakeEngine) -> Load:
    """One stream of eight words, from an engine."""
    words = "one two three four five six seven eight"
    body = {"model": BASE, "stream": True, "messages": [{"role": "user", "content": words}]}
    headers = {"authorization": f"Bearer {TOKEN}", VERSION_HEADER: BASE}
    return Load(url=engine.url, headers=headers, bodies=[body], expect=words.upper(), num_frames=8)


async def test_a_whole_stream_loses_nothing(load: Load) -> None:
    found = await drive(load)
    assert (found.num_requests, found.num_failed, found.num_frames, found.num_lost) == (1, 0, 8, 0)
    assert 0 < found.first_ms[0] <= found.took_ms[0]


async def test_a_stream_that_breaks_is_failed_and_its_frames_are_lost(
    load: Load, engine: FakeEngine
) -> None:
    engine.break_next = 1  # after the role and two words
    found = await drive(load)
    assert (found.num_failed, found.num_frames, found.num_lost) == (1, 2, 6)
    assert found.errors


async def test_another_text_and_another_status_are_failures(load: Load) -> None:
    other = await drive(replace(load, expect="ONE TWO"))
    refused = await drive(replace(load, headers={}))
    assert (other.num_failed, refused.num_failed) == (1, 1)
    assert "another text" in other.errors[0]
    assert "401" in refused.errors[0]


def test_a_quantile_is_a_value_that_was_measured() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(i) for i in range(1, 101)], 0.99) == 99.0
    assert quantile([], 0.5) == 0.0


def test_what_is_added_to_direct_is_taken_round_by_round() -> None:
    """The machine grew slower from round to round; the difference did not."""
    direct = [sample(took_ms=[ms] * 10) for ms in (1.0, 5.0, 9.0)]
    through = [sample(took_ms=[ms] * 5, cpu_s=0.01) for ms in (3.0, 7.0, 30.0)]
    row = row_of(through, direct=direct)
    assert (row["p50_ms"], row["added_p50_ms"], row["rate_to_direct"]) == (7.0, 2.0, 0.5)
    assert (row["cpu_ms_per_request"], row["num_requests"]) == (2.0, 15)


async def test_each_row_of_the_gateway_does_what_it_is_named_after(tmp_path: Path) -> None:
    report = await gateway_bench.run(
        data_dir=tmp_path,
        concurrency=(1, 4),
        streams=(3,),
        seconds=0.3,
        rounds=1,
        pace_ms=2.0,
        litellm=None,
        say=lambda _: None,
    )
    assert [len(report[kind]) for kind in ("answers", "streams")] == [10, 5]
    done = {
        "direct": (0, 0),
        "bytes only": (0, 0),
        "hone: keys, limits": (0, 0),
        "hone: + durable log": (1, 0),
        "hone: + moderation": (1, 2),  # the prompt and the answer
    }
    for row in report["answers"]:
        assert (row["num_failed"], row["errors"]) == (0, [])
        assert (row["logged_per_request"], row["moderated_per_request"]) == done[row["target"]]
        assert (row["cpu_ms_per_request"] > 0) == (row["target"] != "direct")
    for row in report["streams"]:
        assert (row["num_failed"], row["num_lost"]) == (0, 0)
        assert row["logged_per_request"] == done[row["target"]][0]
        assert row["first_p50_ms"] > 0
    assert not list(tmp_path.glob("bench-*"))
    assert "hone: + moderation" in shown(report)


async def test_a_litellm_that_is_not_there_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    with pytest.raises(CannotStart, match="pip install"):
        await gateway_bench.run(
            data_dir=tmp_path / "data",
            concurrency=(1,),
            streams=(),
            seconds=0.1,
            rounds=1,
            litellm=tmp_path / "litellm",
            say=lambda _: None,
        )
    assert not (tmp_path / "data").exists()


async def test_an_engine_is_asked_the_same_directly_and_through_the_gateway(
    stack: Path, engine: FakeEngine
) -> None:
    engine.answer_delay_s = 0.02  # below the key's limit of requests per minute
    report = await engine_bench.run(
        data_dir=stack,
        concurrency=(2,),
        seconds=0.2,
        rounds=1,
        num_tokens=4,
        say=lambda _: None,
    )
    for row in report["answers"] + report["streams"]:
        assert (row["num_failed"], row["errors"]) == (0, [])
        assert row["tokens_per_s"] > 0
    asked = [
        {name: value for name, value in body.items() if name in ("max_tokens", "min_tokens")}
        for body in engine.bodies
    ]
    assert all(fields == {"max_tokens": 4, "min_tokens": 4} for fields in asked)
    assert len({body["cache_salt"] for body in engine.bodies}) == 3
    assert any(body.get("return_token_ids") for body in engine.bodies)


@pytest.mark.parametrize(
    ("kinds", "kind", "expected"),
    [
        ("base adapter adapter adapter", "adapter", ["policy-0003", "policy-0002"]),
        ("base full", "full", ["policy-0001", "policy-0000"]),
        ("base adapter", "full", []),
    ],
)
def test_the_two_newest_of_a_kind_are_swapped_and_the_base_makes_up_for_one(
    kinds: str, kind: str, expected: list[str]
) -> None:
    records = [record(f"policy-{i:04d}", name) for i, name in enumerate(kinds.split())]
    live = Live(policies={r.version: r for r in records}, aliases={"production": "policy-0002"})
    found = [r.version for r in swap_bench.pair(live, kind)]
    assert sorted(found) == sorted(expected)
    assert found[:1] != ["policy-0002"]  # a promotion of what is live already would be no swap


def answer(**fields: Any) -> Answer:
    good = {"id": "c", "version": "v1", "said": {"v1"}, "num_tokens": 9, "began": 0.0}
    return Answer(**{**good, **fields})


@pytest.mark.parametrize(
    ("fields", "engine_said", "counted"),
    [
        ({}, ("v1", "v1"), {}),
        ({"error": "broke off", "num_tokens": 3}, ("v1", "v1"), {"dropped": 1}),
        ({"num_tokens": 8}, ("v1", "v1"), {"dropped": 1}),
        ({"num_tokens": 2, "is_withheld": True}, ("v1", "v1"), {"withheld_by_moderation": 1}),
        ({"said": {"v1", "v2"}}, ("v1", "v1"), {"wrong_version": 1}),
        ({}, ("v2", "v2"), {"wrong_version": 1}),
        ({}, ("v1", "v2"), {"mixed_versions": 1}),
        ({"id": "unknown"}, ("v1", "v1"), {"not_in_log": 1}),
    ],
)
def test_a_stream_is_judged_by_what_everybody_said_of_it(
    fields: dict[str, Any], engine_said: tuple[str, str], counted: dict[str, int]
) -> None:
    found = judged([answer(**fields)], {"c": engine_said}, num_tokens=9)
    assert {name: n for name, n in found.items() if n and name not in ("streams", "errors")} == (
        counted
    )


def test_silence_is_the_longest_wait_that_touches_the_swap() -> None:
    streams = [answer(times=[1.0, 2.0, 5.0]), answer(began=3.0, times=[7.5])]
    assert silence_s(streams, 2.5, 2.6) == 3.0
    assert silence_s(streams, 4.0, 6.0) == 4.5  # it had to wait for its first piece
    assert silence_s(streams, 8.0, 9.0) == 0.0


async def swap(stack: Path, gateway: Running) -> dict[str, Any]:
    words = " ".join(["word"] * 12)
    return await swap_bench.run(
        gateway.redis,
        data_dir=stack,
        kind="adapter",
        num_swaps=4,
        num_streams=3,
        num_tokens=12,
        rest_s=0.1,
        prompt=words,
        say=lambda _: None,
    )


async def test_every_swap_loads_a_version_and_what_was_live_is_put_back(
    stack: Path, gateway: Running, engine: FakeEngine
) -> None:
    engine.chunk_delay_s = 0.01
    report = await swap(stack, gateway)
    assert report["versions"] == ["policy-0002", "policy-0001"]
    nothing_wrong = ("dropped", "wrong_version", "mixed_versions", "not_in_log")
    assert [report[name] for name in nothing_wrong] == [0, 0, 0, 0]
    assert (report["swaps"], report["probes"]["wrong_version"]) == (4, 0)
    assert report["streams"] > 4
    assert report["fewest_streams_across_a_swap"] > 0
    assert report["first_text_of_new_version_ms"]["p50"] >= report["swap_ms"]["p50"] * 0.5
    assert (report["weight_bytes"], report["memory_copy_floor_ms"] > 0) == (1000, True)
    loads = [call for call in engine.calls if call.startswith("load")]
    assert len(loads) >= 4
    assert Registry(gateway.redis).aliases()["production"] == BASE
    assert "\ndropped: 0\n" in shown(report)


async def test_a_stream_that_breaks_and_one_of_two_versions_are_counted(
    stack: Path, gateway: Running, engine: FakeEngine
) -> None:
    engine.chunk_delay_s = 0.01
    engine.break_next, engine.last_version = 1, "policy-0009"
    report = await swap(stack, gateway)
    assert report["dropped"] == 1
    assert report["errors"]
    assert report["mixed_versions"] == report["streams"] - 1


def test_copying_more_takes_longer() -> None:
    assert swap_bench.memory_copy_s(0) == 0.0
    assert swap_bench.memory_copy_s(2**26) > swap_bench.memory_copy_s(2**12) > 0.0
