from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from feedback.errors import HoneError, Unprocessable
from training import preferences

HH = "\n\nHuman: Is it late?\n\nAssistant:"
USER = {"role": "user", "content": "Is it late?"}
CHAT = [USER]
TEXT = "Is it late?"


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def snapshot(data: Path, **changes: Any) -> dict[str, list[dict[str, Any]]]:
    """The parts of the snapshot that is made of a dataset."""
    folder = data.parent / "snapshot"
    wanted = {"heldout_share": 0.2, "skip_bad": False, "on_bad": lambda where, why: None}
    preferences.write_snapshot(data, folder, **(wanted | changes))
    return {
        part: [json.loads(line) for line in (folder / f"{part}.jsonl").read_text().splitlines()]
        for part in ("rankings", "prompts", "demonstrations")
    }


@pytest.mark.parametrize(
    ("row", "prompt", "answers", "ranks"),
    [
        ({"prompt": TEXT, "chosen": "Yes.", "rejected": "No."}, CHAT, {"Yes.", "No."}, {1, 2}),
        (
            {"prompt": CHAT, "chosen": [said("Yes.")], "rejected": [said("No.")]},
            CHAT,
            {"Yes.", "No."},
            {1, 2},
        ),
        (
            {"chosen": [*CHAT, said("Yes.")], "rejected": [*CHAT, said("No.")]},
            CHAT,
            {"Yes.", "No."},
            {1, 2},
        ),
        (
            {"prompt": TEXT, "chosen": [*CHAT, said("Yes.")], "rejected": [*CHAT, said("No.")]},
            CHAT,
            {"Yes.", "No."},
            {1, 2},
        ),
        ({"chosen": f"{HH} Yes.", "rejected": f"{HH} No."}, CHAT, {"Yes.", "No."}, {1, 2}),
        (
            {"chosen": "The sky is blue.", "rejected": "The sky is green."},
            "The sky is",
            {" blue.", " green."},
            {1, 2},
        ),
        (
            {"prompt": TEXT, "completions": ["Yes.", "No.", "Go!"], "ranks": [2, 1, 2]},
            CHAT,
            {"Yes.", "No.", "Go!"},
            {1, 2},
        ),
        (
            {"prompt": TEXT, "chosen": "Yes.", "rejected": "No.", "endpoint": "text"},
            TEXT,
            {"Yes.", "No."},
            {1, 2},
        ),
    ],
)
def test_comparisons_and_rankings_of_every_format_become_rankings(
    row: dict[str, Any], prompt: Any, answers: set[str], ranks: set[int], tmp_path: Path
) -> None:
    (ranking,) = snapshot(write(tmp_path / "rows.jsonl", row))["rankings"]
    assert ranking["messages" if isinstance(prompt, list) else "prompt"] == prompt
    assert {answer["text"] for answer in ranking["completions"]} == answers
    assert set(ranking["ranks"]) == ranks
    best = ranking["completions"][ranking["ranks"].index(1)]
    assert best["text"] in ("Yes.", " blue.", "No.")
    assert all(answer["ended"] and answer["token_ids"] is None for answer in ranking["completions"])


@pytest.mark.parametrize(
    ("row", "completion"),
    [
        ({"prompt": TEXT, "completion": "Yes."}, "Yes."),
        ({"prompt": CHAT, "completion": [said("Yes.")]}, "Yes."),
        ({"messages": [*CHAT, said("Yes.")]}, "Yes."),
        ({"prompt": TEXT, "completion": "Yes.", "label": True}, "Yes."),
        ({"messages": [*CHAT, said("Yes.")], "likert": 6}, "Yes."),
        ({"prompt": TEXT, "completion": "Yes.", "label": False}, None),
        ({"messages": [*CHAT, said("Yes.")], "likert": 5}, None),
        ({"prompt": TEXT}, None),
        ({"messages": CHAT}, None),
    ],
)
def test_what_people_wrote_or_rated_highly_is_demonstrated_and_every_prompt_is_kept(
    row: dict[str, Any], completion: str | None, tmp_path: Path
) -> None:
    found = snapshot(write(tmp_path / "rows.jsonl", row))
    demonstrated = [demonstration["completion_text"] for demonstration in found["demonstrations"]]
    assert demonstrated == ([] if completion is None else [completion])
    assert [prompt["messages"] for prompt in found["prompts"]] == [CHAT]


def test_a_folder_that_datasets_saved_is_read_and_its_caches_are_not(tmp_path: Path) -> None:
    import datasets

    rows = [{"prompt": f"{i}?", "chosen": "Yes.", "rejected": "No."} for i in range(5)]
    saved = datasets.DatasetDict(
        train=datasets.Dataset.from_list(rows[:3]), test=datasets.Dataset.from_list(rows[3:])
    )
    saved.save_to_disk(str(tmp_path / "data"))
    (tmp_path / "data" / "train" / "cache-1.arrow").write_bytes(b"not for us")
    assert len(snapshot(tmp_path / "data")["rankings"]) == 5


