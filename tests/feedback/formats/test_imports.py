from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from feedback.errors import BadRequest, NotFound, Unprocessable
from feedback.formats.export import Options, write
from feedback.formats.imports import Wish, run
from feedback.formats.parquet import read
from feedback.formats.rows import CONFIGS
from feedback.history import History
from tests.feedback.formats.log import fill
from tests.feedback.formats.taking import jsonl, judged, log_of, preferred, take

SKY = {"prompt": "Why is the sky blue?", "chosen": "Scattering.", "rejected": "Paint."}


def rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        config: [row for file in sorted((folder / config).glob("*")) for row in read(file)]
        for config in CONFIGS
    }


def test_an_export_comes_back_as_it_was(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client)
    options = Options(heldout_share=0.0)
    write(History(client), tmp_path / "first", options)
    client.flushall()
    report, _ = take(client, tmp_path / "first")
    assert report.judgements == {"ranking": 3, "comparison": 2, "rating": 3, "demonstration": 2}
    write(History(client), tmp_path / "second", options)
    before, after = rows(tmp_path / "first"), rows(tmp_path / "second")
    for config in CONFIGS:
        key = "ranking_id" if config == "preference" else "id"
        assert sorted(after[config], key=lambda row: str((row[key], row))) == sorted(
            before[config], key=lambda row: str((row[key], row))
        )
    assert sum(map(len, before.values())) > 50


def test_an_export_into_the_log_it_came_from_adds_nothing(
    client: redis.Redis, tmp_path: Path
) -> None:
    fill(client)
    before = log_of(client)
    write(History(client), tmp_path / "out", Options())
    report, _ = take(client, tmp_path / "out")
    assert (report.added, report.already_there) == (0, 10)
    assert log_of(client) == before


def test_a_preference_becomes_answers_and_a_comparison_that_hone_can_read(
    client: redis.Redis, tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "sky.jsonl", [{**SKY, "labeler": "kim"}])
    report, bad = take(client, path)
    assert (report.added, bad) == (1, [])
    completion, event = judged(client)
    assert preferred(client) == ("Scattering.", "Paint.")
    assert (completion.version, completion.digest) == ("imported", report.digest)
    assert completion.request == {"messages": [{"role": "user", "content": "Why is the sky blue?"}]}
    assert completion.prompt_ids == []
    assert all(choice.token_ids == choice.logprobs == [] for choice in completion.choices)
    assert completion.metadata["imported_from"] == "sky.jsonl"
    assert (event.labeler, event.completion_ids) == ("kim", [completion.id])


def test_the_better_answer_is_not_always_on_the_left(client: redis.Redis, tmp_path: Path) -> None:
    many = [{**SKY, "chosen": f"because {number}"} for number in range(200)]
    take(client, jsonl(tmp_path / "many.jsonl", many))
    lefts = sum(event.body["preference"] > 0 for event in log_of(client)[1])
    assert 70 < lefts < 130


def test_the_same_file_twice_adds_nothing_and_a_longer_one_what_is_new(
    client: redis.Redis, tmp_path: Path
) -> None:
    first = jsonl(tmp_path / "a.jsonl", [SKY])
    assert take(client, first)[0].added == 1
    again, _ = take(client, first)
    assert (again.added, again.already_there) == (0, 1)
    longer = jsonl(tmp_path / "b.jsonl", [SKY, {**SKY, "rejected": "Magic."}])
    report, _ = take(client, longer)
    assert (report.added, report.already_there) == (1, 1)
    assert len(log_of(client)[0]) == len(log_of(client)[1]) == 2


BAD: list[tuple[Any, str]] = [
    ("{not json\n", "no JSON"),
    ("[1, 2]\n", "a record is an object"),
    ({"foo": 1, "bar": 2}, "no judgement known here; it has bar, foo"),
    ({**SKY, "chosen": "Paint."}, "the same"),
    ({**SKY, "chosen": " "}, "an answer is empty"),
    ({**SKY, "prompt": []}, "a conversation is"),
    ({**SKY, "prompt": [{"role": "alien", "content": "hm"}]}, "'alien' is no role"),
    ({**SKY, "prompt": [{"role": "user", "content": None}]}, "`content` is a text"),
    ({**SKY, "created": "now"}, "`created` is a number"),
    ({**SKY, "created": 1e12}, "no time"),
    ({**SKY, "labeler": "x" * 200}, "labeler"),
    ({"prompt": "p", "responses": ["a", "b"], "ranks": [1]}, "2 responses and 1 ranks"),
    ({"prompt": "p", "responses": ["a", "b"], "ranks": [1, None]}, "a rank is a whole number"),
    ({"prompt": "p", "responses": ["a"], "ranks": [1]}, "two answers or more"),
    ({"prompt": "p", "responses": list("abcdefghij"), "ranks": list(range(10))}, "at most"),
    ({"context": "p", "completions": ["a", "b"]}, "`completions` is a list"),
    ({"messages": [{"role": "user", "content": "hi"}]}, "ends with the answer"),
    ({"messages": [{"role": "user", "content": "hi"}], "likert": 9}, "ends with the answer"),
    (
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "yo"},
            ],
            "likert": 9,
        },
        "likert",
    ),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_bad_record_is_told_by_its_place_and_nothing_is_imported(
    client: redis.Redis, tmp_path: Path, row: Any, reason: str
) -> None:
    path = jsonl(tmp_path / "mixed.jsonl", [SKY, "\n", row])
    bad: list[tuple[str, str]] = []
    with pytest.raises(Unprocessable, match=r"1 of 2 records .* nothing"):
        run(client, Wish(path=path), on_bad=lambda *line: bad.append(line))
    ((where, why),) = bad
    assert where == "mixed.jsonl:3"
    assert reason in why
    assert log_of(client) == ([], [])


