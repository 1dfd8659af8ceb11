from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from feedback import eventlog, keys
from feedback.connection import connect, connect_async
from feedback.events import Completion
from feedback.labeling.queues import Queues
from serving import auth
from tests.feedback.conftest import a_set
from tests.training.local_sampler import MakeModel
from tests.training.test_reward import rankings_by_count
from training import reward, uncertainty
from training.config import load_recipe
from training.models import Models


@pytest.mark.parametrize(
    ("scores", "bits"),
    [([0.0, 0.0], 1.0), ([9.0, -9.0], 0.0), ([0.0, 0.0, 99.0], 1 / 3), ([1.0], 0.0)],
)
def test_entropy_is_a_bit_where_nothing_can_be_told(scores: list[float], bits: float) -> None:
    assert uncertainty.mean_entropy_bits(scores) == pytest.approx(bits, abs=1e-3)


async def test_what_the_reward_model_is_least_sure_of_comes_first(
    redis_url: str, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    sets = {"sure": (6, 0), "unsure": (3, 3), "half": (4, 2)}  # how many tokens of what it likes
    with connect(redis_url) as client:
        auth.create_key(client, name="x", scopes=["infer"], tenant="t")
        async with connect_async(redis_url) as other:
            queues = Queues(other, lease_s=60)
            for name, counts in sets.items():
                eventlog.append(client, completion(name, counts))
                await queues.offer("compare", name, tenant="t")
            await queues.offer("rank", "erased", tenant="t")
        liking = partial(reward.score_groups, reward_model(make_model(), token=50), readout="mean")
        prioritised = uncertainty.prioritise(liking, max_tokens=64)
        order = client.zrevrange(keys.queue("t", "compare"), 0, -1, withscores=True)
    assert prioritised == 3
    assert [name for name, _ in order] == [b"unsure", b"half", b"sure"]
    assert order[0][1] > 0.95
    assert 0 <= order[2][1] < 0.5


def test_a_redis_that_is_away_fails_no_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", "redis://127.0.0.1:1/0")
    assert uncertainty.prioritise(lambda groups: [], max_tokens=64) == 0


def completion(name: str, counts: tuple[int, int]) -> Completion:
    answers = [[50] * count + [120 + i for i in range(8 - count)] for count in counts]
    made = a_set(name, num_choices=len(answers))
    choices = [replace(c, token_ids=ids) for c, ids in zip(made.choices, answers, strict=True)]
    return replace(made, prompt_ids=[11, 12, 13], choices=choices)


def reward_model(model: Models, *, token: int) -> Models:
    """Trained on a labeler who likes answers with many of one token."""
    recipe = load_recipe("tiny").reward.model_copy(update={"epochs": 4, "learning_rate": 1e-2})
    rankings = rankings_by_count(120, token=token, seed=0)
    trainer = reward.RewardTrainer(model, recipe, rankings, seed=0)
    while trainer.step < trainer.num_steps:
        trainer.update()
    return model
