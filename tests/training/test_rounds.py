from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import psutil
import pytest

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.errors import Conflict, NotFound, Unavailable
from feedback.events import Feedback, RoundChanged, encode, new_id
from feedback.history import History
from serving import round_decisions, round_states
from serving.registry import Registry
from serving.settings import ServingSettings
from tests.feedback.archive.logs import archiver, settings
from training import rounds as rounds_module
from training import worker
from training.job import Job
from training.lease import Lease, LeaseLost
from training.rounds import STEPS, Rounds
from training.settings import TrainingSettings


@pytest.fixture
def rounds(redis_url: str, tmp_path: Path) -> Rounds:
    serving = ServingSettings(data_dir=tmp_path, engine_token="t" * 16)
    return Rounds(connect(redis_url), serving, TrainingSettings(recipe="tiny"))


def a_judgement() -> Feedback:
    return Feedback(
        id=new_id("fbk_"),
        created=1.0,
        form="rating",
        labeler="a",
        tenant="t",
        completion_ids=[],
        body={},
    )


def end(rounds: Rounds, round_id: str, change: round_states.Move) -> None:
    assert rounds.finish(round_id, change, step="ppo", error="out of memory").is_done


def test_one_round_at_a_time(rounds: Rounds) -> None:
    first = rounds.start(reason="test")
    with pytest.raises(Conflict, match="under way"):
        rounds.start(reason="test")
    end(rounds, first, round_states.FAIL)
    assert rounds.start(reason="test") != first
    assert [state["status"] for state in rounds.list()] == ["failed", "running"]


def test_nothing_starts_while_learning_is_paused(rounds: Rounds) -> None:
    rounds.redis.set(keys.LEARNING_PAUSED, "1")
    with pytest.raises(Conflict, match="paused"):
        rounds.start(reason="test")


def test_a_plan_is_written_once_and_survives_a_later_promotion(rounds: Rounds) -> None:
    registry = Registry(rounds.redis)
    with pytest.raises(Unavailable):
        rounds.prepare(rounds.start(reason="test"))
    registry.ensure_base("base", "d")
    round_id = rounds.active()
    assert round_id is not None
    folder = rounds.prepare(round_id)
    plan = rounds_module.read_plan(folder)
    assert (plan.parent, plan.parent_path, plan.recipe) == ("policy-0000", None, "tiny")
    assert rounds_module.read_plan(rounds.prepare(round_id)) == plan


def test_judgements_of_a_snapshot_are_no_news(rounds: Rounds) -> None:
    for _ in range(3):
        eventlog.append(rounds.redis, a_judgement())
    assert rounds.new_judgements() == 3
    rounds.mark_trained({"feedback": eventlog.last_entry(rounds.redis, "feedback")})
    eventlog.append(rounds.redis, a_judgement())
    assert rounds.new_judgements() == 1