def test_parquet_json_and_gzip_are_read_too(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"prompt": f"{i}?", "chosen": "Yes.", "rejected": "No."} for i in range(4)]
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows[:1]), folder / "a.parquet")
    (folder / "b.json").write_text(json.dumps(rows[1:3]))
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(json.dumps(rows[3]).encode()))
    assert len(snapshot(folder)["rankings"]) == 4


def pairs(*orders: str) -> list[dict[str, str]]:
    return [{"prompt": TEXT, "chosen": order[0], "rejected": order[1]} for order in orders]


@pytest.mark.parametrize(
    ("rows", "ranks"),
    [
        (pairs("ab", "ac", "bc"), [[1, 2, 3]]),
        (pairs("bc", "ac", "ab"), [[1, 2, 3]]),
        (pairs("ac", "ad", "bc", "bd", "cd"), [[1, 1, 3, 4]]),  # a and b are tied
        (pairs("ab", "bc"), [[1, 2], [1, 2]]),  # ac is missing
        (pairs("ab", "bc", "ca"), [[1, 2], [1, 2], [1, 2]]),  # a circle
        (pairs("ab", "ab", "ab"), [[1, 2], [1, 2], [1, 2]]),  # three people
    ],
)
def test_pairs_that_are_a_ranking_taken_apart_become_it_again(
    rows: list[dict[str, str]], ranks: list[list[int]], tmp_path: Path
) -> None:
    found = snapshot(write(tmp_path / "rows.jsonl", *rows))["rankings"]
    by_answer = [
        sorted(zip((a["text"] for a in one["completions"]), one["ranks"], strict=True))
        for one in found
    ]
    assert [[rank for _, rank in sorted(one, key=lambda pair: pair[1])] for one in by_answer] == [
        sorted(each) for each in ranks
    ]
    if len(ranks) == 1:
        assert [rank for _, rank in by_answer[0]] == ranks[0]


def test_a_prompt_is_on_one_side_whatever_is_said_about_it_and_wherever(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}?", "chosen": "Yes.", "rejected": "No."} for i in range(200)]
    first = snapshot(write(tmp_path / "rows.jsonl", *rows))
    again = [{"prompt": row["prompt"], "completion": "Perhaps."} for row in reversed(rows)]
    second = snapshot(write(tmp_path / "more.jsonl", *again))

    def sides(part: list[dict[str, Any]]) -> dict[str, str]:
        return {row["prompt_text"]: row["split"] for row in part}

    assert sides(first["rankings"]) == sides(second["demonstrations"]) == sides(first["prompts"])
    heldout = [side for side in sides(first["rankings"]).values() if side == "heldout"]
    assert 20 < len(heldout) < 60


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"prompt": "a", "chosen": "b"}', "rows.jsonl:1: column `rejected` is missing"),
        ('{"prompt": 3, "chosen": "b", "rejected": "c"}', "rows.jsonl:1: column `prompt`: "),
        ('{"chosen": "x", "rejected": "y"}', "rows.jsonl:1: column `prompt` is missing"),
        ('\n{"question": "a", "answer": "b"}', "rows.jsonl:2: it has the columns answer, question"),
        ('{"prompt": "a", "chosen": "b", "rejected": "b"}', "rows.jsonl:1: the two answers are"),
        ('{"prompt": "a", "completions": ["b"], "ranks": [1]}', "two answers or more"),
        ('{"prompt": "a", "completions": ["b", "c"], "ranks": [1]}', "2 responses and 1 ranks"),
        ('{"prompt": "a", "completion": " "}', "an answer is empty"),
        ('{"prompt": "a", "completion": "b", "label": "good"}', "column `label` is true or false"),
        ('{"prompt": "a", "chosen', "rows.jsonl:1: no JSON"),
        ("[1, 2]", "rows.jsonl:1: a record is an object"),
    ],
)
def test_a_bad_record_is_told_with_file_row_and_column(
    content: str, told: str, tmp_path: Path
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(content + "\n")
    heard: list[str] = []

    def on_bad(where: str, why: str) -> None:
        heard.append(f"{where}: {why}")

    with pytest.raises(Unprocessable, match="1 records are no examples"):
        snapshot(data, on_bad=on_bad)
    (one,) = heard
    assert told in one
    good = {"prompt": TEXT, "chosen": "Yes.", "rejected": "No."}
    data.write_text(content + "\n" + json.dumps(good) + "\n")
    assert len(snapshot(data, skip_bad=True)["rankings"]) == 1


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("rows.jsonl", b"", "holds no record; a record has the columns"),
        ("rows.parquet", b"PAR0", "is no Parquet file"),
        ("rows.arrow", b"nonsense", "is no Arrow file"),
        ("rows.jsonl.gz", b"plain", "is no gzip file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HoneError, match=told) as raised:
        snapshot(tmp_path / name)
    assert name in raised.value.message


def test_a_folder_without_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(HoneError, match="no folder with .jsonl"):
        snapshot(tmp_path / "data")
