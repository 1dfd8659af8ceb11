"""A preference dataset on disk as a snapshot: what `hone train --data` takes besides a snapshot.

1. Read each record: a comparison, a ranking, a demonstration, a rating, or a prompt alone.
2. Pairs about one prompt that are a ranking taken apart become that ranking again.
3. Write them as feedback.snapshots writes its own, without token ids. A prompt is held out, with all
that was said about it, by a hash of its text: the same in every dataset and in every order.

Answers end where their texts end. What a string of a prompt is: a message of the user, as in `hone
import`; raw text where chosen and rejected begin with it (TRL's implicit prompt), or `endpoint` says "text".
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Literal

import orjson

from feedback.errors import BadRequest, Unprocessable
from feedback.formats import fine_tuning, plain, transcripts
from feedback.formats.messages import Messages, messages_of
from feedback.formats.records import Record, files_of, read
from feedback.formats.said import Bad, Passed, Said
from feedback.judgements import MAX_CANDIDATES
from feedback.snapshots import splits
from feedback.snapshots.files import Rows, sha256_of, write_json

MANIFEST = "manifest.json"
RANKINGS, PROMPTS, DEMONSTRATIONS = "rankings", "prompts", "demonstrations"
OnBad = Callable[[str, str], None]  # (place, reason)

_GOOD_LIKERT = 6  # of 7: an answer that was rated so highly is imitated like a demonstration
_TEXT_COLUMNS = ("prompt", "chosen", "rejected", "completion", "messages")
_ANSWER_COLUMNS = {"chosen", "rejected", "completion", "completions", "responses", "label"}
_KNOWN = (
    "prompt, chosen, rejected; prompt, completions, ranks; messages; prompt, completion; prompt"
)


@dataclass(frozen=True, kw_only=True)
class Example:
    """What one record says."""

    where: str  # file and row
    kind: Literal["ranking", "demonstration", "prompt", "rated_low"]
    prompt: Messages
    is_text: bool = False  # the prompt is raw text, not a conversation
    answers: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()  # 1 is best, equal ranks are ties
    labeler: str = ""  # who judged, where the dataset says so

    @property
    def key(self) -> str:
        """The prompt's identity."""
        return hashlib.sha256(orjson.dumps([self.is_text, self.prompt])).hexdigest()


def is_snapshot(path: Path) -> bool:
    """Whether feedback.snapshots, or `write_snapshot`, made it."""
    return (path / MANIFEST).is_file() and (path / f"{RANKINGS}.jsonl").is_file()