def test_judgements_are_counted_once_each_also_when_they_leave_redis_in_between(
    rounds: Rounds, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(redis_url, tmp_path)
    monkeypatch.setenv("HONE_FEEDBACK_ARCHIVE_URL", given.archive_url)
    eventlog.append_all(rounds.redis, [a_judgement() for _ in range(700)])
    assert rounds.new_judgements() == 700
    eventlog.append_all(rounds.redis, [a_judgement() for _ in range(5)])
    archiver(rounds.redis, given).run()
    eventlog.append_all(rounds.redis, [a_judgement() for _ in range(2)])
    assert rounds.new_judgements() == 707
    rounds.redis.xtrim(keys.stream("feedback"), maxlen=0)  # what was counted is not read again
    assert rounds.new_judgements() == 707
    eventlog.append(rounds.redis, a_judgement())
    assert rounds.new_judgements() == 708
    bound = History(rounds.redis).last_entry("feedback")
    rounds.mark_trained({"feedback": bound})
    assert rounds.new_judgements() == 0
    archiver(rounds.redis, given).run()
    assert rounds.new_judgements() == 0


def test_a_lease_has_one_holder_and_a_growing_token(rounds: Rounds) -> None:
    first = Lease.acquire(rounds.redis)
    assert first is not None
    assert Lease.acquire(rounds.redis) is None
    assert first.renew()
    first.release()
    second = Lease.acquire(rounds.redis)
    assert second is not None
    assert int(second.token) > int(first.token)
    assert second.is_mine()
    assert not first.is_mine()
    assert not first.renew()


def test_a_zombie_does_not_take_a_lease_back_once_another_worker_had_it(rounds: Rounds) -> None:
    zombie = Lease.acquire(rounds.redis)
    assert zombie is not None
    rounds.redis.delete(keys.ROUND_LEASE)  # it ran out
    assert zombie.retake()
    rounds.redis.delete(keys.ROUND_LEASE)
    successor = Lease.acquire(rounds.redis)
    assert successor is not None
    successor.release()
    assert not zombie.retake()


def test_who_asks_in_vain_does_not_cost_the_holder_its_lease(rounds: Rounds) -> None:
    holder = Lease.acquire(rounds.redis)
    assert holder is not None
    assert Lease.acquire(rounds.redis) is None
    rounds.redis.delete(keys.ROUND_LEASE)  # it ran out while Redis was away
    assert holder.retake()


def test_a_step_that_always_fails_ends_the_round_with_its_last_words(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_RETRY_S", 0.0)
    monkeypatch.setattr(worker, "MAX_ATTEMPTS", 2)
    monkeypatch.setenv(
        "HONE_FEEDBACK_REDIS_URL", "redis://127.0.0.1:1/0"
    )  # the child finds no Redis
    Registry(rounds.redis).ensure_base("base", "d")
    round_id = rounds.start(reason="test")
    worker.run(rounds, round_id)
    state = rounds.state(round_id)
    assert state["status"] == "failed"
    assert state["step"] == STEPS[0]
    assert state["attempts:snapshot"] == "3"  # two were made, no third
    assert rounds.active() is None
    assert Registry(rounds.redis).aliases()["production"] == "policy-0000"  # nothing was published
    round_decisions.retry(rounds.redis, round_id, actor="op")
    assert rounds.active() == round_id
    assert "attempts:snapshot" not in rounds.state(round_id)


def test_a_step_that_linux_kills_says_what_that_means(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_RETRY_S", 0.0)
    monkeypatch.setattr(worker, "MAX_ATTEMPTS", 1)
    Registry(rounds.redis).ensure_base("base", "d")
    round_id = rounds.start(reason="test")
    working = threading.Thread(target=worker.run, args=(rounds, round_id))
    working.start()
    deadline = time.monotonic() + 300
    while not (steps := [p for p in psutil.Process().children() if "training.step" in p.cmdline()]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    steps[0].kill()
    working.join()
    assert "tokens_per_pass" in json.loads(rounds.state(round_id)["detail"])["error"]


def test_only_a_round_that_ended_badly_goes_on_and_only_one_at_a_time(rounds: Rounds) -> None:
    with pytest.raises(NotFound, match="hone rounds list"):
        round_decisions.retry(rounds.redis, "round-0009", actor="op")
    done = rounds.start(reason="test")
    rounds.begin_step(done, "publish", token="")
    end(rounds, done, round_states.FINISH)
    with pytest.raises(Conflict, match="finished"):
        round_decisions.retry(rounds.redis, done, actor="op")
    failed = rounds.start(reason="test")
    end(rounds, failed, round_states.FAIL)
    other = rounds.start(reason="test")
    with pytest.raises(Conflict, match=f"{other} is under way"):
        round_decisions.retry(rounds.redis, failed, actor="op")
    round_decisions.cancel(rounds.redis, other)
    end(rounds, other, round_states.CANCELLED_NOW)
    round_decisions.retry(rounds.redis, failed, actor="op")
    assert rounds.active() == failed
    assert rounds.state(failed)["status"] == "running"
    assert "ended" not in rounds.state(failed)


def test_an_override_is_kept_beside_the_report_by_the_worker_that_goes_on(
    rounds: Rounds, tmp_path: Path
) -> None:
    """Gateways, which take it, only read that folder."""
    Registry(rounds.redis).ensure_base("base", "d")
    round_id = rounds.start(reason="test")
    gate = rounds.prepare(round_id) / "gate"
    gate.mkdir()
    (gate / "report.json").write_text('{"digest": "abc", "passed": false, "checks": []}')
    end(rounds, round_id, round_states.REFUSE)
    round_decisions.override(rounds.redis, tmp_path, round_id, actor="op", reason="urgent")
    assert not rounds_module.may_publish(gate.parent, digest="abc")

    def lost(*_given: object) -> int:
        raise LeaseLost

    held = Lease.acquire(rounds.redis)
    assert held is not None
    worker.work(rounds, round_id, held, run_step=lost)
    assert rounds_module.may_publish(gate.parent, digest="abc")
    assert not rounds_module.may_publish(gate.parent, digest="abd")


def test_a_cancelled_round_goes_on_where_it_was_and_can_be_cancelled_again(rounds: Rounds) -> None:
    """Nothing of it is live, so that its retry is no publication."""
    round_id = rounds.start(reason="test")
    rounds.begin_step(round_id, "ppo", token="")
    for _ in range(2):
        round_decisions.cancel(rounds.redis, round_id)
        end(rounds, round_id, round_states.CANCELLED_NOW)
        round_decisions.retry(rounds.redis, round_id, actor="op")
        state = rounds.state(round_id)
        assert (state["status"], state["step"]) == (round_states.RUNNING, "ppo")


def test_a_worker_whose_lease_ran_out_neither_goes_on_nor_publishes(rounds: Rounds) -> None:
    round_id = rounds.start(reason="test")
    late = Lease.acquire(rounds.redis)
    assert late is not None
    rounds.redis.delete(keys.ROUND_LEASE)
    mine = Lease.acquire(rounds.redis)
    assert mine is not None
    for step in ("reward", "publish"):
        refused = rounds.begin_step(round_id, step, token=late.token)
        assert (refused.is_done, refused.because) == (False, "lease")
        assert rounds.state(round_id)["step"] == "snapshot"
    assert rounds.begin_step(round_id, "reward", token=mine.token).is_done


def test_a_retried_round_is_worked_on_with_the_recipe_that_lies_in_its_folder(
    rounds: Rounds,
) -> None:
    """What the messages say: change recipe.json, and go on."""
    Registry(rounds.redis).ensure_base("base", "d")
    round_id = rounds.start(reason="test")
    folder = rounds.prepare(round_id)
    changed = Job.open(folder).recipe
    assert changed.model.tokens_per_pass != 7
    text = (folder / "recipe.json").read_text()
    before = f'"tokens_per_pass": {changed.model.tokens_per_pass}'
    assert before in text
    (folder / "recipe.json").write_text(text.replace(before, '"tokens_per_pass": 7'))
    end(rounds, round_id, round_states.FAIL)
    round_decisions.retry(rounds.redis, round_id, actor="op")
    assert Job.open(rounds.prepare(round_id)).recipe.model.tokens_per_pass == 7


def test_only_steps_that_train_are_started_in_several_processes(tmp_path: Path) -> None:
    assert "torch.distributed.run" in worker.step_command("ppo", tmp_path, num_processes=2)
    assert "torch.distributed.run" not in worker.step_command("gate", tmp_path, num_processes=2)
    assert "torch.distributed.run" not in worker.step_command("ppo", tmp_path, num_processes=1)


def test_the_last_words_of_a_step_are_its_own_and_not_torchrun_s(tmp_path: Path) -> None:
    log = tmp_path / "ppo.log"
    log.write_text("2026-01-01 ERROR ppo failed: lower the rate\n====\ntraceback : see the page\n")
    assert worker.last_words(log) == "lower the rate"
    log.write_text("Killed\n")
    assert worker.last_words(log) == "Killed"
    assert worker.last_words(log, after=7) == "it said nothing"


def test_a_cancelled_round_is_ended_by_the_worker_that_takes_it_and_not_begun_again(
    rounds: Rounds,
) -> None:
    Registry(rounds.redis).ensure_base("base", "d")
    round_id = rounds.start(reason="test")
    round_decisions.cancel(rounds.redis, round_id)
    round_decisions.cancel(rounds.redis, round_id)  # again is harmless
    worker.run(rounds, round_id)
    assert rounds.state(round_id)["status"] == "cancelled"
    assert rounds.active() is None
    with pytest.raises(Conflict, match="not under way"):
        round_decisions.cancel(rounds.redis, round_id)
    with pytest.raises(NotFound, match="hone rounds list"):
        round_decisions.cancel(rounds.redis, "round-0009")


def test_what_is_being_published_can_be_rolled_back_but_not_cancelled(rounds: Rounds) -> None:
    round_id = rounds.start(reason="test")
    rounds.begin_step(round_id, "publish", token="")
    with pytest.raises(Conflict, match="roll its version back"):
        round_decisions.cancel(rounds.redis, round_id)
    end(rounds, round_id, round_states.FAIL)
    round_decisions.retry(rounds.redis, round_id, actor="op")  # it may be live by now
    assert rounds.state(round_id)["status"] == round_states.PUBLISHING


def test_a_worker_without_the_lease_changes_nothing(rounds: Rounds) -> None:
    round_id = rounds.start(reason="test")
    held = Lease.acquire(rounds.redis)
    assert held is not None
    stale = rounds.finish(round_id, round_states.FAIL, token="0")
    assert (stale.is_done, stale.because) == (False, "lease")
    assert rounds.finish(round_id, round_states.FAIL, token=held.token).is_done
    assert not rounds.finish(
        round_id, round_states.FAIL, token=held.token
    ).is_done  # once is enough


def test_an_event_that_its_worker_did_not_live_to_log_is_logged_by_the_next(rounds: Rounds) -> None:
    round_id = rounds.start(reason="test")
    left = encode(RoundChanged(id=new_id("rnd_"), created=1.0, round_id=round_id, what="refused"))
    rounds.redis.hset(keys.round_state(round_id), "event:7", left)
    for _ in range(2):
        round_states.record(rounds.redis, round_id)
    told = [event.what for _, event in eventlog.read(rounds.redis, "rounds")]  # type: ignore[union-attr]
    assert told == ["started", "refused"]
