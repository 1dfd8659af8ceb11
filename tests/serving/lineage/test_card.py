"""What a model card says, and that it changes nothing of what was judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from typer.testing import CliRunner

from feedback.connection import connect
from feedback.errors import Refused
from serving import artifact
from serving.canary.store import Canaries
from serving.cli import app
from serving.lineage import base_model, card, card_facts
from serving.lineage.card import CardFacts
from tests.serving.lineage.system import opened, publish


def facts(**changes: Any) -> CardFacts:
    fields: dict[str, Any] = {
        "version": "policy-0001",
        "kind": "adapter",
        "digest": "d" * 64,
        "parent": "policy-0000",
        "round_id": "round-0001",
        "created": 0.0,
        "recipe_name": "tiny",
        "base": None,
        "base_digest": "b" * 64,
        "snapshot": None,
        "recipe": None,
        "reward": None,
        "checks": [],
        "override": None,
        "canaries": [],
    }
    return CardFacts(**fields | changes)


def front_matter(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_the_hub_s_fields_are_what_is_known_and_nothing_that_is_not(tmp_path: Path) -> None:
    default = base_model.of(tmp_path / "smollm2-135m-instruct")
    assert front_matter(card.text(facts(base=default))) == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "base_model_relation": "adapter",
        "license": "apache-2.0",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["rlhf", "ppo", "reward-model", "hone", "lora"],
    }
    bare = front_matter(card.text(facts(kind="full")))
    assert not {"base_model", "license"} & bare.keys()
    assert bare["library_name"] == "transformers"


def test_a_base_s_licence_is_read_where_it_is_stated(tmp_path: Path) -> None:
    folder = tmp_path / "owner--model"
    folder.mkdir()
    assert base_model.of(folder).licence is None
    assert base_model.of(folder).hub_id == "owner/model"
    (folder / "LICENSE").write_text("\n  Our own licence: {ask}\n")
    assert base_model.of(folder).licence == "Our own licence: {ask}"
    text = card.text(facts(base=base_model.of(folder)))
    assert front_matter(text)["license"] == "other"
    assert "Our own licence: {ask}" in text
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    assert base_model.of(folder).licence == "cc-by-4.0"


def test_what_was_not_measured_and_what_is_not_here_any_more_is_said() -> None:
    checks = [
        {"name": "kl_nats", "value": None, "limit": 1.5, "passed": False, "interval": None},
        {"name": "win_rate", "value": 0.61, "limit": 0.5, "passed": True, "interval": [0.55, 0.67]},
    ]
    text = card.text(facts(checks=checks))
    assert "| kl_nats | not measured |  | 1.5 | **failed** |" in text
    assert "| win_rate | 0.61 | 0.55 to 0.67 | 0.5 | passed |" in text
    assert "is not here any more" in text
    assert "all the same" not in text
    said = {"actor": "key_1", "reason": "people like it", "digest": "d" * 64}
    overridden = card.text(facts(checks=checks, override=said))
    assert "**Published all the same**, by key_1: people like it" in overridden
    assert "It has passed no gate." in card.text(facts())


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)


def test_a_card_beside_the_weights_leaves_the_version_what_it_was(
    client: redis.Redis, tmp_path: Path
) -> None:
    record = publish(tmp_path, opened(client, tmp_path), "round-0001")
    folder = Path(record.path)
    for _ in range(2):
        known = card_facts.facts_of(folder, round_dir=tmp_path / "rounds" / "round-0001", base=None)
        card_facts.write(folder, known)
        manifest = artifact.read_manifest(folder)
        artifact.check_files(folder, manifest)
        assert manifest.digest == record.digest
    text = (folder / "README.md").read_text()
    assert record.digest in text
    assert "0.7 (0.6 to 0.8)" in text
    assert "`ppo.kl_coef` | 0.02" in text
    made = artifact.write_manifest(
        folder, version="policy-0001", kind="adapter", parent=None, base_digest="b"
    )
    assert made.digest == record.digest


def test_a_folder_whose_manifest_lists_a_readme_is_held_to_it(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("theirs")
    listed = {"README.md": artifact._sha256(tmp_path / "README.md")}
    manifest = artifact.Manifest(
        version="v", kind="adapter", base_digest="b", parent=None, created=1.0, files=listed
    )
    artifact.check_files(tmp_path, manifest)
    (tmp_path / "README.md").write_text("another")
    with pytest.raises(Refused, match="digest of README.md"):
        artifact.check_files(tmp_path, manifest)


def test_the_command_shows_the_canary_that_came_after_and_writes_it_too(
    client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    registry = opened(client, tmp_path)
    record = publish(tmp_path, registry, "round-0001", is_live=False)
    canaries = Canaries(client)
    begun = canaries.begin(
        record, live=registry.snapshot(), share=0.1, actor="key_1", reason="try it"
    )
    canaries.end(begun, "rolled_back", actor="canary", reason="people liked it less")
    hone, where = CliRunner(), ["--data", str(tmp_path)]
    shown = hone.invoke(app, ["policies", "card", "policy-0001", *where])
    assert shown.exit_code == 0, shown.output
    assert "for 10% of the end users against policy-0000: rolled_back. people liked" in shown.stdout
    assert hone.invoke(app, ["policies", "card", "policy-0000", *where]).exit_code == 1
    hone.invoke(app, ["policies", "card", "policy-0001", "--write", *where])
    assert (Path(record.path) / "README.md").read_text() == shown.stdout
    assert json.loads(hone.invoke(app, ["lineage", "policy-0001", "--json", *where]).stdout)[
        "is_whole"
    ]
