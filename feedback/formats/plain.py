"""Our own rows, TRL's and NeMo-RL's, and plain JSONL.

preference     prompt, chosen, rejected, or chosen and rejected as whole conversations; margin
ranking        context or prompt, completions [{"rank", "completion"}]; or responses and ranks (1 is best)
demonstration  messages, the answer last; or prompt and completion
rating         prompt, completion and label true or false; or messages with likert, thumb, flags, metrics
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from string import ascii_lowercase
from typing import Any, cast

from feedback.formats.messages import Messages, answer_of, messages_of, split_off_answer
from feedback.formats.said import Bad, Passed, Said

_RATED = ("likert", "thumb", "flags", "metrics")


def parse(record: Mapping[str, Any]) -> Iterator[Said | Passed]:
    """The judgement that a record is. Raises Bad."""
    row = {name: value for name, value in record.items() if value is not None}
    if row.get("ranking_id") and ("messages" in row or "chosen" in row):
        yield Passed(reason="part_of_a_ranking")
    elif "chosen" in row and "rejected" in row:
        yield _preference(row)
    elif "completions" in row or "responses" in row:
        yield _ranking(row)
    elif isinstance(row.get("label"), bool) and "completion" in row:
        thumb = "up" if row["label"] else "down"
        yield _said(row, "rating", _prompt(row), [answer_of(row["completion"])], {"thumb": thumb})
    elif "messages" in row and any(row.get(name) for name in _RATED):
        prompt, answer = split_off_answer(messages_of(row["messages"]))
        yield _said(row, "rating", prompt, [answer], _rating(row))
    elif "messages" in row:
        prompt, answer = split_off_answer(messages_of(row["messages"]))
        yield _said(row, "demonstration", prompt, [answer], {})
    elif "prompt" in row and "completion" in row:
        answer = answer_of(row["completion"])
        yield _said(row, "demonstration", messages_of(row["prompt"]), [answer], {})
    else:
        raise Bad(f"no judgement known here; it has {', '.join(sorted(row)[:8]) or 'no fields'}")


def preference(prompt: Messages, chosen: str, rejected: str, *, strength: int = 1) -> Said:
    """One answer before another. Which of them is `a` is drawn from the content, as everywhere, so that
    nobody seems to prefer the left."""
    if chosen == rejected:
        raise Bad("the two answers are the same")
    is_chosen_first = hashlib.sha256(f"{prompt}{chosen}".encode()).digest()[0] % 2 == 0
    return Said(
        form="comparison",
        prompt=prompt,
        answers=[chosen, rejected] if is_chosen_first else [rejected, chosen],
        body={"preference": strength if is_chosen_first else -strength},
    )


def ranking_body(ranks: list[Any]) -> dict[str, Any]:
    """Tiers of answers that have these ranks, the lowest best. Raises Bad."""
    if not all(isinstance(rank, int) and not isinstance(rank, bool) for rank in ranks):
        raise Bad("a rank is a whole number, the lowest is best")
    if not 2 <= len(ranks) <= len(ascii_lowercase):
        raise Bad("a ranking has two answers or more")
    tiers: dict[int, list[str]] = {}
    for letter, rank in zip(ascii_lowercase, ranks, strict=False):
        tiers.setdefault(rank, []).append(letter)
    return {"tiers": [tiers[rank] for rank in sorted(tiers)]}


def _preference(row: Mapping[str, Any]) -> Said:
    if "prompt" in row:
        prompt = messages_of(row["prompt"])
        chosen, rejected = answer_of(row["chosen"]), answer_of(row["rejected"])
    elif isinstance(row["chosen"], str):
        raise Bad("chosen and rejected are texts, and there is no prompt")
    else:
        prompt, chosen = split_off_answer(messages_of(row["chosen"]))
        other, rejected = split_off_answer(messages_of(row["rejected"]))
        if prompt != other:
            raise Bad("chosen and rejected answer different prompts")
    margin = row.get("margin")
    strength = int(margin) if isinstance(margin, int | float) and margin in (1, 2, 3) else None
    made = preference(prompt, chosen, rejected, strength=strength or 1)
    tags = {} if margin is None or strength else {"margin": str(margin)}
    return _said(row, "comparison", made.prompt, made.answers, {**made.body, "tags": tags})


def _ranking(row: Mapping[str, Any]) -> Said:
    if "responses" in row:
        answers, ranks = row["responses"], row.get("ranks", row.get("rank"))
        if not isinstance(answers, list) or not isinstance(ranks, list):
            raise Bad("a ranking has lists `responses` and `ranks`")
        if len(answers) != len(ranks):
            raise Bad(f"{len(answers)} responses and {len(ranks)} ranks")
        return _said(row, "ranking", _prompt(row), [*map(answer_of, answers)], ranking_body(ranks))
    cards = row["completions"]
    if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
        raise Bad('`completions` is a list of {"rank", "completion"}')
    answers = [answer_of(card.get("completion")) for card in cards]
    body = ranking_body([card.get("rank") for card in cards])
    all_bad = row.get("all_bad", False)
    if row.get("form") == "comparison":
        compared = {"preference": row.get("preference"), "both_bad": all_bad}
        return _said(row, "comparison", _prompt(row), answers, compared, cards)
    body |= {"all_bad": all_bad, "ratings": _cards(cards), "shown_order": row.get("shown_order")}
    return _said(row, "ranking", _prompt(row), answers, body, cards)


def _cards(cards: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What was said of each answer by itself."""
    rated = {
        letter: {"likert": card.get("likert"), "flags": _named(card.get("flags"))}
        for letter, card in zip(ascii_lowercase, cards, strict=False)
    }
    return {letter: said for letter, said in rated.items() if said["likert"] or said["flags"]}


