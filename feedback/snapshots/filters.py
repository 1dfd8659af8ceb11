"""Which judgements stay, and why the others do not: each has one reason, the first that applies.

1. The last word of one labeler on one set counts; what was taken back does not, and what came before it
   does not come back. 2. The completions it is about are there, whole, of one version, harmless.
3. Sets without a winner teach no order; they are kept apart. 4. Sides. 5. Caps on one person's share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from feedback.snapshots import caps
from feedback.snapshots.answers import prompt_hash
from feedback.snapshots.judged import RANKINGS
from feedback.snapshots.rules import Rules
from feedback.snapshots.splits import SPLITS, person_of, place_of
from feedback.snapshots.staging import Staging

# In the order in which they are looked at: the funnel of the manifest.
REASONS = (
    *(
        "known_answer",
        "labeler_weighs_nothing",
        "changed_later",
        "replaced",
        "retracted",
        "same_text",
    ),
    *("completion_missing", "no_prompt", "flagged_by_moderation", "mixed_versions", "incomplete"),
    *("blocked", "different_prompts", "all_bad", "all_tied", "prompt_in_train"),
    *("over_labeler_cap", "over_user_cap", "personal_data"),
)
UNDECIDED = ("all_bad", "all_tied")  # kept in a file of their own

_PAGE = 2_000
_INDEXES = (
    "CREATE INDEX judgements_about ON judgements (part, about, judge, seq)",
    "CREATE INDEX completions_id ON completions (id)",
    "CREATE INDEX taken_back_id ON taken_back (id)",
)
_CHANGED_LATER = """
UPDATE judgements SET reason = 'changed_later' WHERE part = 'rankings' AND reason IS NULL AND EXISTS (
    SELECT 1 FROM judgements later WHERE later.part = 'rankings' AND later.about = judgements.about
    AND later.judge = judgements.judge AND later.seq > judgements.seq)
"""
_SAME_TEXT = """
UPDATE judgements SET reason = 'same_text' WHERE part = 'demonstrations' AND reason IS NULL AND EXISTS (
    SELECT 1 FROM judgements earlier WHERE earlier.part = 'demonstrations'
    AND earlier.about = judgements.about AND earlier.seq < judgements.seq AND earlier.reason IS NULL)
"""
_TAKEN_BACK = """
UPDATE judgements SET reason = taken_back.why FROM taken_back
WHERE taken_back.id = judgements.id AND taken_back.judge = judgements.judge
AND (reason IS NULL OR reason = 'changed_later')
"""
_COMPLETION = """
SELECT prompt, person, user_place, prompt_place, fault, choices FROM completions WHERE id = ?
"""
_FOUND = """
UPDATE judgements SET reason = ?, prompt = ?, person = ?, user_place = ?, prompt_place = ? WHERE seq = ?
"""
_IS_USED = "part = 'rankings' AND reason IS NULL"
_HELDOUT_PROMPTS = f"""
SELECT count(*) FROM judgements WHERE {_IS_USED} AND NOT is_heldout AND user_place < :heldout
AND prompt NOT IN (
    SELECT prompt FROM judgements WHERE {_IS_USED} AND NOT is_heldout
    AND user_place >= :heldout AND user_place < :validation)
"""
_TRAIN = f"""
SELECT count(*) FROM judgements WHERE {_IS_USED} AND NOT is_heldout
AND user_place >= :heldout AND user_place < :validation
"""
_SPLIT = """
UPDATE judgements SET split = CASE WHEN is_heldout OR {place} < :heldout THEN 'heldout'
WHEN {place} >= :validation THEN 'validation' ELSE 'train' END
"""
_IN_TRAIN = f"""
UPDATE judgements SET reason = 'prompt_in_train' WHERE {_IS_USED} AND split != 'train' AND NOT is_heldout
AND prompt IN (SELECT prompt FROM judgements WHERE {_IS_USED} AND split = 'train')
"""
_COUNTS = f"""
SELECT each, count(*) FROM (
    SELECT count(*) AS each FROM judgements WHERE {_IS_USED} AND split = ? GROUP BY {{who}}) GROUP BY each
