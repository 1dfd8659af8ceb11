"""The main job, end to end, on a tiny model: talk, judge, train, swap; and each part killed on the way."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import aiohttp
import openai
import psutil
import pytest

from feedback import eventlog
from serving.stack.parts import load_secrets
from tests.flows.conftest import OPEN, Stack, write_recipe
from tests.helm.exported_metrics import named as named_in
from tests.helm.test_dashboards import DASHBOARDS, queries
from tests.serving.otlp_collector import Collector, Received
from tests.serving.webhook_receiver import wait_until
from training.config import RECIPES
from training.demo_people import Person
from training.demo_traffic import Traffic
from training.prove.answers import measure
from training.rounds import STEPS, read_plan

PROMPTS = [f"question {number}" for number in range(40)]


def lower_case_share(text: str) -> float:
    """What the labelers of these tests like."""
    return sum(c.islower() for c in text) / max(1, len(text))


def wait_for_round(stack: Stack, round_id: str, *, timeout_s: float = 600) -> dict[str, str]:
    deadline = time.monotonic() + timeout_s
    while True:
        state = {
            k.decode(): v.decode() for k, v in stack.redis.hgetall(f"hone:round:{round_id}").items()
        }
        if "ended" in state:
            return state
        assert time.monotonic() < deadline, (state, stack.log("train"), stack.log("control"))
        time.sleep(0.2)


def kill_when(stack: Stack, round_id: str, step: str) -> None:
    """kill -9 the train worker and its child as soon as a step's child runs."""
    log = stack.folder / "rounds" / round_id / f"{step}.log"
    deadline = time.monotonic() + 120
    while not log.exists():
        assert time.monotonic() < deadline, (step, stack.log("train"))
        time.sleep(0.02)
    if step != "publish":
        time.sleep(1.0)  # into the work, past the imports' beginning
    worker = psutil.Process(stack.pid("train"))
    for process in [*worker.children(recursive=True), worker]:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def rankings_of(stack: Stack, round_id: str) -> list[str]:
    path = stack.folder / "rounds" / round_id / "snapshot" / "rankings.jsonl"
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


@pytest.fixture
def open_gate(tmp_path: Path) -> Path:
    """The tiny recipe with a gate that refuses nothing."""
    return write_recipe(tmp_path / "open.toml", **OPEN)


