from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import redis

from feedback import eventlog, stored
from feedback.connection import connect
from feedback.history import History
from feedback.journal import Journal
from feedback.settings import FeedbackSettings
from feedback.snapshots import builder
from feedback.snapshots.people import People
from feedback.snapshots.rules import Rules
from feedback.snapshots.splits import place_of
from tests.feedback.snapshots.log import (
    Log,
    answer,
    asked,
    comparison,
    completion,
    demonstration,
    freeze,
    ranking,
    removed,
    rows,
)

RULES = Rules(heldout_share=0.0)


def test_tiers_become_ranks_and_a_tie_shares_one(tmp_path: Path) -> None:
    manifest = freeze(tmp_path, completion(1), ranking(1, ["b"], ["a", "c"]))
    (row,) = rows(tmp_path, "rankings")
    assert row["ranks"] == [2, 1, 2]
    assert [c["token_ids"] for c in row["completions"]] == [[1, 0], [1, 1], [1, 2]]
    assert (row["prompt_ids"], row["prompt_text"]) == ([1, 1], "question 1")
    counts = manifest["parts"]["rankings"]
    assert (counts["rows"], counts["comparisons"], counts["ties"]) == (1, 2, 1)


def test_the_manifest_names_events_settings_and_the_hash_of_every_file(tmp_path: Path) -> None:
    manifest = freeze(tmp_path, completion(1), completion(2), ranking(2), heldout_share=0.5)
    assert manifest["events"]["completions"] == {
        "num": 2,
        "first": {"entry": "1-0", "created": 1.0},
        "last": {"entry": "2-0", "created": 2.0},
    }
    assert manifest["events"]["feedback"]["forms"] == {"ranking": 1}
    assert manifest["bounds"] == {"completions": "2-0", "feedback": "3-0"}
    assert manifest["settings"]["heldout_share"] == 0.5
    assert (manifest["end_users"], manifest["labelers"]) == (2, 1)
    names = {path.name for path in tmp_path.iterdir()} - {"manifest.json"}
    assert names == set(manifest["files"])
    for name, written in manifest["files"].items():
        data = (tmp_path / name).read_bytes()
        assert written["sha256"] == hashlib.sha256(data).hexdigest()
        assert written["bytes"] == len(data)
        assert written.get("rows", 0) == (data.count(b"\n") if name.endswith("l") else 0)


@pytest.mark.parametrize("position", [-1, 1, 3])
def test_a_comparison_is_a_ranking_of_two(tmp_path: Path, position: int) -> None:
    freeze(tmp_path, completion(1), comparison(1, position))
    (row,) = rows(tmp_path, "rankings")
    assert row["ranks"] == ([1, 2] if position > 0 else [2, 1])


def test_sets_without_a_winner_are_kept_apart(tmp_path: Path) -> None:
    bad = ranking(2, labeler="bert")
    bad.body["all_bad"] = True
    both = comparison(3, 1, labeler="carl", body={"both_bad": True})
    manifest = freeze(
        tmp_path,
        *(completion(number) for number in (1, 2, 3)),
        ranking(1, ["a", "b", "c"]),
        bad,
        both,
    )
    assert rows(tmp_path, "rankings") == []
    undecided = {row["labeler"]: row["why"] for row in rows(tmp_path, "undecided")}
    assert undecided == {"anna": "all_tied", "bert": "all_bad", "carl": "all_bad"}
    assert removed(manifest) == {"all_tied": 1, "all_bad": 2}


def test_made_again_after_an_interruption_it_holds_the_same_events(tmp_path: Path) -> None:
    log = Log(completion(1), ranking(1))

    def create() -> dict[str, Any]:
        return builder.create(log, tmp_path, rules=RULES, people=People())

    before = create()
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "rankings.jsonl.partial").write_text("half")  # what a killed process leaves
    log.events += [completion(2), ranking(2)]
    after = create()
    assert after["files"] == before["files"]
    assert not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.glob(".*"))


def test_a_finished_snapshot_does_not_change(tmp_path: Path) -> None:
    before = freeze(tmp_path, completion(1), ranking(1))
    assert freeze(tmp_path, completion(1), ranking(1), completion(2), ranking(2)) == before
    assert len(rows(tmp_path, "rankings")) == 1
    assert (tmp_path / "rankings.jsonl").stat().st_mode & 0o222 == 0


