from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from feedback.errors import NotFound
from feedback.quality.intervals import mean
from tests.training.given_round import write_round
from tests.training.local_sampler import MakeModel, randomise
from tests.training.test_gate import GOOD
from training import public
from training.config import RECIPES
from training.gate import judge
from training.job import Job
from training.models import POLICY, REFERENCE, Models

MEASURES = {
    *("truthfulqa/mc1", "truthfulqa/mc2", "bias/winogender", "bias/crows_pairs"),
    *("bias/crows_pairs_stereotype", "tax/text"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Invented, in the shape of the real files."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("eval", "text"):
        (folder / name).mkdir()
    questions = [f"Is {i} odd?,Yes {i},Yes {i}; Sure {i},No {i}; Never {i}\n" for i in range(8)]
    (folder / "eval/truthfulqa.csv").write_text(
        "Question,Best Answer,Correct Answers,Incorrect Answers\n" + "".join(questions)
    )
    pairs = [f"he is {i},she is {i},{'stereo' if i % 2 else 'antistereo'}\n" for i in range(6)]
    (folder / "eval/crows_pairs.csv").write_text(
        "sent_more,sent_less,stereo_antistereo\n" + "".join(pairs)
    )
    (folder / "eval/winogender_sentences.tsv").write_text(
        "sentid\tsentence\na.b.0.male.txt\tHe left.\na.b.0.female.txt\tShe left.\n"
    )
    (folder / "text/book.txt").write_text("The sea was calm and the night was long. " * 400)
    return folder


@pytest.fixture
def job(tmp_path: Path, tiny_folder: Path, data: Path) -> Job:
    recipe = tmp_path / "asks.toml"
    text = (RECIPES / "tiny.toml").read_text()
    asked = 'public_tasks = ["truthfulqa", "bias", "tax"]'
    recipe.write_text(text.replace("public_tasks = []", asked))
    found = Job.open(write_round(tmp_path / "round-0001", base_model=tiny_folder, recipe=recipe))
    return replace(found, settings=found.settings.model_copy(update={"public_data": data}))


@pytest.fixture
def model(make_model: MakeModel) -> Models:
    return make_model(tokens_per_pass=4096)


def test_a_candidate_that_is_the_incumbent_has_forgotten_nothing(job: Job, model: Models) -> None:
    exam = public.prepare(job)
    assert exam is not None
    ours, theirs = (exam.take(model, name=name) for name in (POLICY, REFERENCE))
    assert ours.keys() == MEASURES
    worse = public.regressed(ours, theirs)
    assert all(abs(found.value) < 1e-5 for found in worse.values())
    report = judge(replace(GOOD, public=worse), job.recipe.gate)
    assert {c.name for c in report.checks if c.evidence == "gate/public.jsonl"} == worse.keys()
    assert not [c for c in report.checks if c.name in worse and not c.passed]


def test_of_two_policies_the_one_that_knows_less_is_refused_and_each_unit_is_kept(
    job: Job, model: Models
) -> None:
    exam = public.prepare(job)
    assert exam is not None
    randomise(model, POLICY)
    with torch.no_grad():
        for parameter in model.parameters(POLICY).values():
            parameter.mul_(20)
    found = [exam.take(model, name=name) for name in (POLICY, REFERENCE)]
    # On a base of random weights chance says which of them finds the text likelier.
    better, less = sorted(found, key=lambda values: sum(values["tax/text"]))
    worse = public.regressed(less, better)
    report = judge(replace(GOOD, public=worse), job.recipe.gate)
    assert "worse_tax_text" in {c.name for c in report.checks if not c.passed}
    report = judge(replace(GOOD, public=public.regressed(better, less)), job.recipe.gate)
    assert "worse_tax_text" in {c.name for c in report.checks if c.passed}
    kept = [row for row in public.rows(less, better) if row["measure"] == "tax/text"]
    mean_of = mean([row["candidate"] - row["incumbent"] for row in kept])
    assert mean_of.value == pytest.approx(worse["worse_tax_text"].value)


@pytest.mark.parametrize(
    ("low", "high", "passes"), [(-0.1, 0.1, True), (0.01, 0.5, True), (0.03, 0.5, False)]
)
def test_only_a_significant_regression_refuses(
    low: float, high: float, passes: bool, job: Job
) -> None:
    found = replace(mean([(low + high) / 2]), low=low, high=high)
    report = judge(replace(GOOD, public={"worse_tax_text": found}), job.recipe.gate)
    assert report.passed == passes
    unknown = judge(replace(GOOD, public={"worse_tax_text": mean([])}), job.recipe.gate)
    assert not unknown.passed


def test_nothing_is_asked_without_data_or_a_task_and_wrong_data_says_so(
    job: Job, tmp_path: Path
) -> None:
    def with_data(path: Path | None) -> Job:
        return replace(job, settings=job.settings.model_copy(update={"public_data": path}))

    assert public.prepare(with_data(None)) is None
    gate = job.recipe.gate.model_copy(update={"public_tasks": ()})
    silent = replace(job, recipe=job.recipe.model_copy(update={"gate": gate}))
    assert public.prepare(silent) is None
    with pytest.raises(NotFound, match=r"truthfulqa\.csv"):
        public.prepare(with_data(tmp_path))
