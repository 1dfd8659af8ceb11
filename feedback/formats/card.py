"""README.md of an export: what `datasets` and the hub read, and what a person wants to know."""

from __future__ import annotations

import time
from typing import Any

from feedback.formats.rows import CONFIGS

_ABOUT = {
    "preference": "A row for each pair of answers: `prompt`, `chosen`, `rejected`, `margin`, in TRL's "
    "conversational format. The K(K-1)/2 pairs of one ranking share its `ranking_id` and its split. Ties "
    "make no pair.",
    "rankings": "Whole rankings of K answers, in NeMo-RL's shape: `context`, and `completions` with their "
    "`rank` (0 is best; equal ranks are ties). `all_bad` says that even the best is not good.",
    "demonstrations": "Answers that people wrote: `messages`, the answer last.",
    "ratings": "One answer by itself: `messages`, the answer last; `likert` 1 to 7, `thumb`, `flags`, "
    "`metrics`. Rows with a `ranking_id` were rated while ranking.",
}
_WHY_LEFT_OUT = {
    "all_tied": "all answers tied",
    "answer_not_whole": "the answer was broken off, or withheld by moderation",
    "changed_later": "the same person judged the same again; the last word counts",
    "comment": "words about an answer, no judgement",
    "completion_missing": "the answer was erased",
    "correction": "what moderation should have said of a text",
    "different_prompts": "the answers are to different prompts",
    "known_answer": "asked only to measure the people who judge",
    "labeler_weighs_nothing": "the labeler has not passed the screening, or is not trusted",
    "mixed_versions": "the model changed in mid-answer",
    "retracted": "taken back",
    "skip": "a labeler could not judge it",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))


def text(manifest: dict[str, Any]) -> str:
    """YAML for machines, then the same for people."""
    return f"{_front_matter(manifest)}\n{_body(manifest)}"


def _front_matter(manifest: dict[str, Any]) -> str:
    num_rows = sum(sum(splits.values()) for splits in manifest["rows"].values())
    size = next((name for limit, name in _SIZES if num_rows < limit), "n>1M")
    lines = [
        "---",
        "pretty_name: Human feedback from hone",
        f"license: {manifest['license']}",
        f"size_categories: ['{size}']",
        "tags: [rlhf, human-feedback, preference, reward-model, trl]",
        "configs:",
    ]
    for config in CONFIGS:
        splits = [split for split, count in manifest["rows"][config].items() if count]
        if splits:
            lines += [f"- config_name: {config}", "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {config}/{split}.parquet"]
    return "\n".join([*lines, "---"])


def _body(manifest: dict[str, Any]) -> str:
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(manifest["created"]))
    rows = [
        f"| `{config}` | {splits['train']} | {splits['test']} | {_ABOUT[config]} |"
        for config, splits in manifest["rows"].items()
    ]
    left_out = [
        f"| {count} | {_WHY_LEFT_OUT.get(reason, reason)} |"
        for reason, count in manifest["left_out"].items()
    ]
    share = f"{manifest['heldout_share']:.0%}"
    masked = (
        "Personal data was looked for and masked; no search finds all of it."
        if manifest["texts_masked"] is not None
        else "Personal data was **not** masked: read before you share."
    )
    log = manifest["log"]
    given = "No licence was given. The" if manifest["license"] == "unknown" else "The"
    return f"""
# Human feedback from hone

What people said about a model's answers, exported {made} from the log of one hone system.

```python
from datasets import load_dataset

load_dataset("PATH OF THIS FOLDER", "rankings")
```

| config | train | test | |
|---|---:|---:|---|
{chr(10).join(rows)}

A part without rows has no file.

**Splits.** About {share} of the people who asked are in `test`, with all that was said about answers to them;
labelers who are kept apart are there as well. A person is on the same side in every export with this share.
`person` is the same for all that one person asked, and does not name them.

**Provenance.** `origin` names the answer in the log it comes from, `version` the model version that gave it,
`labeler` who judged, as the app or hone names them. The log was read up to its entries
{log["feedback"]} (judgements) and {log["completions"]} (answers). `manifest.json` has the SHA-256 of every file.

**Left out.**{" Nothing." if not left_out else ""}

{chr(10).join(["| judgements | because |", "|---:|---|", *left_out]) if left_out else ""}

**Licence and personal data.** {given} prompts belong to the people who wrote them, who were told that they may
train the model; whether they may be passed on is for the operator to say. {masked}

`hone import` takes this folder back.
"""
