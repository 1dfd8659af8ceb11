"""What the simulated end users of `hone demo` ask: everyday questions, made from two word lists."""

from __future__ import annotations

import random

_ASKS = (
    "Can you tell me about {}?",
    "Give me one tip for {}.",
    "My friend is worried about {}. What should I tell them?",
    "How do I get started with {}?",
    "Write a short message to invite someone to try {}.",
    "What do you think of {}?",
    "Why do people enjoy {}?",
    "I failed at {} today. Any advice?",
    "Is it too late in life to begin with {}?",
    "What surprised you most about {}?",
    "My grandmother asks about {}. What can I say?",
    "Tell me something nice about {}.",
    "I feel nervous about {}. Help me.",
    "Describe a good day that has to do with {}.",
    "What should a beginner know about {}?",
    "Say something kind to somebody who practises {}.",
)

_TOPICS = (
    "baking bread", "learning the piano", "hiking alone", "a first job interview", "gardening",
    "public speaking", "running a marathon", "moving to a new city", "learning Spanish", "painting",
    "saving money", "meditation", "cooking for guests", "chess", "writing a diary", "swimming",
    "a school exam", "photography", "volunteering", "camping in the rain", "knitting", "cycling to work",
    "waking up early", "making friends", "teaching children", "fixing a bike", "birdwatching",
    "reading long books", "playing the guitar", "planning a holiday", "keeping houseplants", "yoga",
    "a long train journey", "dancing", "telling stories", "growing tomatoes", "a family reunion",
    "the first day at school", "learning to drive", "keeping bees",
)  # fmt: skip


def prompts(*, num: int, seed: int) -> list[str]:
    """`num` different questions in an order fixed by `seed`. Raises ValueError when there are
    fewer."""
    every = [ask.format(topic) for ask in _ASKS for topic in _TOPICS]
    if num > len(every):
        raise ValueError(f"{num} prompts asked for, there are {len(every)}")
    return random.Random(seed).sample(every, num)