def test_bad_records_are_left_out_when_that_is_asked_for(
    client: redis.Redis, tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "mixed.jsonl", [SKY, "{\n", {**SKY, "rejected": "Magic."}])
    report, bad = take(client, path, skip_bad=True)
    assert (report.added, report.bad, report.records) == (2, 1, 3)
    assert [where for where, _ in bad] == ["mixed.jsonl:2"]


def test_a_dry_run_writes_nothing(client: redis.Redis, tmp_path: Path) -> None:
    report, _ = take(client, jsonl(tmp_path / "a.jsonl", [SKY]), is_dry_run=True)
    assert (report.judgements, report.added) == ({"comparison": 1}, 0)
    assert log_of(client) == ([], [])


def test_trl_s_other_shapes_are_read(client: redis.Redis, tmp_path: Path) -> None:
    user, better, worse = (
        {"role": role, "content": text}
        for role, text in (("user", "q"), ("assistant", "good"), ("assistant", "bad"))
    )
    shapes = [
        {"chosen": [user, better], "rejected": [user, worse], "margin": 2.0},  # implicit prompt
        {"prompt": [user], "chosen": [better], "rejected": [worse], "margin": 0.37},
        {"prompt": [user], "completion": [better], "label": False},  # unpaired
        {"prompt": [user], "completion": [better]},
        {"messages": [user, better]},
    ]
    found = []
    for shape in shapes:
        client.flushall()
        take(client, jsonl(tmp_path / "a.jsonl", [shape]), format="trl")
        (event,) = log_of(client)[1]
        found.append((event.form, event.body))
    assert [form for form, _ in found] == [
        *("comparison", "comparison", "rating", "demonstration", "demonstration")
    ]
    assert abs(found[0][1]["preference"]) == 2
    assert (abs(found[1][1]["preference"]), found[1][1]["tags"]) == (1, {"margin": "0.37"})
    assert found[2][1]["thumb"] == "down"
    assert found[3][1] == found[4][1]
    assert found[3][1]["completion"] == "good"


def test_a_ranking_with_ties_is_read_in_both_shapes(client: redis.Redis, tmp_path: Path) -> None:
    nemo = {
        "context": [{"role": "user", "content": "q"}],
        "completions": [
            {"rank": rank, "completion": [{"role": "assistant", "content": f"a{rank}{number}"}]}
            for number, rank in enumerate((1, 0, 1, 2))
        ],
    }
    plain = {"prompt": "q", "responses": ["x", "y", "z"], "ranks": [2, 1, 2]}
    take(client, jsonl(tmp_path / "a.jsonl", [nemo, plain]), format="jsonl")
    tiers = [event.body["tiers"] for event in log_of(client)[1]]
    assert tiers == [[["b"], ["a", "c"], ["d"]], [["b"], ["a", "c"]]]


def test_a_long_json_list_is_read_piece_by_piece(client: redis.Redis, tmp_path: Path) -> None:
    items = [{**SKY, "chosen": f"{number} " + "ü" * (90_000 + number)} for number in range(40)]
    path = tmp_path / "long.json"
    path.write_text(json.dumps(items, ensure_ascii=False))
    report, _ = take(client, path)
    assert report.added == 40
    texts = {choice.text for completion in log_of(client)[0] for choice in completion.choices}
    assert texts == {str(item["chosen"]) for item in items} | {"Paint."}
    path.write_text(json.dumps(items, ensure_ascii=False)[:-30])
    report, bad = take(client, path, skip_bad=True)
    assert report.already_there == 39
    assert bad[0][0] == "long.json:item 40"


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("no.jsonl", None, NotFound),
        ("a.parquet", b"this is none", BadRequest),
        ("a.jsonl.gz", b"this is none", BadRequest),
    ],
)
def test_what_is_no_such_file_is_refused(
    client: redis.Redis, tmp_path: Path, name: str, data: bytes | None, error: type[Exception]
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(error):
        take(client, tmp_path / name)