def _rating(row: Mapping[str, Any]) -> dict[str, Any]:
    metrics = {
        metric["name"]: bool(metric["value"]) if metric.get("is_boolean") else metric["value"]
        for metric in _listed(row.get("metrics"))
    }
    return {
        "likert": row.get("likert"),
        "thumb": row.get("thumb"),
        "flags": _named(row.get("flags")),
        "metrics": metrics,
    }


def _prompt(row: Mapping[str, Any]) -> Messages:
    return messages_of(row.get("context", row.get("prompt")))


def _said(
    row: Mapping[str, Any],
    form: Any,
    prompt: Messages,
    answers: list[str],
    body: Mapping[str, Any],
    cards: list[Mapping[str, Any]] | None = None,
) -> Said:
    """With what our own rows, and some of others, say besides."""
    more = {name: row[name] for name in ("duration_ms", "note") if name in row}
    origins = [row["parent"]] if "parent" in row else [row["origin"]] if "origin" in row else []
    versions = [row["version"]] if "version" in row else []
    if cards is not None and all(card.get("origin") for card in cards):
        origins = [card["origin"] for card in cards]
        versions = [card.get("version") for card in cards]
    strings = (*origins, *versions)
    if not all(isinstance(value, str) and value and " " not in value for value in strings):
        raise Bad("`origin` and `version` are words")
    created = row.get("created")
    if created is not None and (isinstance(created, bool) or not isinstance(created, int | float)):
        raise Bad("`created` is a number: unix seconds")
    return Said(
        form=form,
        prompt=prompt,
        answers=answers,
        body={**body, **more, "tags": {**_named(row.get("tags")), **body.get("tags", {})}},
        endpoint=cast(Any, _one_of(row, "endpoint", ("chat", "text"))),
        labeler=_string(row, "labeler"),
        person=_string(row, "person"),
        id=_string(row, "id") if isinstance(row.get("id"), str) else None,
        created=created,
        origins=origins,
        versions=versions,
    )


def _named(value: Any) -> dict[str, Any]:
    """{"name": value}, also from a list of pairs, as Parquet holds it."""
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if item is not None}
    return {pair["name"]: pair["value"] for pair in _listed(value)}


def _listed(value: Any) -> list[dict[str, Any]]:
    pairs = value or []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, dict) and isinstance(pair.get("name"), str) and "value" in pair
        for pair in pairs
    ):
        raise Bad('flags, metrics and tags are lists of {"name", "value"}')
    return pairs


def _string(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int):
        return str(value)
    raise Bad(f"`{name}` is a text")


def _one_of(row: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = row.get(name, allowed[0])
    if value not in allowed:
        raise Bad(f"`{name}` is one of {', '.join(allowed)}")
    return str(value)
