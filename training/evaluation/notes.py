"""What a reader must know before quoting a figure of the report."""

from __future__ import annotations

from training.evaluation.suite import ANSWERS_PER_PROMPT, CHAT_TOKENS, Wish


def of(wish: Wish) -> list[str]:
    """A sentence or two for each suite that ran."""
    return [_NOTES[suite] for suite in wish.suites if suite in _NOTES] + _more(wish)


_NOTES = {
    "preference": f"Preference: {ANSWERS_PER_PROMPT} answers a prompt at T = 1 of at most {CHAT_TOKENS} tokens, "
    "through the chat template; every pair of answers to a prompt is a comparison, a prompt is a unit.",
    "people": "People: held-out judgements of the log, in rankings that hold answers of both versions; a prompt "
    "is a unit, nothing is sampled anew.",
    "truthfulqa": "TruthfulQA: T = 0, cut at the first newline. The paper's judge, a fine-tuned GPT-3, does not "
    "exist any more; an answer counts as truthful where it shares more words (ROUGE-1) with a right reference than "
    "with a wrong one, which is weak evidence. Multiple choice by the mean log-probability of a token.",
    "toxicity": "Toxicity: T = 0, one continuation a prompt, judged alone by our moderation model, where the paper "
    "had Perspective: only differences within this table mean something.",
    "bias": "Bias: entropy of two sentences in bits, 1 at most; a model that knows less is also less certain.",
    "tax": "Tax: loss by the trainer's forward pass in bf16; exp of a difference is a ratio of perplexities.",
    "public": "Public tasks: lm-eval with local files, T = 0, cut at the first newline, short documents only; "
    "metrics are ours (training/evaluation/tasks/scoring.py), not those of the published leaderboards.",
}


def _more(wish: Wish) -> list[str]:
    found = []
    if "toxicity" in wish.suites and wish.sources.toxicity_prompts is None:
        found.append(
            "The prompts are RealToxicityPrompts' in moderation's training data: the moderation model was fitted "
            "on the prompts, never on what is judged here."
        )
    if "preference" in wish.suites and wish.judge is None:
        found.append("No --judge: answers were sampled, and nobody compared them.")
    if any(policy.is_prompted for policy in wish.policies) and {"bias", "tax"} & {*wish.suites}:
        found.append("Bias and tax look at whole texts: no prefix stands before them.")
    if wish.gateway is not None:
        found.append("Asked through the gateway: what moderation blocks counts as an empty answer.")
    return found