def test_an_end_user_is_on_one_side_in_all_parts(tmp_path: Path) -> None:
    events = [completion(n) for n in range(60)]
    judged = [ranking(n) for n in range(60)] + [demonstration(n, f"text {n}") for n in range(60)]
    freeze(tmp_path, *events, *judged, heldout_share=0.3, validation_share=0.2)
    sides: dict[int, set[str]] = {}
    for part in ("prompts", "rankings", "demonstrations"):
        for row in rows(tmp_path, part):
            sides.setdefault(row["prompt_ids"][1] % 20, set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert {next(iter(side)) for side in sides.values()} == {"train", "validation", "heldout"}


def test_nobody_moves_when_others_come(tmp_path: Path) -> None:
    sides: list[dict[int, str]] = []
    for number, num_users in enumerate((20, 60)):
        users = [completion(n, end_user=f"user-{n}") for n in range(num_users)]
        folder = tmp_path / str(number)
        manifest = freeze(folder, *users, *map(ranking, range(num_users)), heldout_share=0.3)
        assert manifest["split_by"] == "end_user"
        sides.append({row["prompt_ids"][1]: row["split"] for row in rows(folder, "prompts")})
    before, after = sides
    assert {user: after[user] for user in before} == before
    assert set(before.values()) == {"train", "heldout"}


@pytest.mark.parametrize("user", ["user-0", "user-4"])
def test_prompts_are_split_when_one_end_user_is_all_there_is(tmp_path: Path, user: str) -> None:
    """Whichever side the hash puts that one on."""
    assert (place_of(f"t/{user}") < 0.5) == (user == "user-4")
    events = [completion(n, end_user=user) for n in range(40)] + [ranking(n) for n in range(40)]
    manifest = freeze(tmp_path, *events, heldout_share=0.5)
    assert manifest["split_by"] == "prompt"
    for part in ("prompts", "rankings"):
        assert {row["split"] for row in rows(tmp_path, part)} == {"train", "heldout"}
    side = {row["prompt_ids"][1]: row["split"] for row in rows(tmp_path, "prompts")}
    assert all(side[row["prompt_ids"][1]] == row["split"] for row in rows(tmp_path, "rankings"))


def test_a_prompt_that_is_trained_on_is_not_held_out(tmp_path: Path) -> None:
    events = [completion(n) for n in range(60)]
    # Everybody asks this one, too.
    events += [completion(100 + n, prompt_ids=[7, 7], end_user=f"user-{n}") for n in range(20)]
    manifest = freeze(
        tmp_path,
        *events,
        *(ranking(n) for n in (*range(60), *range(100, 120))),
        heldout_share=0.3,
    )
    sides = {row["split"] for row in rows(tmp_path, "rankings") if row["prompt_ids"] == [7, 7]}
    assert sides == {"train"}
    assert removed(manifest)["prompt_in_train"] > 0


def test_an_empty_log_makes_an_empty_snapshot(tmp_path: Path) -> None:
    manifest = freeze(tmp_path, heldout_share=0.2)
    assert manifest["bounds"] == {"completions": None, "feedback": None}
    assert manifest["events"]["completions"] == {"num": 0, "first": None, "last": None}
    assert all(counts.get("rows", 0) == 0 for counts in manifest["parts"].values())


def test_the_same_prompt_is_kept_once(tmp_path: Path) -> None:
    manifest = freeze(tmp_path, completion(1), completion(1, id="chatcmpl-again"))
    assert len(rows(tmp_path, "prompts")) == 1
    assert removed(manifest, "prompts") == {"same_prompt": 1}


def test_demonstrations_with_and_without_a_parent(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "write a haiku"}]
    own = demonstration(9, labeler="lea", id="fbk_own", completion_ids=[])
    own.body.update(messages=messages, parent=None)
    manifest = freeze(
        tmp_path,
        completion(1, version_last="policy-0001"),  # mixed: its answer is not used here
        demonstration(1),
        demonstration(1, labeler="bert"),  # says the same
        demonstration(5),  # its parent is gone
        own,
    )
    parented, alone = rows(tmp_path, "demonstrations")
    assert (parented["prompt_ids"], parented["completion_text"]) == ([1, 1], "better")
    assert (alone["prompt_ids"], alone["messages"]) == (None, messages)
    assert removed(manifest, "demonstrations") == {"same_text": 1, "completion_missing": 1}


