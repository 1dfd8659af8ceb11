"""Prompts and answers laid out for forward passes with little padding and no prompt computed twice.

A row is a prompt with all its answers behind it; an answer sees the prompt and itself. Attention is
causal and padding stands on the right, so no real token sees a padded one; lengths are explicit, so
padding is never mistaken for an EOS.
Shapes: B rows, T positions, E answers of a pass, N response tokens of a pass, R longest answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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
    """One row per group."""
    plain = rows([[*g.prompt_ids, *(t for answer in g.answers for t in answer)] for g in groups])
    positions_BT = plain.positions_BT.clone()
    segments_BT = torch.full_like(plain.ids_BT, -1)
    rows_: list[int] = []
    places: list[int] = []
    own_places: list[int] = []
    last_rows, last_places, lengths = [], [], []
    for row, group in enumerate(groups):
        prompt_length = end = len(group.prompt_ids)
        segments_BT[row, :end] = 0
        for k, answer in enumerate(group.answers):
            start, end = end, end + len(answer)
            segments_BT[row, start:end] = k + 1
            positions_BT[row, start:end] = prompt_length + torch.arange(len(answer))
            rows_ += [row] * len(answer)
            places += [prompt_length - 1, *range(start, end - 1)]
            own_places += range(start, end)
            last_rows.append(row)
            last_places.append(end - 1)
            lengths.append(len(answer))
    has_shared_prompt = any(len(group.answers) > 1 for group in groups)
    return Packed(
        layout=Layout(
            ids_BT=plain.ids_BT,
            positions_BT=positions_BT,
            mask_B1TT=_segment_mask(segments_BT) if has_shared_prompt else None,
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


def _segment_mask(segments_BT: Tensor) -> Tensor:
    """Causal, and only one's own segment or the prompt (segment 0). Padding is a segment too."""
    length = segments_BT.shape[1]
    causal_TT = torch.ones(length, length, dtype=torch.bool).tril()
    is_own_BTT = segments_BT[:, :, None] == segments_BT[:, None, :]
    is_prompt_BTT = (segments_BT == 0)[:, None, :]
    return ((is_own_BTT | is_prompt_BTT) & causal_TT)[:, None]
