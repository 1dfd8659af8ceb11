"""What the reward model is least sure of is labeled first.

After each round's reward model is trained, every set that waits for labelers gets as its priority the mean
entropy of the comparisons in it: 1 bit where the model cannot tell, 0 where it is certain. Labelers still
draw a share of their work at random (feedback.labeling.assignments), which this order does not touch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import cast

import orjson
import redis

from feedback import keys
from feedback.connection import connect
from feedback.events import Completion
from feedback.history import History
from feedback.labeling.given import refs_of
from feedback.labeling.queues import Ref
from feedback.settings import FeedbackSettings
from serving import auth
from training import parallel
from training.batches import Group

log = logging.getLogger(__name__)

_MAX_SETS = 2_000  # of one queue; what waits longer is scored by a later round
_TASKS = ("rank", "compare")

# The reward model: scores of every answer, by set.
Score = Callable[[Sequence[Group]], list[list[float]]]


def prioritise(score: Score, *, max_tokens: int) -> int:
    """Give what waits its priority. Returns how many sets got one; while Redis is away, none do."""
    queues = parallel.from_first(lambda: _read(max_tokens))  # all processes score, and the same
    priorities = {}
    for queue, sets in queues:
        scores = score(list(sets.values()))
        priorities[queue] = dict(zip(sets, map(mean_entropy_bits, scores), strict=True))
    if parallel.is_first():
        _write(priorities)
    return sum(map(len, priorities.values()))


def mean_entropy_bits(scores: Sequence[float]) -> float:
    """Of the comparisons among answers with these scores, 0 to 1; 0 where there is none."""
    entropies = [_entropy_bits(a - b) for a, b in combinations(scores, 2)]
    return sum(entropies) / len(entropies) if entropies else 0.0


def _read(max_tokens: int) -> list[tuple[str, dict[str, Group]]]:
    """The queues that are not empty: (key, sets by the id of their completion)."""
    try:
        with connect(FeedbackSettings().redis_url) as client:
            tenants = {key.tenant for key in auth.list_keys(client)}
            queues = [(keys.queue(tenant, task), task) for tenant in tenants for task in _TASKS]
            found = [
                (queue, dict(_waiting(client, queue, task, max_tokens=max_tokens)))
                for queue, task in queues
            ]
    except redis.RedisError as error:
        log.warning("the labeling queue keeps its order: %s", error)
        return []
    return [(queue, sets) for queue, sets in found if sets]


def _write(priorities: Mapping[str, Mapping[str, float]]) -> None:
    try:
        with connect(FeedbackSettings().redis_url) as client:
            for queue, of_queue in priorities.items():
                # xx: what was judged meanwhile stays away
                client.zadd(queue, dict(of_queue), xx=True)
    except redis.RedisError as error:
        log.warning("the labeling queue keeps its order: %s", error)


def _waiting(
    client: redis.Redis, queue: str, task: str, *, max_tokens: int
) -> Iterator[tuple[str, Group]]:
    history = History(client)
    for name in cast("list[bytes]", client.zrevrange(queue, 0, _MAX_SETS - 1)):
        completion_id = name.decode()
        group = _group(client, history, completion_id, task)
        if group is not None and _num_tokens(group) <= max_tokens:
            yield completion_id, group


def _group(client: redis.Redis, history: History, completion_id: str, task: str) -> Group | None:
    """None: it was erased or judged meanwhile, or has no token ids."""
    found = history.get(Completion.kind, completion_id)
    dumped = cast("bytes | None", client.hget(keys.queued(task, completion_id), "refs"))
    if not isinstance(found, Completion) or dumped is None:
        return None
    refs = [Ref(completion_id=ref[0], index=ref[1]) for ref in orjson.loads(dumped)]
    answers = [_answer(history, ref) for ref in refs or refs_of(found)]
    if not found.prompt_ids or len(answers) < 2 or not all(answers):
        return None
    return Group(
        prompt_ids=tuple(found.prompt_ids), answers=tuple(answer for answer in answers if answer)
    )


def _answer(history: History, ref: Ref) -> tuple[int, ...] | None:
    found = history.get(Completion.kind, ref.completion_id)
    if not isinstance(found, Completion):
        return None
    choice = next((one for one in found.choices if one.index == ref.index), None)
    return None if choice is None else tuple(choice.token_ids)


def _num_tokens(group: Group) -> int:
    return len(group.prompt_ids) + max(map(len, group.answers))


def _entropy_bits(margin: float) -> float:
    """Of a comparison that one side wins with probability σ(margin)."""
    win = 1 / (1 + math.exp(-max(-60.0, min(60.0, margin))))
    return -sum(p * math.log2(p) for p in (win, 1 - win) if p > 0)
