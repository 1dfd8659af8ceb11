from __future__ import annotations

import random

import pytest
import torch

from tests.training.local_sampler import MakeModel, randomise
from training.batches import Group, pack, rows
from training.experience import response_logprobs
from training.models import POLICY, REWARD
from training.reward import score


def groups_of(lengths: list[tuple[int, int]], *, num_answers: int = 2) -> list[Group]:
    """Groups with a prompt and answers of the given lengths, all tokens random."""
    generator = random.Random(0)

    def some(count: int) -> tuple[int, ...]:
        return tuple(generator.randrange(5, 250) for _ in range(count))

    return [
        Group(prompt_ids=some(prompt), answers=tuple(some(answer) for _ in range(num_answers)))
        for prompt, answer in lengths
    ]


UNLIKE = [(30, 20), (20, 15), (12, 8), (5, 3), (40, 1), (3, 9)]


def test_groups_of_unlike_lengths_share_rows_and_waste_little() -> None:
    packed = pack(groups_of(UNLIKE))
    total = sum(prompt + 2 * answer for prompt, answer in UNLIKE)
    assert len(packed.layout.ids_BT) < len(UNLIKE)
    assert packed.layout.ids_BT.numel() < 1.15 * total


def test_groups_of_one_length_have_rows_of_their_own() -> None:
    packed = pack(groups_of([(10, 5)] * 6))
    assert packed.layout.ids_BT.shape == (6, 20)


def test_a_group_in_a_shared_row_has_the_numbers_it_has_alone(make_model: MakeModel) -> None:
    model = make_model()
    randomise(model, POLICY)
    randomise(model, REWARD, seed=4)
    groups = groups_of(UNLIKE)
    together = pack(groups)
    found_N = response_logprobs(model, together, model.trunk(together.layout), name=POLICY)
    scores_E = score(model, together, readout="last")
    alone = [pack([group]) for group in groups]
    wanted_N = torch.cat(
        [response_logprobs(model, one, model.trunk(one.layout), name=POLICY) for one in alone]
    )
    torch.testing.assert_close(found_N, wanted_N, atol=1e-5, rtol=1e-4)
    wanted_E = torch.cat([score(model, one, readout="last") for one in alone])
    torch.testing.assert_close(scores_E, wanted_E, atol=1e-5, rtol=1e-4)


def test_tokens_rows_and_places_say_where_every_answer_stands() -> None:
    groups = groups_of(UNLIKE)
    packed = pack(groups)
    ids_BT = packed.layout.ids_BT
    wanted = [t for g in groups for answer in g.answers for t in answer]
    assert (
        ids_BT[packed.rows_N, packed.own_places_N].tolist() == wanted == packed.targets_N.tolist()
    )
    before = [t for g in groups for a in g.answers for t in (g.prompt_ids[-1], *a[:-1])]
    assert ids_BT[packed.rows_N, packed.places_N].tolist() == before
    last = [answer[-1] for g in groups for answer in g.answers]
    assert ids_BT[packed.last_rows_E, packed.last_places_E].tolist() == last


@pytest.mark.parametrize("count", [1, 7, 400])
def test_any_number_of_groups_is_packed_whole(count: int) -> None:
    generator = random.Random(count)
    groups = groups_of([(generator.randint(1, 40), 2) for _ in range(count)], num_answers=1)
    packed = pack(groups)
    assert len(packed.lengths_E) == count
    assert packed.layout.ids_BT.numel() <= rows([[0] * len(g) for g in groups]).ids_BT.numel()
