from __future__ import annotations

import pytest

from training.models import POLICY, REFERENCE
from training.prove import tax, world
from training.prove.runs import Problem
from training.prove.tax import Price


def price(*, beta: float = tax.BETA, gamma: float = 0.0, gain: float, tax: float) -> Price:
    return Price(beta=beta, gamma=gamma, gain=gain, tax=tax, kl=1.0, seconds=1.0)


@pytest.mark.parametrize(
    ("ptx", "strong", "passed"),
    [
        ((1.9, 0.019), (0.9, 0.019), [True, True, True]),
        ((1.9, 0.021), (0.9, 0.019), [False, True, True]),
        ((1.8, 0.019), (0.9, 0.019), [True, False, True]),
        ((1.9, 0.019), (1.1, 0.019), [True, True, False]),
        ((1.9, 0.019), (1.9, 0.021), [True, True, True]),
    ],
    ids=["all", "ptx forgets", "ptx learns too little", "a beta does as well", "no beta is cheap"],
)
def test_the_marks_ask_that_ptx_repairs_and_no_beta_does(
    ptx: tuple[float, float], strong: tuple[float, float], passed: list[bool]
) -> None:
    prices = [
        price(gain=2.0, tax=0.9),
        price(gamma=tax.GAMMA, gain=ptx[0], tax=ptx[1]),
        price(beta=10.0, gain=strong[0], tax=strong[1]),
    ]
    assert [mark.passed for mark in tax.judge(prices, reference_tax=0.01)] == passed


def test_an_untrained_policy_pays_what_the_reference_pays(problem: Problem) -> None:
    model = world.adapted(problem.base, seed=0)
    reference = tax.tax_of(model, name=REFERENCE, seed=0)
    assert 0 < reference < 0.02
    assert tax.tax_of(model, name=POLICY, seed=0) == pytest.approx(reference, rel=1e-4)


def test_ppo_forgets_its_language_and_ptx_keeps_it(problem: Problem) -> None:
    short = {"iterations": 12, "ema_decay": 0.0}
    plain = tax.pay(problem, tax.recipe(beta=tax.BETA, gamma=0.0).model_copy(update=short))
    ptx = tax.pay(problem, tax.recipe(beta=tax.BETA, gamma=tax.GAMMA).model_copy(update=short))
    assert plain.tax > 10 * ptx.tax
    assert ptx.gain > 0.5 * plain.gain > 0
