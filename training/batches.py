"""Prompts and answers laid out for forward passes with little padding and no prompt computed twice.

A group is a prompt with all its answers behind it; a row holds one group or several. Attention is
causal and padding stands on the right, so no real token sees a padded one; lengths are explicit, so
padding is never mistaken for an EOS.
Shapes: B rows, T positions, E answers of a pass, N response tokens of a pass, R longest answer.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What a token costs in a layer's products, in tokens of attention: 24 D^2 to 4 D, at D of about 576.
_DEARER_THAN_ATTENTION = 3_500
_NUMBERS_TRIED = 12  # of rows, for a pass


@dataclass(frozen=True, kw_only=True)
class Group:
    """A prompt and the answers sampled for it, as the engine tokenised them."""

    prompt_ids: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]  # each with its EOS if it ended; none is empty

    def __len__(self) -> int:
        return len(self.prompt_ids) + sum(map(len, self.answers))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a forward pass needs besides weights."""

    ids_BT: Tensor
    positions_BT: Tensor
    mask_B1TT: Tensor | None = None  # None: plain causal; else True where a query sees a key

    def to(self, device: torch.device) -> Layout:
        return Layout(
            ids_BT=self.ids_BT.to(device),
            positions_BT=self.positions_BT.to(device),
            mask_B1TT=None if self.mask_B1TT is None else self.mask_B1TT.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A layout and where its answers are. Answers stand in the order of their groups."""

    layout: Layout
    targets_N: Tensor  # response token ids
    rows_N: Tensor  # row and place of the hidden state that predicts each of them
    places_N: Tensor
    own_places_N: Tensor  # place of the token itself, in the same row
    last_rows_E: Tensor  # row and place of each answer's last real token
    last_places_E: Tensor
    lengths_E: Tensor  # response tokens

    def to(self, device: torch.device) -> Packed:
        return Packed(**{name: value.to(device) for name, value in vars(self).items()})


def passes(lengths: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Indices of rows that go through the model together, longest first.

    Rows of like length share a pass; its padded size stays within `max_tokens` unless a single row
    is longer.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    groups: list[list[int]] = []
    for i in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= max_tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def rows(sequences: Sequence[Sequence[int]]) -> Layout:
    """One plain causal sequence per row."""
    longest = max(map(len, sequences))
    ids_BT = torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, ids in enumerate(sequences):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
    return Layout(ids_BT=ids_BT, positions_BT=torch.arange(longest).expand(len(sequences), -1))


def pack(groups: Sequence[Group]) -> Packed:
    """Groups side by side in as few and as full rows as are cheap; an answer sees its prompt and itself."""
    rows_of_groups = _full_rows([len(group) for group in groups])
    layout = rows([[t for g in row for t in _ids(groups[g])] for row in rows_of_groups])
    positions_BT = layout.positions_BT.clone()
    groups_BT, segments_BT = (torch.full_like(layout.ids_BT, -1) for _ in range(2))
    starts: dict[int, tuple[int, int]] = {}  # group -> row and place
    for row, members in enumerate(rows_of_groups):
        start = 0
        for g in members:
            starts[g] = row, start
            start += len(groups[g])
    rows_: list[int] = []
    places: list[int] = []
    own_places: list[int] = []
    last_rows, last_places, lengths = [], [], []
    for g, group in enumerate(groups):
        row, start = starts[g]
        length = len(group.prompt_ids)
        groups_BT[row, start : start + len(group)] = g
        positions_BT[row, start : start + length] = torch.arange(length)
        segments_BT[row, start : start + length] = 0
        last_of_prompt = start + length - 1
        end = start + length
        for k, answer in enumerate(group.answers):
            start, end = end, end + len(answer)
            segments_BT[row, start:end] = k + 1
            positions_BT[row, start:end] = length + torch.arange(len(answer))
            rows_ += [row] * len(answer)
            places += [last_of_prompt, *range(start, end - 1)]
            own_places += range(start, end)
            last_rows.append(row)
            last_places.append(end - 1)
            lengths.append(len(answer))
    is_plain = all(len(group.answers) == 1 for group in groups) and len(rows_of_groups) == len(
        groups
    )
    return Packed(
        layout=Layout(
            ids_BT=layout.ids_BT,
            positions_BT=positions_BT,
            mask_B1TT=None if is_plain else _segment_mask(groups_BT, segments_BT),
        ),
        targets_N=torch.tensor([t for g in groups for answer in g.answers for t in answer]),
        rows_N=torch.tensor(rows_),
        places_N=torch.tensor(places),
        own_places_N=torch.tensor(own_places),
        last_rows_E=torch.tensor(last_rows),
        last_places_E=torch.tensor(last_places),
        lengths_E=torch.tensor(lengths),
    )


def rectangle(values_N: Tensor, *, lengths_E: Tensor) -> tuple[Tensor, Tensor]:
    """(values [E, R] with 0 on padding, mask [E, R]) of token values standing one after another."""
    places_R = torch.arange(int(lengths_E.max()), device=lengths_E.device)
    mask_ER = places_R < lengths_E[:, None]
    values_ER = values_N.new_zeros(mask_ER.shape)
    values_ER[mask_ER] = values_N
    return values_ER, mask_ER


def _full_rows(lengths: Sequence[int]) -> list[list[int]]:
    """Indices by row: the longest first, each into the emptiest row; the cheapest of some numbers of rows."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    fewest = math.ceil(sum(lengths) / (2 * max(lengths)))  # rows of twice the longest group
    numbers = range(len(lengths), fewest - 1, -max(1, (len(lengths) - fewest) // _NUMBERS_TRIED))
    filled = [_filled(lengths, order, number) for number in numbers]

    def cost(rows_: list[list[int]]) -> int:
        longest = max(sum(lengths[i] for i in row) for row in rows_)
        return len(rows_) * longest * (longest + _DEARER_THAN_ATTENTION)

    return min(filled, key=cost)


def _filled(lengths: Sequence[int], order: Sequence[int], number: int) -> list[list[int]]:
    rows_: list[list[int]] = [[] for _ in range(number)]
    emptiest = [(0, row) for row in range(number)]
    for i in order:
        length, row = heapq.heappop(emptiest)
        rows_[row].append(i)
        heapq.heappush(emptiest, (length + lengths[i], row))
    return rows_


def _ids(group: Group) -> tuple[int, ...]:
    return group.prompt_ids + tuple(t for answer in group.answers for t in answer)


def _segment_mask(groups_BT: Tensor, segments_BT: Tensor) -> Tensor:
    """Causal, only one's own group, and of it only one's own segment or the prompt (segment 0). Padding is
    a group too."""
    length = segments_BT.shape[1]
    causal_TT = torch.ones(length, length, dtype=torch.bool).tril()
    is_group_BTT = groups_BT[:, :, None] == groups_BT[:, None, :]
    is_own_BTT = segments_BT[:, :, None] == segments_BT[:, None, :]
    is_prompt_BTT = (segments_BT == 0)[:, None, :]
    return ((is_own_BTT | is_prompt_BTT) & is_group_BTT & causal_TT)[:, None]
