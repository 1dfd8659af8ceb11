from __future__ import annotations

import math

import pytest
import torch

from training.batches import rows
from training.models import REFERENCE
from training.prove import language, world
from training.prove.runs import Problem
from training.prove.tables import TableSampler


def test_the_tree_gives_what_every_answer_in_a_row_of_its_own_gives(problem: Problem) -> None:
    model = world.adapted(problem.base, seed=0)
    table_XYT = world.token_logprobs(model, name=REFERENCE)
    x, some_Y = 3, torch.arange(0, 10_000, 371)
    answers = world.ANSWERS[some_Y]
    layout = rows([(*world.PROMPTS[x], *answer) for answer in answers.tolist()])
    hidden_BTD = model.top(model.trunk(layout), layout, name=REFERENCE)[:, :-1]
    plain_BT = (hidden_BTD @ model.unembedding_VD.T).log_softmax(2)
    plain_BT = plain_BT.gather(2, answers[..., None])[..., 0]
    torch.testing.assert_close(table_XYT[x, some_Y], plain_BT, atol=1e-4, rtol=1e-4)


def test_the_answers_to_a_prompt_have_probability_one(problem: Problem) -> None:
    model = world.adapted(problem.base, seed=0)
    logprobs_XY = world.answer_logprobs(model, name=REFERENCE)
    assert logprobs_XY.shape == (8, 10_000)
    torch.testing.assert_close(logprobs_XY.exp().sum(1), torch.ones(8), atol=1e-4, rtol=0)


def test_j_of_the_best_policy_is_what_the_formula_says_and_no_other_has_more() -> None:
    beta, gold_XY = 0.3, world.gold_table(seed=1)
    ref_XY = language.chain_logprobs(seed=1)[:8]
    best_XY = world.best_policy(ref_XY=ref_XY, gold_XY=gold_XY, beta=beta)
    found = world.objective(best_XY, ref_XY=ref_XY, gold_XY=gold_XY, beta=beta)
    assert found == pytest.approx(
        beta * (ref_XY + gold_XY / beta).logsumexp(1).mean().item(), abs=1e-4
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        noise_XY = torch.randn(gold_XY.shape, generator=generator) / 10
        other_XY = (best_XY + noise_XY).log_softmax(1)
        assert world.objective(other_XY, ref_XY=ref_XY, gold_XY=gold_XY, beta=beta) < found


def test_gold_has_mean_zero_and_the_same_spread_over_the_answers_to_each_prompt() -> None:
    gold_XY = world.gold_table(seed=2)
    torch.testing.assert_close(gold_XY.mean(1), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(gold_XY.std(1), torch.full((8,), world.GOLD_STD), atol=1e-4, rtol=0)


def test_the_base_has_learnt_its_language(problem: Problem) -> None:
    model = world.adapted(problem.base, seed=0)
    truth_XY = language.chain_logprobs(seed=0)
    for openings, part_XY in ((world.PROMPTS, truth_XY[:8]), (world.SUBJECTS, truth_XY[8:])):
        found_XY = world.answer_logprobs(model, name=REFERENCE, openings=openings)
        assert world.kl_nats(part_XY, ref_XY=found_XY) / world.LENGTH < 0.02
        uniform_XY = torch.full_like(part_XY, -4 * math.log(10))
        assert world.kl_nats(part_XY, ref_XY=uniform_XY) / world.LENGTH > 0.3


def test_documents_are_of_the_language_and_open_with_no_prompt() -> None:
    documents = language.documents(count=1000, seed=0)
    assert len(documents) == 1000
    assert {document[:1] for document in documents} == set(world.SUBJECTS)
    assert {len(document) for document in documents} == {1 + world.LENGTH}
    assert max(max(document[1:]) for document in documents) < world.NUM_TOKENS


def test_samples_come_with_the_policy_s_own_logprobs(problem: Problem) -> None:
    model = world.adapted(problem.base, seed=0)
    sampler = TableSampler(model, seed=0)
    sampler.refresh(0)
    (rollout,) = sampler.sample([world.PROMPTS[2]], answers_per_prompt=64, max_tokens=4)
    weights = torch.tensor([1000, 100, 10, 1])
    indices = (torch.tensor(rollout.group.answers) * weights).sum(1)
    assert torch.equal(torch.tensor(rollout.logprobs), sampler.table_XYT[2, indices])
    assert len(set(rollout.group.answers)) > 16