"""
_CUT = f"""
UPDATE judgements SET reason = ? WHERE seq IN (SELECT seq FROM (
    SELECT seq, row_number() OVER (PARTITION BY {{who}} ORDER BY draw) AS place
    FROM judgements WHERE {_IS_USED} AND split = ?) WHERE place > ?)
"""


def apply(staging: Staging, rules: Rules) -> str:
    """Give every judgement that is left out its reason, and a side to all. Returns what the sides go by:
    "end_user", or "prompt" where too few end users were judged for both sides."""
    staging.flush()
    for query in (*_INDEXES, _CHANGED_LATER, _TAKEN_BACK, _SAME_TEXT):
        staging.change(query)
    _look_up(staging)
    split_by = _split(staging, rules)
    staging.change(_IN_TRAIN)
    for split in SPLITS:
        _cap(staging, rules, split)
    return split_by


def _look_up(staging: Staging) -> None:
    """Find what each judgement is about."""
    last = 0
    query = "SELECT seq, part, data FROM judgements WHERE reason IS NULL AND seq > ? ORDER BY seq LIMIT ?"
    while page := list(staging.rows(query, last, _PAGE)):
        found = [(*_found(staging, part, orjson.loads(data)), seq) for seq, part, data in page]
        staging.db.executemany(_FOUND, found)
        last = page[-1][0]


def _found(staging: Staging, part: str, judgement: dict[str, Any]) -> tuple[Any, ...]:
    """Reason (None: it stays), prompt, person, their places."""
    if part == RANKINGS:
        return _ranked(staging, judgement)
    if judgement["parent"] is None:
        person = person_of(judgement["tenant"], None, judgement["labeler"])
        prompt = orjson.dumps(judgement["messages"])
        return (
            None,
            prompt_hash(list(prompt)),
            hash(person),
            place_of(person),
            place_of(prompt.decode()),
        )
    row = staging.db.execute(_COMPLETION, (hash(judgement["parent"]),)).fetchone()
    if row is None:
        return "completion_missing", None, None, None, None
    fault = row[4] if row[4] in ("no_prompt", "flagged_by_moderation") else None
    return fault, *row[:4]  # its answer is not trained on: it may be mixed or broken off


def _ranked(staging: Staging, judgement: dict[str, Any]) -> tuple[Any, ...]:
    nothing = (None, None, None, None)
    first: Sequence[Any] | None = None
    known: dict[str, Any] = {}
    for completion_id, index in judgement["refs"]:
        if completion_id not in known:
            known[completion_id] = staging.db.execute(
                _COMPLETION, (hash(completion_id),)
            ).fetchone()
        row = known[completion_id]
        choices = orjson.loads(row[5]) if row is not None else {}
        if str(index) not in choices:
            return "completion_missing", *nothing
        if fault := row[4] or choices[str(index)]:
            return fault, *nothing
        if first is not None and first[0] != row[0]:
            return "different_prompts", *nothing
        first = first or row
    if first is None:
        return "completion_missing", *nothing
    if judgement["all_bad"]:
        return "all_bad", *first[:4]
    return "all_tied" if len(set(judgement["ranks"])) == 1 else None, *first[:4]


def _split(staging: Staging, rules: Rules) -> str:
    borders = {"heldout": rules.heldout_share, "validation": 1 - rules.validation_share}
    num_heldout, num_train = (
        staging.db.execute(query, borders).fetchone()[0] for query in (_HELDOUT_PROMPTS, _TRAIN)
    )
    is_one_sided = rules.heldout_share > 0 and not (num_heldout and num_train)
    place = "prompt_place" if is_one_sided else "user_place"
    staging.db.execute(_SPLIT.format(place=place), borders)
    return "prompt" if is_one_sided else "end_user"


def _cap(staging: Staging, rules: Rules, split: str) -> None:
    """Until both hold: what one cap takes away makes the shares of the others larger."""
    limits = (
        ("judge", rules.max_labeler_share, "over_labeler_cap"),
        ("person", rules.max_user_share, "over_user_cap"),
    )
    has_cut = True
    while has_cut:
        has_cut = False
        for who, share, reason in limits:
            counts = dict(staging.rows(_COUNTS.format(who=who), split))
            limit = caps.limit(counts, share=share, at_least=rules.cap_from)
            if limit is not None:
                has_cut = staging.change(_CUT.format(who=who), reason, split, limit) > 0 or has_cut
