"""OpenAI's moderation categories, and which of them our classifier scores.

A category that is not scored is answered as 0.0 and false, with no applied input type: that means
*not looked at*, not *safe*. There was no, or too little, labelled data under a permissive licence.
"""

from __future__ import annotations

from typing import get_args

from feedback.corrections import Category

CATEGORIES: tuple[str, ...] = get_args(Category)

# What is fitted on labelled texts.
FITTED: tuple[str, ...] = (
    "harassment",
    "hate",
    "hate/threatening",
    "self-harm",
    "sexual",
    "violence",
)

# What is made of a fitted category and a word list (moderation/composed.py).
COMPOSED: tuple[str, ...] = ("sexual/minors", "violence/graphic")

SCORED: tuple[str, ...] = tuple(name for name in CATEGORIES if name in {*FITTED, *COMPOSED})

UNSCORED: tuple[str, ...] = tuple(name for name in CATEGORIES if name not in SCORED)