def test_personal_data_is_masked_and_its_token_ids_are_gone(tmp_path: Path) -> None:
    mail = "write to ann@example.com"
    choices = [answer(1, 0), answer(1, 1, text="call +49 30 901820"), answer(1, 2)]
    manifest = freeze(
        tmp_path,
        asked(1, mail, choices=choices),
        completion(2),
        ranking(1),
        ranking(2),
        demonstration(1),
        demonstration(2, "I live at 12 Main Street, Springfield, IL 62704"),
    )
    row, clean = rows(tmp_path, "rankings")
    assert (row["prompt_ids"], row["masked"]) == (None, ["EMAIL_ADDRESS"])
    assert row["messages"] == [{"role": "user", "content": "write to <EMAIL_ADDRESS>"}]
    assert row["completions"][1] == {
        "token_ids": None,
        "text": "call <PHONE_NUMBER>",
        "ended": True,
        "masked": ["PHONE_NUMBER"],
    }
    assert row["completions"][0]["token_ids"] == [1, 0]
    assert "masked" not in clean
    (demo,) = rows(tmp_path, "demonstrations")  # whose answer has an address is left out
    assert demo["prompt_text"] == "write to <EMAIL_ADDRESS>"
    assert removed(manifest, "demonstrations") == {"personal_data": 1}
    assert manifest["texts_masked"]["EMAIL_ADDRESS"] == 1
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"ann@example.com" not in everything
    assert b"901820" not in everything
    assert b"Springfield" not in everything


def test_what_cannot_be_masked_faithfully_is_dropped(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "mail ann@example.com"}]
    with_tools = completion(1, request={"messages": messages, "tools": [{"type": "function"}]})
    manifest = freeze(tmp_path, with_tools, ranking(1))
    assert rows(tmp_path, "rankings") == rows(tmp_path, "prompts") == []
    assert removed(manifest) == removed(manifest, "prompts") == {"personal_data": 1}


def test_labelers_are_listed_with_their_weights(tmp_path: Path) -> None:
    people = People(weights={"bert": 0.25})
    events = [completion(1), ranking(1), ranking(1, labeler="bert")]
    freeze(tmp_path, *events, people=people)
    assert {row["labeler"]: row["weight"] for row in rows(tmp_path, "rankings")} == {
        "anna": 1.0,
        "bert": 0.25,
    }
    assert rows(tmp_path, "labelers")[1] == {
        "labeler": "bert",
        "judgements": 1,
        "used": 1,
        "weight": 0.25,
        "is_heldout": False,
    }


async def test_a_judgement_of_an_erased_answer_is_left_out_and_the_others_stay(
    redis_url: str, tmp_path: Path
) -> None:
    client: redis.Redis = connect(redis_url)
    judged = (demonstration(1), ranking(1), ranking(2))
    for event in (completion(1), completion(2), *judged):
        eventlog.append(client, event)
    settings = FeedbackSettings(redis_url=redis_url, outbox_path=tmp_path / "outbox.sqlite")
    journal = Journal(settings)
    await stored.erase(journal, "chatcmpl-1", tenant="t")
    history = History(client)
    manifest = builder.create(history, tmp_path / "one", rules=RULES, people=People())
    assert [row["prompt_ids"] for row in rows(tmp_path / "one", "rankings")] == [[1, 2]]
    assert [row["id"] for row in rows(tmp_path / "one", "prompts")] == ["chatcmpl-2"]
    assert rows(tmp_path / "one", "demonstrations") == []
    assert removed(manifest) == {"completion_missing": 1}
    await stored.erase(journal, "chatcmpl-2", tenant="t")  # now there is none at all
    await journal.close()
    manifest = builder.create(history, tmp_path / "two", rules=RULES, people=People())
    assert removed(manifest) == {"completion_missing": 2}
    assert rows(tmp_path / "two", "prompts") == []
