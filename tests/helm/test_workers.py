"""Workers, beat, training over several nodes, moderation."""

from __future__ import annotations

import json

import pytest
import typer

from tests.helm.chart import ROOT, Chart


@pytest.mark.parametrize(
    ("component", "words"),
    [
        ("control", ["worker", "control"]),
        ("train", ["worker", "train"]),
        ("beat", ["beat"]),
        ("moderation", ["moderation", "serve"]),
        ("model", ["model", "prepare"]),
    ],
)
def test_each_is_run_as_the_command_line_has_it(
    chart: Chart, component: str, words: list[str]
) -> None:
    container = chart.render().container(component)
    assert (container["command"], container["args"]) == (["hone"], words)


def test_every_command_of_the_chart_exists(chart: Chart) -> None:
    from training.cli import app

    for _component, pod in chart.render(way="full-weights").pods():
        container = pod["containers"][0]
        if container["command"] != ["hone"]:
            continue
        command = typer.main.get_command(app)
        for word in container["args"]:
            command = getattr(command, "commands", {}).get(word, command)
        assert command.name != "hone", container["args"]
    assert "drain" in typer.main.get_command(app).commands


def test_never_are_there_two_train_workers(chart: Chart) -> None:
    spec = chart.render().one("Deployment", "train")["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")


def test_a_train_worker_trains_in_a_process_for_each_of_its_gpus(chart: Chart) -> None:
    found = chart.render(way="full-weights")
    assert found.env("train")["HONE_TRAINING_NUM_PROCESSES"] == "8"
    assert found.container("train")["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert chart.render().env("train")["HONE_TRAINING_NUM_PROCESSES"] == "1"


def test_a_worker_in_the_middle_of_a_task_is_not_probed_to_death(chart: Chart) -> None:
    found = chart.render()
    for component in ("control", "train", "beat"):
        container = found.container(component)
        assert not any(name.endswith("Probe") for name in container)


def test_workers_write_rounds_and_versions_and_the_others_read_them(chart: Chart) -> None:
    def is_read_only(component: str) -> bool | None:
        mounts = {m["name"]: m for m in found.container(component)["volumeMounts"]}
        return mounts["data"].get("readOnly", False) if "data" in mounts else None

    found = chart.render(way="full-weights")
    parts = ("gateway", "engine", "rollout", "moderation", "control", "train", "beat")
    assert {part: is_read_only(part) for part in parts} == {
        **dict.fromkeys(("gateway", "engine", "rollout", "moderation"), True),
        **dict.fromkeys(("control", "train"), False),
        "beat": None,
    }


def test_beat_gets_nothing_but_redis(chart: Chart) -> None:
    assert set(chart.render().env("beat")) == {"USER", "HOME", "HONE_FEEDBACK_REDIS_URL"}


def test_the_train_worker_goes_when_nothing_is_to_be_trained_and_not_before(chart: Chart) -> None:
    found = chart.render(way="keda")
    assert "replicas" not in found.one("Deployment", "train")["spec"]
    spec = found.one("ScaledObject", "train")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 1)
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "metrics-api"
    assert trigger["metadata"]["url"] == "http://hone-gateway.ns:80/metrics"


def test_without_training_there_is_no_train_worker_and_feedback_goes_on(chart: Chart) -> None:
    found = chart.render(way="serving")
    assert not found.has("Deployment", "train")
    assert found.has("Deployment", "control")
    assert found.has("Deployment", "beat")


