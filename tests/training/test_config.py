from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from feedback.errors import Unprocessable
from training.config import RECIPES, load_recipe, read_recipe, save_recipe


@pytest.mark.parametrize("name", [path.stem for path in RECIPES.glob("*.toml")])
def test_every_recipe_is_complete_and_survives_being_saved(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    save_recipe(recipe, tmp_path / "recipe.json")
    assert read_recipe(tmp_path / "recipe.json") == recipe


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("kl_coef = 0.05", "kl_koef = 0.05", "kl_koef"),
        ("kl_coef = 0.05", "", "kl_coef"),
        ("kl_coef = 0.05", "kl_coef = -1.0", "kl_coef"),
        ("temperature = 1.0", "temperature = 0.7", "temperature"),
        ("episodes_per_minibatch = 8", "episodes_per_minibatch = 5", "multiple"),
        ("answers_per_prompt = 2", "answers_per_prompt = 3", "answers_per_prompt"),
        ("importance_weight_max = 5.0", "importance_weight_max = 0.9", "importance_weight"),
        ("response_tokens = 8", "response_tokens = 128", "room for a prompt"),
        ("[gate]", "[gate", "table declaration"),
    ],
)
def test_nonsense_is_refused_with_the_key_s_name(
    old: str, new: str, word: str, tmp_path: Path
) -> None:
    text = (RECIPES / "tiny.toml").read_text()
    assert old in text
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(Unprocessable, match=word):
        load_recipe(str(path))


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(Unprocessable, match="7b-full, 7b-lora, cpu-demo, instructgpt, tiny"):
        load_recipe("none")


def test_the_paper_s_numbers_are_the_paper_s() -> None:
    ppo, reward = load_recipe("instructgpt").ppo, load_recipe("instructgpt").reward
    assert ppo.iterations * ppo.episodes_per_iteration == 256_000
    assert (ppo.kl_coef, ppo.ptx_coef, ppo.ema_decay, ppo.inner_epochs) == (0.02, 27.8, 0.992, 1)
    assert (ppo.episodes_per_minibatch, ppo.ptx_examples_per_episode) == (64, 8.0)
    assert (reward.epochs, reward.rankings_per_step, reward.learning_rate) == (1, 64, 9e-6)
    assert (reward.readout, reward.has_unit_std) == ("last", False)


def test_reading_a_recipe_loads_no_torch() -> None:
    code = "import sys, training.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
