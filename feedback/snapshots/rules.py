"""What a snapshot leaves out, caps and masks. The manifest holds them, so that a dataset explains itself."""

from __future__ import annotations

from dataclasses import dataclass

from feedback.settings import FeedbackSettings


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Shares are fractions of 1."""

    heldout_share: float  # of end users, never trained on (the paper's test split)
    validation_share: float = 0.0  # of end users, apart from both
    max_prompts: int = 50_000  # for PPO, sampled evenly; the paper had 31,144
    max_prompts_per_user: int = 200  # InstructGPT, section 3.2
    max_labeler_share: float = 0.25  # of the rankings of a split, by one labeler
    max_user_share: float = 0.1  # the same, about answers to one end user
    cap_from: int = 200  # rankings of one person that no cap takes away
    max_moderation_score: float = 0.5  # a prompt or answer that reaches it is left out
    prefix_chars: int = 512  # prompts that agree in so many first characters are one
    similarity: float = 0.8  # Jaccard, character shingles: from here on nearly the same
    masks_pii: bool = True
    name_model: str | None = None  # a spaCy model that finds names of persons


def from_settings(
    settings: FeedbackSettings, *, heldout_share: float, validation_share: float = 0.0
) -> Rules:
    """The rules of this installation; the shares come from whoever trains on the snapshot."""
    return Rules(
        heldout_share=heldout_share,
        validation_share=validation_share,
        max_prompts=settings.snapshot_max_prompts,
        max_prompts_per_user=settings.snapshot_max_prompts_per_user,
        max_labeler_share=settings.snapshot_max_labeler_share,
        max_user_share=settings.snapshot_max_user_share,
        cap_from=settings.snapshot_cap_from,
        max_moderation_score=settings.snapshot_max_moderation_score,
        prefix_chars=settings.snapshot_prefix_chars,
        similarity=settings.snapshot_similarity,
        masks_pii=settings.snapshot_masks_pii,
        name_model=settings.snapshot_name_model,
    )
