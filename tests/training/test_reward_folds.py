from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from feedback.errors import Unprocessable
from tests.training.local_sampler import MakeModel
from tests.training.test_reward import RECIPE, rankings_by_count
from training.data import Ranking
from training.models import REWARD
from training.reward_folds import cross_validate, split


def by(labelers: str, rankings: list[Ranking]) -> list[Ranking]:
    """The labelers in turn."""
    return [replace(r, labeler=labelers[i % len(labelers)]) for i, r in enumerate(rankings)]


@pytest.mark.parametrize("labelers", ["abcde", "abcdefghijkl", "abc"])
def test_nobody_is_asked_about_a_prompt_that_was_learned(labelers: str) -> None:
    rankings = by(labelers, rankings_by_count(60, token=50, seed=0))
    rankings += by(labelers[::-1], rankings)  # every prompt is judged twice
    folds = split(rankings, num_folds=5, seed=0)
    assert len(folds) == min(5, len(labelers))
    for fold in folds:
        learned = {r.group.prompt_ids for r in fold.train}
        people = {r.labeler for r in fold.train}
        assert people
        for asked in (fold.in_group, fold.held_out_group):
            assert asked
            assert not {r.group.prompt_ids for r in asked} & learned
        assert {r.labeler for r in fold.in_group} <= people
        assert not {r.labeler for r in fold.held_out_group} & people
    left_out = Counter(name for f in folds for name in {r.labeler for r in f.held_out_group})
    assert left_out == dict.fromkeys(labelers, 1)


def test_where_nobody_knows_who_judged_only_prompts_are_left_out() -> None:
    rankings = rankings_by_count(20, token=50, seed=0)
    folds = split(rankings, num_folds=4, seed=0)
    assert [len(fold.in_group) for fold in folds] == [5] * 4
    assert not any(fold.held_out_group for fold in folds)


def test_one_prompt_is_too_few() -> None:
    (ranking,) = rankings_by_count(1, token=50, seed=0)
    with pytest.raises(Unprocessable, match="several prompts"):
        split([ranking, ranking], num_folds=5, seed=0)


def test_a_labeler_who_likes_the_opposite_is_judged_badly_when_left_out(
    make_model: MakeModel,
) -> None:
    rankings = by("abcd", rankings_by_count(120, token=50, seed=0))
    rankings = [
        replace(r, ranks=tuple(5 - rank for rank in r.ranks)) if r.labeler == "d" else r
        for r in rankings
    ]
    model = make_model()
    before = model.state(REWARD)
    recipe = RECIPE.model_copy(update={"epochs": 3, "learning_rate": 1e-2})
    said: list[str] = []
    found = cross_validate(model, recipe, rankings, num_folds=5, say=said.append)
    assert found.held_out_group is not None
    assert found.in_group.value > 0.6
    assert found.held_out_group.num_units == 120
    values = [held_out.value for _, held_out in found.folds]
    assert min(values) < 0.2  # d's fold
    assert sorted(values)[1] > 0.6
    assert len(said) == 4
    assert all((model.state(REWARD)[name] == tensor).all() for name, tensor in before.items())
