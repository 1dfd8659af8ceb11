"""Label Studio's JSON export: tasks with annotations of a Ranker, or of a Pairwise, tag.

Ranker alone gives an order: {"ranker": {"rank": ["id of the best", …]}}, or just the list. With buckets it gives
groups, which have no order of their own: `buckets` names them, best first, and a bucket is a tier.
Pairwise gives "left" or "right", the first and the second of its `toName`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from feedback.formats.messages import Messages, messages_of
from feedback.formats.plain import ranking_body
from feedback.formats.said import Bad, Passed, Said

_PROMPTS = (
    "prompt",
    "instruction",
    "question",
    "query",
    "conversation",
    "messages",
    "text",
    "input",
)
_TEXTS = ("body", "text", "html", "content", "value", "title")
_PAIRS = (
    *(("answer1", "answer2"), ("response1", "response2"), ("text1", "text2")),
    *(("answer_a", "answer_b"), ("response_a", "response_b"), ("left", "right")),
)


def parse(task: Mapping[str, Any], *, buckets: Sequence[str] = ()) -> Iterator[Said | Passed]:
    """A judgement for each annotation. Raises Bad."""
    data, annotations = task.get("data"), task.get("annotations")
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise Bad("a task has `data` and `annotations`; export as JSON, not JSON_MIN")
    if not annotations:
        yield Passed(reason="not_annotated")
    for annotation in annotations:
        if annotation.get("was_cancelled"):
            yield Passed(reason="skipped_in_label_studio")
            continue
        yield _said(data, annotation, buckets)


def is_one(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like it."""
    return isinstance(record.get("data"), dict) and "annotations" in record


def _said(data: Mapping[str, Any], annotation: Mapping[str, Any], buckets: Sequence[str]) -> Said:
    results = [result for result in annotation.get("result", ()) if isinstance(result, dict)]
    ranker = next((r for r in results if r.get("type") == "ranker"), None)
    pairwise = next((r for r in results if r.get("type") == "pairwise"), None)
    form: Any
    if ranker is not None:
        form = "ranking"
        answers, body = _ranked(data, _ranker_value(ranker), buckets)
    elif pairwise is not None:
        form = "comparison"
        answers, body = _compared(data, pairwise)
    else:
        types = sorted({str(result.get("type")) for result in results})
        raise Bad(
            f"an annotation has no ranker and no pairwise, but {', '.join(types) or 'nothing'}"
        )
    seconds = annotation.get("lead_time")
    is_timed = isinstance(seconds, int | float) and 0 <= seconds <= 86_400
    duration = {"duration_ms": round(seconds * 1000)} if is_timed and seconds is not None else {}
    return Said(
        form=form,
        prompt=_prompt(data),
        answers=answers,
        body={**body, **duration},
        labeler=_annotator(annotation.get("completed_by")),
        created=_time(annotation.get("created_at")),
    )


def _ranker_value(result: Mapping[str, Any]) -> dict[str, list[str]]:
    """Ids by list; one list is an order."""
    value = result.get("value")
    found = value.get("ranker") if isinstance(value, dict) else None
    if isinstance(found, list):
        found = {"rank": found}
    if not isinstance(found, dict) or not all(isinstance(ids, list) for ids in found.values()):
        raise Bad("a ranker's value is a list of ids, or lists by name")
    return {name: [str(item) for item in ids] for name, ids in found.items()}


def _ranked(
    data: Mapping[str, Any], lists: dict[str, list[str]], buckets: Sequence[str]
) -> tuple[list[str], dict[str, Any]]:
    filled = {name: ids for name, ids in lists.items() if ids}
    if len(lists) == 1:
        (order,) = lists.values()
        tier_of = {item: tier for tier, item in enumerate(order)}
    elif unknown := sorted(filled.keys() - set(buckets)):
        raise Bad(
            f"buckets have no order: name them, best first, with --buckets; not named: {unknown}"
        )
    else:
        tier_of = {item: buckets.index(name) for name, ids in filled.items() for item in ids}
    texts = _items(data, tier_of.keys())
    return list(texts.values()), ranking_body([tier_of[item] for item in texts])


def _items(data: Mapping[str, Any], wanted: Any) -> dict[str, str]:
    """Texts by id, in the order in which they were shown."""
    for items in data.values():
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            continue
        known = {str(item.get("id")): item for item in items}
        if known and set(wanted) <= known.keys():
            return {key: _text(item) for key, item in known.items() if key in set(wanted)}
    raise Bad("the ranked items are not in the task's data")


def _text(item: Mapping[str, Any]) -> str:
    found = next((item[name] for name in _TEXTS if isinstance(item.get(name), str)), None)
    if found is None:
        raise Bad(f"an item has no text: none of {', '.join(_TEXTS)}")
    return str(found)


def _compared(
    data: Mapping[str, Any], result: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    named = tuple(str(result.get("to_name", "")).split(","))
    pair = next(
        (pair for pair in (named, *_PAIRS) if len(pair) == 2 and set(pair) <= data.keys()), None
    )
    if pair is None:
        raise Bad(f"the two answers are not in the task's data under {', '.join(named)}")
    value = result.get("value")
    selected = value.get("selected") if isinstance(value, dict) else None
    sides = {"left": 1, "right": -1, pair[0]: 1, pair[1]: -1}
    if selected not in sides:
        raise Bad(f"a pairwise selects left or right, not {selected!r}")
    return [str(data[name]) for name in pair], {"preference": sides[selected]}


def _prompt(data: Mapping[str, Any]) -> Messages:
    found = next((data[name] for name in _PROMPTS if data.get(name)), None)
    if found is None:
        raise Bad(f"the task's data has no prompt: none of {', '.join(_PROMPTS)}")
    return messages_of(found)


def _annotator(completed_by: Any) -> str | None:
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("id")
    return f"label-studio:{completed_by}" if completed_by is not None else None


def _time(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if value else None
    except (TypeError, ValueError):
        raise Bad(f"`created_at` is no time: {value!r}") from None
