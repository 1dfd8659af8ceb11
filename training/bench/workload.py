"""What the trainer's benches work on: prompts, answers and texts of random tokens, from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from training.batches import Group
from training.config import PPORecipe
from training.data import Ranking
from training.rollouts import Rollout

Tokens = tuple[int, ...]
_FIRST_TOKEN = 100  # below are a tokenizer's specials


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens of a prompt and of an answer: even between the two, or all the same."""

    prompt: tuple[int, int]
    answer: tuple[int, int]


def rollouts(recipe: PPORecipe, lengths: Lengths, *, vocab_size: int, seed: int) -> list[Rollout]:
    """One iteration's answers, as the engines would have sampled them."""
    rng = random.Random(seed)
    count = recipe.answers_per_prompt
    made = []
    for _ in range(recipe.episodes_per_iteration // count):
        prompt = _tokens(rng, rng.randint(*lengths.prompt), vocab_size)
        answers = [_tokens(rng, rng.randint(*lengths.answer), vocab_size) for _ in range(count)]
        made.append(
            Rollout(
                group=Group(prompt_ids=prompt, answers=tuple(answers)),
                logprobs=tuple((0.0,) * len(answer) for answer in answers),
                ended=tuple(rng.random() < 0.5 for _ in answers),
                texts=("",) * count,
                version="random",
            )
        )
    return made


def pretraining(recipe: PPORecipe, *, vocab_size: int, seed: int) -> list[Tokens]:
    """Twice the examples that a minibatch takes."""
    rng = random.Random(f"{seed}/pretraining")
    count = round(2 * recipe.episodes_per_minibatch * recipe.ptx_examples_per_episode)
    return [_tokens(rng, recipe.ptx_tokens, vocab_size) for _ in range(count)]


def rankings(
    *, count: int, k: int, prompt_tokens: int, answer_tokens: int, vocabulary: int, seed: int
) -> list[Ranking]:
    """Answers that end in more or less of one token, and a labeler who likes much of it."""
    rng = random.Random(seed)
    liked = _tokens(rng, 1, vocabulary)
    made = []
    for number in range(count):
        shares = rng.sample(range(answer_tokens), k)
        answers = tuple(
            _tokens(rng, answer_tokens - share, vocabulary) + liked * share for share in shares
        )
        prompt = _tokens(rng, prompt_tokens, vocabulary)
        made.append(
            Ranking(
                id=str(number),
                group=Group(prompt_ids=prompt, answers=answers),
                ranks=tuple(1 + sum(other > share for other in shares) for share in shares),
            )
        )
    return made


def _tokens(rng: random.Random, count: int, vocab_size: int) -> Tokens:
    return tuple(
        rng.randrange(min(_FIRST_TOKEN, vocab_size // 2), vocab_size) for _ in range(count)
    )
