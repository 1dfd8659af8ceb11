"""A log that nobody keeps: events drawn from a seed as a reader of the real one gets them, one by one.

Ten million events do not fit into the Redis of a small machine. Each event is made as JSON and decoded, as
one from Redis or the archive is; what that costs is the floor that the snapshot is compared with.

Of eleven events ten are completions, one of them a set of four answers, and one is a judgement about that
set. Some prompts repeat or nearly repeat one another, some answers are broken off, flagged or hold personal
data, some judgements are changed or taken back.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import orjson

from feedback.events import Completion, Event, Feedback, decode

_BLOCK = 11
_NUM_SHAPES = 9_973  # prime, so that no two properties go together
_COMPLETIONS_PER_USER = 50
_LABELERS = 200
_NUM_WORDS = 3_000


class InventedLog:
    """What `feedback.snapshots.builder` reads, instead of feedback.history.History."""

    def __init__(self, num_events: int, *, seed: int = 0) -> None:
        self._num_blocks = max(1, num_events // _BLOCK)
        rng = random.Random(seed)
        self._words = _words(rng)
        self._shapes = [_shape(rng, self._words) for _ in range(_NUM_SHAPES)]

    @property
    def num_events(self) -> int:
        return self._num_blocks * _BLOCK

    def read(self, kind: str, *, after: str = "-", until: str = "+") -> Iterator[tuple[str, Event]]:
        last = self._num_blocks if until == "+" else int(until.split("-")[0])
        for block in range(1, last + 1):
            if kind == Feedback.kind:
                yield f"{block}-0", decode(kind, self._judgement(block))
            elif kind == Completion.kind:
                for position in range(_BLOCK - 1):
                    yield f"{block}-{position}", decode(kind, self._completion(block, position))

    def last_entry(self, kind: str) -> str | None:
        return f"{self._num_blocks}-{0 if kind == Feedback.kind else _BLOCK - 2}"

    def _completion(self, block: int, position: int) -> bytes:
        number = block * 10 + position
        # One in eight asks what was asked before.
        asked = number - 7_919 if number % 8 == 0 and number > 7_919 else number
        words, word_ids = self._shapes[asked % _NUM_SHAPES]
        own = [
            asked * step % _NUM_WORDS for step in (1, 7, 11, 13, 17, 19)
        ]  # words of this prompt alone
        text = f"{words} {' '.join(self._words[number] for number in own)} {asked // _NUM_WORDS}"
        if asked % 31 == 0:
            text += f" call +49 30 9{asked % 1_000_000:06d}"
        ids = f"{word_ids},{','.join(map(str, own))},{asked // _NUM_WORDS}"
        num_answers = 4 if position == 0 else 1
        choices = ",".join(self._choice(number + i, i) for i in range(num_answers))
        flag = "0.9" if number % 53 == 0 else "0.01"
        last = "policy-0002" if number % 101 == 0 else "policy-0001"
        return (
            f'{{"schema":3,"id":"chatcmpl-{number:026d}","created":{number}.0,"key_id":"key_{number % 7}",'
            f'"tenant":"default","endpoint":"chat","request":{{"model":"policy","temperature":1.0,'
            f'"messages":[{{"role":"user","content":"{text}"}}]}},"prompt_ids":[{ids}],"choices":[{choices}],'
            f'"version":"policy-0001","version_last":"{last}","digest":"0f","latency_ms":812.5,'
            f'"end_user":"user-{number % (self._num_blocks * 10 // _COMPLETIONS_PER_USER + 20)}","metadata":{{}},'
            f'"moderation":{{"prompt":{{"hate":0.02,"sexual":0.01}},"choices":[{{"hate":{flag}}}]}},'
            f'"prompt_of":null,"complete":{"false" if number % 67 == 0 else "true"}}}'
        ).encode()

    def _choice(self, number: int, index: int) -> str:
        words, word_ids = self._shapes[number * 31 % _NUM_SHAPES]
        logprobs = ",".join(["-0.7312"] * (word_ids.count(",") + 1))
        return (
            f'{{"index":{index},"text":"{words} {number % 1_000}.","token_ids":[{word_ids}],'
            f'"logprobs":[{logprobs}],"finish_reason":"stop","blocked":false,"message":null}}'
        )

    def _judgement(self, block: int) -> bytes:
        completion_id = f"chatcmpl-{block * 10:026d}"
        event = {
            "schema": 2,
            "id": f"fbk_{block:026d}",
            "created": float(block),
            "form": "ranking",
            "labeler": f"lab_{block * 7 % _LABELERS}",
            "tenant": "default",
            "completion_ids": [completion_id],
            "source": "key",
            "assignment_id": None,
            "replaces": None,
        }
        if block % 47 == 0:
            event |= {
                "form": "retraction",
                "body": {"of": f"fbk_{block - 40:026d}"},
                "completion_ids": [],
            }
            event["labeler"] = f"lab_{(block - 40) * 7 % _LABELERS}"
        elif block % 19 == 0:
            body = {
                "messages": [],
                "parent": completion_id,
                "completion": self._shapes[block % 97][0],
            }
            event |= {"form": "demonstration", "body": body}
        else:
            refs = [{"completion_id": completion_id, "index": index} for index in range(4)]
            tiers = [["a", "b", "c", "d"]] if block % 23 == 0 else [["b"], ["a", "d"], ["c"]]
            event["body"] = {"candidates": refs, "tiers": tiers, "all_bad": block % 59 == 0}
        return orjson.dumps(event)


def _words(rng: random.Random) -> list[str]:
    letters = "etaoinshrdlu"
    return ["".join(rng.choices(letters, k=rng.randrange(3, 9))) for _ in range(_NUM_WORDS)]


def _shape(rng: random.Random, words: list[str]) -> tuple[str, str]:
    """A text of 5 to 50 words, and token ids to go with it."""
    chosen = rng.choices(words, k=rng.randrange(5, 50))
    return " ".join(chosen), ",".join(str(rng.randrange(100, 49_000)) for _ in chosen)