def test_the_openai_client_talks_to_it(stack: Stack) -> None:
    client = openai.OpenAI(base_url=stack.url + "/v1", api_key=stack.ready["api_key"])
    messages: Any = [{"role": "user", "content": "hello"}]
    raw = client.chat.completions.with_raw_response.create(
        model="policy", messages=messages, max_tokens=4, n=4
    )
    answer = raw.parse()
    assert len(answer.choices) == 4
    assert answer.model == raw.headers["x-policy-version"] == "policy-0000"
    stream = client.chat.completions.create(
        model="policy",
        messages=messages,
        max_tokens=4,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[-1].usage is not None
    assert "policy-0000" in {model.id for model in client.models.list()}
    assert client.moderations.create(input="How do I bake bread?").results[0].flagged is False
    client.close()


def test_the_engine_shows_the_metrics_that_dashboards_name(stack: Stack) -> None:
    token = load_secrets(stack.folder / "secrets.json").engine_token
    engine = json.loads(stack.hone("engines", "--json").stdout)[0]["url"]
    request = Request(f"{engine}/metrics", headers={"authorization": f"Bearer {token}"})
    with urlopen(request, timeout=100) as response:
        text = response.read().decode()
    shown = set(re.findall(r"^vllm:\w+", text, flags=re.MULTILINE))
    named = {name for path in DASHBOARDS for query in queries(path) for name in named_in(query)}
    assert {name for name in named if name.startswith("vllm:")} <= shown


def test_a_stored_answer_is_in_the_log_with_its_tokens_and_log_probabilities(stack: Stack) -> None:
    client = openai.OpenAI(base_url=stack.url + "/v1", api_key=stack.ready["api_key"])
    answer = client.chat.completions.create(
        model="policy",
        messages=[{"role": "user", "content": "log me"}],
        max_tokens=5,
        n=2,
        user="u1",
    )
    event: Any = eventlog.get(stack.redis, "completions", answer.id)
    assert event.end_user == "u1"
    assert event.prompt_ids
    assert [choice.text for choice in event.choices] == [c.message.content for c in answer.choices]
    for choice in event.choices:
        assert len(choice.token_ids) == len(choice.logprobs) > 0
        assert all(logprob <= 0 for logprob in choice.logprobs)
    private = client.chat.completions.create(
        model="policy", messages=[{"role": "user", "content": "no"}], max_tokens=2, store=False
    )
    assert eventlog.get(stack.redis, "completions", private.id) is None
    client.close()


async def test_many_seeded_answers_at_once_do_not_end_the_engine(stack: Stack) -> None:
    """Their prompts together are more than the engine reads in one step."""
    before = stack.pid("engine")
    async with aiohttp.ClientSession() as session:
        person = Person(session, url=stack.url, key=stack.ready["api_key"])
        question = "How do I bake bread at home, and which flour shall I buy for it? " * 2
        prompts = [f"{question} {number}" for number in range(8)]
        options: dict[str, Any] = {"n": 9, "max_tokens": 2, "store": False}
        asked = (person.ask(prompt, seed=i, **options) for i, prompt in enumerate(prompts))
        answers = await asyncio.gather(*asked)
    assert all(len(answer["choices"]) == 9 for answer, _ in answers)
    assert stack.pid("engine") == before


async def test_a_round_survives_kill_9_in_every_step_and_uses_each_judgement_once(
    stack: Stack, open_gate: Path
) -> None:
    ranked = await stack.rank_all(prompts=PROMPTS, prefer=lower_case_share)
    round_id = start_round(stack, open_gate)
    for step in STEPS[1:]:
        kill_when(stack, round_id, step)
    state = wait_for_round(stack, round_id)
    assert state["status"] == "finished", state
    used = rankings_of(stack, round_id)
    assert len(used) == len(set(used)) == ranked
    await assert_all_agree(stack, "policy-0001")


async def test_a_second_round_continues_from_the_first_and_drops_no_stream(
    stack: Stack, open_gate: Path
) -> None:
    await stack.rank_all(
        prompts=[f"again {number}" for number in range(12)], prefer=lower_case_share
    )
    round_id = start_round(stack, open_gate)
    async with aiohttp.ClientSession() as session:
        traffic = Traffic(Person(session, url=stack.url, key=stack.ready["api_key"]))
        traffic.start()
        traffic.swap_is_near()
        state = await asyncio.to_thread(wait_for_round, stack, round_id)
        result = await traffic.stop(after_swap_to="policy-0002")
    assert state["status"] == "finished", state
    plan = read_plan(stack.folder / "rounds" / round_id)
    assert plan.parent == "policy-0001"
    assert plan.parent_path is not None
    assert result["dropped"] == 0, result["errors"]
    assert result["wrong_version"] == result["header_disagreed_with_policy"] == 0
    assert result["by_new_version"] > 0
    await assert_all_agree(stack, "policy-0002")


def test_an_answer_is_one_trace_into_vllm_and_the_log_and_what_it_taught_is_linked_with_it(
    stack: Stack, collector: Collector
) -> None:
    client = openai.OpenAI(base_url=stack.url + "/v1", api_key=stack.ready["api_key"])
    messages: Any = [{"role": "user", "content": "trace me"}]
    answer = client.chat.completions.create(model="policy", messages=messages, max_tokens=4)
    client.close()
    event: Any = eventlog.get(stack.redis, "completions", answer.id)

    def of_answer() -> dict[str, Received]:
        return {span.name: span for span in collector.spans if span.trace_id == event.trace_id}

    request = "POST /v1/chat/completions"
    wait_until(lambda: {request, "engine.answer", "llm_request"} <= of_answer().keys())
    asked, engine, vllm = (of_answer()[name] for name in (request, "engine.answer", "llm_request"))
    assert (engine.parent, vllm.parent) == (asked.id, engine.id)
    services = [span.resource["service.name"] for span in (asked, engine, vllm)]
    assert services == ["hone-gateway", "hone-gateway", "hone-engine"]
    rounds = [span for span in collector.spans if span.name == "round"]
    known = {span.trace_id for span in collector.spans if span.name == request}
    assert len(rounds) == 2
    assert all(span.links and known.issuperset(span.links) for span in rounds)


def test_reference_and_candidate_of_a_round_answer_again_and_are_judged(stack: Stack) -> None:
    """What `hone prove model` lays beside best of n."""
    reference, candidate, kl = measure(
        stack.folder / "rounds" / "round-0002",
        ["question 1", "again 2", "never asked"],
        engine_token=load_secrets(stack.folder / "secrets.json").engine_token,
        num_reference=4,
        num_candidate=2,
        seed=0,
    )
    for judged, count in ((reference, 4), (candidate, 2)):
        assert (
            [len(row) for row in judged.scores] == [len(row) for row in judged.gold] == [count] * 3
        )
    assert len({score for row in reference.scores for score in row}) > 1
    assert kl.num_units == 3
    assert kl.value != 0.0
    assert not list((stack.folder / "rounds" / "round-0002" / "gate").glob("round-0002-*"))


def test_a_closed_gate_refuses_the_candidate_and_says_why(stack: Stack, tmp_path: Path) -> None:
    recipe = tmp_path / "closed.toml"
    text = (RECIPES / "tiny.toml").read_text()
    recipe.write_text(text.replace("min_win_rate = 0.5", "min_win_rate = 1.0"))
    round_id = start_round(stack, recipe)
    state = wait_for_round(stack, round_id)
    assert state["status"] == "refused", state
    assert "win_rate" in state["detail"]
    assert stack.redis.hget("hone:aliases", "production") == b"policy-0002"


async def test_an_answer_leads_back_to_judgements_and_a_lost_registry_comes_back_from_the_folders(
    stack: Stack,
) -> None:
    async with aiohttp.ClientSession() as session:
        person = Person(session, url=stack.url, key=stack.ready["api_key"])
        answer, _ = await person.ask("who made you", max_tokens=2)
    back = stack.hone("lineage", answer["id"], "--verify", "--json")
    assert back.returncode == 0, back.stdout + back.stderr
    found = json.loads(back.stdout)
    reached = {node["key"]: node["facts"] for node in found["nodes"]}
    versions = {f"version:policy-000{number}" for number in range(3)}
    assert versions | {"round:round-0001", "round:round-0002"} <= reached.keys()
    sample = reached["snapshot:rounds/round-0001/snapshot"]["sample"]["rankings.jsonl"]
    assert set(sample) <= set(rankings_of(stack, "round-0001"))
    forward = json.loads(stack.hone("lineage", sample[0], "--forward", "--json").stdout)
    # A snapshot holds all that was said until then, so a later round learns from it again.
    assert forward["trained_versions"] == ["policy-0001", "policy-0002"]
    assert forward["live"]["policy-0002"] == ["production"]
    assert (stack.folder / "policies" / "policy-0002" / "README.md").exists()

    before = {name: stack.redis.hgetall(name) for name in ("hone:policies", "hone:aliases")}
    stack.redis.delete(*before, "hone:policy_seq", "hone:round_seq")
    assert stack.hone("policies", "recover", "--yes").returncode == 0
    await assert_all_agree(stack, "policy-0002")
    for name, content in before.items():
        assert stack.redis.hgetall(name).keys() == content.keys()
    assert stack.redis.get("hone:policy_seq") == b"2"
    assert stack.redis.get("hone:round_seq") == b"3"


def start_round(stack: Stack, recipe: Path) -> str:
    started = stack.hone("rounds", "start", "--recipe", str(recipe))
    assert started.returncode == 0, started.stderr
    return started.stdout.strip()


async def assert_all_agree(stack: Stack, version: str) -> None:
    """Header, body, /policy, engine and registry mean the same version."""
    async with aiohttp.ClientSession() as session:
        person = Person(session, url=stack.url, key=stack.ready["api_key"])
        answer, headers = await person.ask("who are you", max_tokens=2)
        shown = await person.get("/policy")
    digest = shown["production"]["digest"]
    assert (
        answer["model"] == headers["x-policy-version"] == shown["production"]["version"] == version
    )
    assert headers["x-policy-digest"] == digest
    assert stack.redis.hget("hone:aliases", "production") == version.encode()
    assert {"version": version, "digest": digest}.items() <= {
        key: value
        for entry in shown["engines"][0]["loaded"]
        if entry["version"] == version
        for key, value in entry.items()
    }.items()


async def test_completions_and_feedback_during_a_redis_outage_are_in_the_log_once(
    stack: Stack,
) -> None:
    """SIGSTOP would hide behind the supervisor's probes; the server is killed, `hone up` brings it back."""
    completions: list[str] = []
    feedback: list[str] = []
    async with aiohttp.ClientSession() as session:
        person = Person(session, url=stack.url, key=stack.ready["api_key"])
        os.kill(stack.pid("redis"), signal.SIGKILL)
        until = time.monotonic() + 6
        while time.monotonic() < until:
            answer, _ = await person.ask("during the outage", n=2, max_tokens=2)
            completions.append(answer["id"])
            if any(choice["finish_reason"] == "content_filter" for choice in answer["choices"]):
                continue  # moderation finds a random model's bytes rude now and then
            side = {"completion_id": answer["id"]}
            body = {"a": side | {"index": 0}, "b": side | {"index": 1}, "preference": 1}
            feedback.append((await person.post("/v1/feedback/comparisons", body))["id"])
            await asyncio.sleep(0.1)
    deadline = time.monotonic() + 30
    while not all(eventlog.get(stack.redis, "feedback", each) for each in feedback):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    logged = [event.id for _, event in eventlog.read(stack.redis, "completions")]
    assert all(logged.count(each) == 1 for each in completions)
    judged = [event.id for _, event in eventlog.read(stack.redis, "feedback")]
    assert all(judged.count(each) == 1 for each in feedback)


def test_a_bad_checkpoint_is_refused_and_the_running_version_goes_on(
    stack: Stack, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from serving import artifact

    base = stack.model
    tensors = load_file(base / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * torch.nan
    folder = stack.folder / "policies" / "policy-0666"
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    manifest = artifact.write_manifest(
        folder,
        version="policy-0666",
        kind="full",
        parent=None,
        base_digest=artifact.base_digest(base),
    )
    for path, digest, reason in (
        (folder, manifest.digest, "NaN"),
        (folder, "0" * 64, "was asked for"),
        (stack.folder / "policies" / "policy-0667", "0" * 64, "does not exist"),
        (tmp_path, "0" * 64, "outside the data folder"),
    ):
        answer = put_policy(stack, path, digest)
        assert reason in answer["error"]["message"]
    client = openai.OpenAI(base_url=stack.url + "/v1", api_key=stack.ready["api_key"])
    assert client.completions.create(model="policy", prompt="still here", max_tokens=2).choices
    client.close()


def test_full_weights_are_swapped_in_and_out_again(stack: Stack) -> None:
    from safetensors.torch import load_file, save_file

    from serving import artifact

    base = stack.model
    tensors = load_file(base / "model.safetensors")
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].flip(0).contiguous()
    folder = stack.folder / "policies" / "policy-0700"
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    base_digest = artifact.base_digest(base)
    manifest = artifact.write_manifest(
        folder, version="policy-0700", kind="full", parent=None, base_digest=base_digest
    )
    assert put_policy(stack, folder, manifest.digest)["kind"] == "full"
    assert put_policy(stack, base, base_digest, version="policy-0000")["kind"] == "base"
    assert put_policy(stack, folder, manifest.digest)["kind"] == "full"
    adapter = stack.folder / "policies" / "policy-0002"  # over the base, which comes back for it
    assert put_policy(stack, adapter, artifact.read_manifest(adapter).digest)["kind"] == "adapter"


def put_policy(
    stack: Stack, folder: Path, digest: str, *, version: str | None = None
) -> dict[str, Any]:
    async def put() -> dict[str, Any]:
        token = json.loads((stack.folder / "secrets.json").read_text())["engine_token"]
        body = {"version": version or folder.name, "path": str(folder), "digest": digest}
        async with aiohttp.ClientSession() as session:
            gateway = Person(session, url=stack.url, key=stack.ready["api_key"])
            engine_url = (await gateway.get("/policy"))["engines"][0]["url"]
            headers = {"authorization": f"Bearer {token}"}
            async with session.put(engine_url + "/policy", json=body, headers=headers) as response:
                return dict(await response.json())

    return asyncio.run(put())