def digest_of(path: Path) -> str:
    """Identity of a dataset: of a snapshot its manifest's, else of all files. Raises NotFound, BadRequest."""
    files = [path / MANIFEST] if is_snapshot(path) else files_of(path)
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(f"{file.relative_to(path)} {sha256_of(file)}\n".encode())
        except OSError as error:
            raise BadRequest(f"{file} cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def write_snapshot(
    path: Path, folder: Path, *, heldout_share: float, skip_bad: bool, on_bad: OnBad
) -> dict[str, Any]:
    """Write the dataset at `path` as a snapshot; returns its manifest.

    Raises NotFound and BadRequest for what is no dataset, Unprocessable where records are bad; each of
    those is told to `on_bad`.
    """
    examples = with_rankings(_examples(path, skip_bad=skip_bad, on_bad=on_bad))
    if not examples:
        raise Unprocessable(f"{path} holds no record; a record has the columns {_KNOWN}")
    folder.mkdir(parents=True, exist_ok=True)
    with (
        Rows(folder / f"{RANKINGS}.jsonl") as rankings,
        Rows(folder / f"{PROMPTS}.jsonl") as prompts,
        Rows(folder / f"{DEMONSTRATIONS}.jsonl") as demonstrations,
    ):
        seen: set[str] = set()
        for example in examples:
            about = _about(example, heldout_share=heldout_share)
            if example.key not in seen:
                seen.add(example.key)
                prompts.add({"id": example.key[:16], **about})
            if example.kind == "ranking":
                rankings.add({"id": example.where, **about, **_ranking(example)})
            elif example.kind == "demonstration":
                demonstrations.add(
                    {"id": example.where, **about, "completion_text": example.answers[0]}
                )
    kinds = Counter(example.kind for example in examples)
    manifest = {
        "source": os.fspath(path),
        "source_digest": digest_of(path),
        "examples": dict(kinds),
        "with_winner": sum(len(set(example.ranks)) > 1 for example in examples),
        "parts": {
            RANKINGS: rankings.written,
            PROMPTS: prompts.written,
            DEMONSTRATIONS: demonstrations.written,
        },
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def with_rankings(examples: Iterable[Example]) -> list[Example]:
    """Pairs that one person gave about one prompt as the ranking that they were, if they were one.

    A pair that is missing, given twice or contradicted by another leaves them as they are.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        is_pair = example.kind == "ranking" and len(example.answers) == 2
        groups[f"{example.key} {example.labeler}" if is_pair else example.where].append(example)
    return [one for group in groups.values() for one in _joined(group)]


def _joined(pairs: Sequence[Example]) -> Sequence[Example]:
    if len(pairs) < 3:
        return pairs
    answers = list(dict.fromkeys(answer for pair in pairs for answer in pair.answers))
    won = [(p.answers[0], p.answers[1]) for p in pairs if p.ranks[0] < p.ranks[1]]
    won += [(p.answers[1], p.answers[0]) for p in pairs if p.ranks[0] > p.ranks[1]]
    num_better = Counter(worse for _, worse in won)
    implied = {(a, b) for a in answers for b in answers if num_better[a] < num_better[b]}
    if len(won) != len(pairs) or len(set(won)) != len(won) or set(won) != implied:
        return pairs
    if len(answers) > MAX_CANDIDATES:
        return pairs
    ranks = tuple(1 + num_better[answer] for answer in answers)
    return [replace(pairs[0], answers=tuple(answers), ranks=ranks)]


def _examples(path: Path, *, skip_bad: bool, on_bad: OnBad) -> list[Example]:
    found: list[Example] = []
    num_bad = 0
    for file in files_of(path):
        name = file.name if path.is_file() else str(file.relative_to(path))
        try:
            for record in read(file, name=name):
                try:
                    found += _said_in(record)
                except Bad as error:
                    num_bad += 1
                    on_bad(record.where, str(error))
        except OSError as error:
            raise BadRequest(f"{file} cannot be read: {error.strerror or error}") from None
    if num_bad and not skip_bad:
        raise Unprocessable(
            f"{path}: {num_bad} records are no examples; mend them, or leave them out with --skip-bad"
        )
    return found


def _said_in(record: Record) -> Iterator[Example]:
    """Raises Bad, which names the column where one is to blame."""
    if record.problem is not None:
        raise Bad(record.problem)
    if not isinstance(record.value, dict):
        raise Bad("a record is an object with columns")
    row = _usual({name: value for name, value in record.value.items() if value is not None})
    prompt = _prompt_alone(row)
    if prompt is not None:
        is_text = row.get("endpoint") == "text"
        yield Example(where=record.where, kind="prompt", prompt=prompt, is_text=is_text)
        return
    for said in _parse(row):
        if isinstance(said, Passed):
            continue  # it follows from another record
        yield _example(said, record.where)


def _parse(row: Mapping[str, Any]) -> Iterator[Said | Passed]:
    if transcripts.is_one(row):
        return transcripts.parse(row)
    if fine_tuning.is_one(row):
        return fine_tuning.parse(row)
    known = _ANSWER_COLUMNS | {"messages"}
    if not known & row.keys():
        raise Bad(f"it has the columns {', '.join(sorted(row)) or 'none'}; wanted: {_KNOWN}")
    for one, other in (("chosen", "rejected"), ("rejected", "chosen")):
        if one in row and other not in row:
            raise Bad(f"column `{other}` is missing")
    if "label" in row and not isinstance(row["label"], bool):
        raise Bad("column `label` is true or false")
    return plain.parse(row)


def _usual(row: dict[str, Any]) -> dict[str, Any]:
    """The row in the words of feedback.formats.plain."""
    for name in _TEXT_COLUMNS:
        if name in row:
            _check(name, row[name])
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if isinstance(chosen, list) and len(chosen) > 1 and "prompt" in row:
        # A whole conversation beside its first question, as UltraFeedback has it.
        row = {name: value for name, value in row.items() if name != "prompt"}
    elif isinstance(chosen, str) and isinstance(rejected, str) and "prompt" not in row:
        if not transcripts.is_one(row):
            row = row | _split_off_prompt(chosen, rejected)
    completions = row.get("completions")
    if isinstance(completions, list) and ("ranks" in row or "rank" in row):
        row = row | {"responses": completions}
    return row


def _check(name: str, value: Any) -> None:
    try:
        messages_of(value)
    except Bad as error:
        raise Bad(f"column `{name}`: {error}") from None


def _split_off_prompt(chosen: str, rejected: str) -> dict[str, Any]:
    """TRL's implicit prompt: what both begin with, up to the space before they part."""
    length = len(os.path.commonprefix([chosen, rejected]))
    if length < min(len(chosen), len(rejected)):
        length = chosen.rfind(" ", 0, length) if " " in chosen[:length] else 0
    prompt, one, other = chosen[:length], chosen[length:], rejected[length:]
    if not (prompt.strip() and one.strip() and other.strip()):
        raise Bad("column `prompt` is missing, and `chosen` and `rejected` do not begin alike")
    return {"prompt": prompt, "chosen": one, "rejected": other, "endpoint": "text"}


def _prompt_alone(row: Mapping[str, Any]) -> Messages | None:
    if _ANSWER_COLUMNS & row.keys():
        return None
    if "messages" in row:
        messages = messages_of(row["messages"])
        return messages if messages[-1]["role"] == "user" else None
    return messages_of(row["prompt"]) if "prompt" in row else None


def _example(said: Said, where: str) -> Example:
    if not all(answer.strip() for answer in said.answers):
        raise Bad("an answer is empty")
    if len(said.answers) > MAX_CANDIDATES:
        raise Bad(f"{len(said.answers)} answers; {MAX_CANDIDATES} at most")
    kind: Literal["ranking", "demonstration", "rated_low"] = "demonstration"
    if said.form in ("ranking", "comparison"):
        kind = "ranking"
    elif said.form == "rating" and not _is_good(said.body):
        kind = "rated_low"
    return Example(
        where=where,
        kind=kind,
        prompt=said.prompt,
        is_text=said.endpoint == "text",
        answers=tuple(said.answers),
        ranks=_ranks(said) if kind == "ranking" else (),
        labeler=said.labeler or "",
    )


def _is_good(rating: Mapping[str, Any]) -> bool:
    return rating.get("thumb") == "up" or (rating.get("likert") or 0) >= _GOOD_LIKERT


def _ranks(said: Said) -> tuple[int, ...]:
    if said.form == "comparison":
        preference = said.body.get("preference") or 0
        return (1 if preference >= 0 else 2, 1 if preference <= 0 else 2)
    tiers = enumerate(said.body["tiers"], start=1)
    rank_of = {letter: rank for rank, tier in tiers for letter in tier}
    return tuple(rank_of[letter] for letter in ascii_lowercase[: len(said.answers)])


def _about(example: Example, *, heldout_share: float) -> dict[str, Any]:
    place = splits.place_of(example.key)
    content = example.prompt[-1]["content"]
    return {
        "prompt_ids": None,
        "prompt_text": content,
        **({"prompt": content} if example.is_text else {"messages": example.prompt}),
        "split": splits.split_at(place, heldout_share=heldout_share, validation_share=0.0),
    }


def _ranking(example: Example) -> dict[str, Any]:
    answers = [{"token_ids": None, "text": text, "ended": True} for text in example.answers]
    return {"labeler": example.labeler, "completions": answers, "ranks": list(example.ranks)}