def test_a_step_over_several_nodes_meets_at_the_first_pod(chart: Chart) -> None:
    found = chart.render(way="distributed")
    (job,) = found.all("Job")
    spec, name = job["spec"], job["metadata"]["name"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    assert found.pod("distributed")["subdomain"] == "hone-distributed"
    words = found.container("distributed")["args"]
    assert f"--rdzv-endpoint={name}-0.hone-distributed:29500" in words
    assert {"--nnodes=4", "--nproc-per-node=8", "--node-rank=$(JOB_COMPLETION_INDEX)"} < set(words)
    assert words[-3:] == ["training.step", "ppo", "--round-dir=/data/rounds/round-0007"]
    service = found.one("Service", "distributed")["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True


def test_the_recipes_that_need_engines_of_their_own_are_those_with_full_weights() -> None:
    """helm/templates/validations.yaml names them."""
    import tomllib

    recipes = {
        path.stem: tomllib.loads(path.read_text())
        for path in (ROOT / "training" / "recipes").glob("*.toml")
    }
    full = {name for name, recipe in recipes.items() if recipe["model"]["weights"] == "full"}
    text = (ROOT / "helm" / "templates" / "validations.yaml").read_text()
    assert full == {name for name in recipes if f'"{name}"' in text}


def test_the_recipes_that_the_schema_takes_are_those_there_are() -> None:
    schema = json.loads((ROOT / "helm" / "values.schema.json").read_text())
    by_name, _by_path = schema["properties"]["training"]["properties"]["recipe"]["anyOf"]
    there = {path.stem for path in (ROOT / "training" / "recipes").glob("*.toml")}
    assert set(by_name["enum"]) == there


def test_moderation_follows_the_versions_that_rounds_publish(chart: Chart) -> None:
    env = chart.render().env("moderation")
    assert env["HONE_MODERATION_REDIS_URL"] == {
        "secretKeyRef": {"name": "hone", "key": "redis-url"}
    }
    assert env["HONE_MODERATION_BACKEND"] == "onnx"


def test_gateways_and_trainers_ask_the_moderation_server_of_the_release(chart: Chart) -> None:
    found = chart.render(way="gpu")
    for component in ("gateway", "train"):
        assert found.env(component)["HONE_SERVING_MODERATION_URL"] == "http://hone-moderation:8200"
    elsewhere = chart.render(way="serving")
    assert not elsewhere.has("Deployment", "moderation")
    url = elsewhere.env("gateway")["HONE_SERVING_MODERATION_URL"]
    assert url == "https://moderation.example.com"


def test_a_guard_s_key_goes_to_moderation_alone(chart: Chart) -> None:
    found = chart.render(way="gateway-api")
    holders = [
        name
        for name, _pod in found.pods()
        if "HONE_MODERATION_BACKEND_KEY" in found.env(name)
        if name not in ("model", "test")
    ]
    assert holders == ["moderation"]


def test_a_setting_goes_to_the_parts_that_read_it(chart: Chart) -> None:
    found = chart.render({"settings": {"HONE_TRAINING_MIN_NEW_JUDGEMENTS": 1000}})
    assert found.env("control")["HONE_TRAINING_MIN_NEW_JUDGEMENTS"] == "1000"
    assert "HONE_TRAINING_MIN_NEW_JUDGEMENTS" not in found.env("gateway")


def test_numbers_lists_and_dictionaries_arrive_as_the_settings_read_them(chart: Chart) -> None:
    settings = {
        "HONE_FEEDBACK_LOG_KEEP_BYTES": 20_000_000_000,
        "HONE_SERVING_LORA_TARGET_MODULES": ["q_proj", "v_proj"],
        "HONE_MODERATION_FLAG": {"hate": 0.6, "violence": None},
        "HONE_SERVING_CANARY_SHARE": 0.05,
        "HONE_FEEDBACK_SNAPSHOT_MASKS_PII": False,
    }
    found = chart.render({"settings": settings}).env("control")
    assert {name: found[name] for name in settings} == {
        "HONE_FEEDBACK_LOG_KEEP_BYTES": "20000000000",
        "HONE_SERVING_LORA_TARGET_MODULES": '["q_proj","v_proj"]',
        "HONE_MODERATION_FLAG": '{"hate":0.6,"violence":null}',
        "HONE_SERVING_CANARY_SHARE": "0.05",
        "HONE_FEEDBACK_SNAPSHOT_MASKS_PII": "false",
    }


def test_every_part_s_environment_is_what_its_settings_take(chart: Chart) -> None:
    """As pydantic reads them: a process of the chart starts on what the chart tells it."""
    from feedback.settings import FeedbackSettings
    from moderation.settings import ModerationSettings
    from serving.settings import ServingSettings
    from training.settings import TrainingSettings

    readers = {
        "HONE_FEEDBACK_": FeedbackSettings,
        "HONE_MODERATION_": ModerationSettings,
        "HONE_SERVING_": ServingSettings,
        "HONE_TRAINING_": TrainingSettings,
    }
    for way in ("cpu", "gpu", "full-weights"):
        found = chart.render(way=way)
        for component in ("gateway", "engine", "moderation", "control", "train", "beat"):
            for name, value in found.env(component).items():
                prefix = next((prefix for prefix in readers if name.startswith(prefix)), None)
                if prefix is not None:
                    field = name.removeprefix(prefix).lower()
                    assert field in readers[prefix].model_fields, (component, name)
                    assert value != "", (component, name)
