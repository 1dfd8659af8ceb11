from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.small_disk import SmallDisk
from training import checkpoint
from training.curves import Curves


def save(folder: Path, number: int) -> None:
    checkpoint.save(
        folder, number=number, tensors={"w": torch.full((2,), float(number))}, facts={"n": number}
    )


def test_the_newest_checkpoint_is_the_one_and_the_older_ones_are_gone(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    for number in (1, 2, 10):
        save(tmp_path, number)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert (found.number, found.facts) == (10, {"n": 10})
    torch.testing.assert_close(found.tensors["w"], torch.tensor([10.0, 10.0]))
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_left_half_written_is_never_read(tmp_path: Path) -> None:
    save(tmp_path, 1)
    half = tmp_path / ".partial-123"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.number == 1
    assert not half.exists()


def test_a_full_disk_is_said_with_the_bytes_and_the_folder_and_the_old_checkpoint_stays(
    small_disk: SmallDisk,
) -> None:
    folder = small_disk.folder / "ppo"
    save(folder, 1)
    with pytest.raises(checkpoint.DiskFull, match=rf"4,000,000 bytes in {folder}, where .* free"):
        checkpoint.save(folder, number=2, tensors={"w": torch.zeros(1_000_000)}, facts={})
    assert [path.name for path in folder.iterdir()] == ["state-000001"]
    found = checkpoint.latest(folder)
    assert found is not None
    assert found.number == 1
    save(folder, 2)  # as soon as there is room
    assert [path.name for path in folder.iterdir()] == ["state-000002"]


def test_adam_goes_on_as_if_it_had_not_stopped() -> None:
    def model() -> tuple[dict[str, torch.nn.Parameter], torch.optim.Adam]:
        named = {"w": torch.nn.Parameter(torch.ones(3))}
        return named, torch.optim.Adam(named.values(), lr=0.1)

    def step(named: dict[str, torch.nn.Parameter], adam: torch.optim.Adam, scale: float) -> None:
        adam.zero_grad()
        (named["w"] * torch.tensor([1.0, 2.0, 3.0]) * scale).sum().backward()
        adam.step()

    named, adam = model()
    step(named, adam, 1.0)
    tensors = checkpoint.adam_state(adam, named)
    other, resumed = model()
    other["w"].data.copy_(named["w"].data)
    checkpoint.load_adam_state(resumed, other, tensors)
    for scale in (-2.0, 0.3):
        step(named, adam, scale)
        step(other, resumed, scale)
    torch.testing.assert_close(other["w"], named["w"], rtol=0, atol=0)


def test_a_curve_has_each_iteration_once_after_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    other, ppo = Curves(path, step="reward"), Curves(path, step="ppo")
    other.append(5, {"x": 1.0})
    for iteration in range(3):
        ppo.append(iteration, {"x": float(iteration)})
    with path.open("a") as file:
        file.write('{"t": 1, "step": "ppo", "iterat')  # killed in the middle of a line
    ppo.rewind(2)
    ppo.append(2, {"x": 20.0})
    assert [row["x"] for row in ppo.read()] == [0.0, 1.0, 20.0]
    assert [row["x"] for row in other.read()] == [1.0]
    assert all(json.loads(line)["t"] for line in path.read_text().splitlines())


def test_prefixes_come_off_as_they_went_on() -> None:
    tensors = {"a": torch.ones(1), "b": torch.zeros(1)}
    both = checkpoint.with_prefix("x", tensors) | checkpoint.with_prefix("xy", {"c": torch.ones(1)})
    assert checkpoint.without_prefix("x", both).keys() == tensors.keys()
    with pytest.raises(KeyError):
        checkpoint.without_prefix("x", both)["c"]
