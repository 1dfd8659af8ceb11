"""Celery on Redis: thin tasks. `tick` looks and decides, `run_round` hands over to training.worker.

Messages are acknowledged early: a lost or doubled one does no harm, because `tick` looks every few
seconds for a round that nobody works on, and the round's lease lets one worker in. So neither the
broker's visibility timeout nor `reject_on_worker_lost` can start a round twice or loop for ever.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
from typing import Any, cast

from celery import Celery
from celery.signals import worker_ready, worker_shutdown

from feedback import keys
from feedback.archive import held
from feedback.connection import connect
from feedback.erasure import requests
from feedback.settings import FeedbackSettings
from moderation.settings import ModerationSettings
from serving.canary.store import Canaries
from serving.settings import ServingSettings
from serving.webhooks.delivery import Deliverer
from training import presence, retention, worker
from training.rounds import Rounds
from training.schedule import decide
from training.settings import TrainingSettings

TICK_S = 3.0
CLOCK_LOCK_S = 15  # a beat that died is replaced after so long
WEBHOOKS_S = 5.0
ARCHIVE_S = 60.0
ERASE_S = 5.0
OWN_FIGURES_S = 120.0
RETAIN_S = 600.0
_ARCHIVER = "feedback.archive.process"
_QUEUED_S = 20  # a message for the train worker that was not taken in this time is sent again

_REDIS_URL = FeedbackSettings().redis_url
# Where the address says no more of TLS than that: kombu would take any certificate.
_TLS = {"ssl_cert_reqs": ssl.CERT_REQUIRED} if _REDIS_URL.startswith("rediss://") else None

app = Celery("hone", broker=_REDIS_URL)
app.conf.update(
    broker_use_ssl=_TLS,
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_acks_late=False,
    task_default_queue="control",
    task_routes={
        "training.tasks.run_round": {"queue": "train"},
        "training.tasks.create_snapshot": {"queue": "train"},
    },
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"global_keyprefix": keys.CELERY, "visibility_timeout": 86_400},
    beat_schedule={
        "tick": {"task": "training.tasks.tick", "schedule": TICK_S, "options": {"expires": TICK_S}},
        "webhooks": {
            "task": "training.tasks.deliver_webhooks",
            "schedule": WEBHOOKS_S,
            "options": {"expires": WEBHOOKS_S},
        },
        "archive": {
            "task": "training.tasks.archive",
            "schedule": ARCHIVE_S,
            "options": {"expires": ARCHIVE_S},
        },
        "erase": {
            "task": "training.tasks.erase",
            "schedule": ERASE_S,
            "options": {"expires": ERASE_S},
        },
        "retain": {
            "task": "training.tasks.retain",
            "schedule": RETAIN_S,
            "options": {"expires": RETAIN_S},
        },
        "own_figures": {
            "task": "training.tasks.own_figures",
            "schedule": OWN_FIGURES_S,
            "options": {"expires": OWN_FIGURES_S},
        },
    },
    timezone="UTC",
    # The clock is in Redis: of several beats one holds the lock, and another goes on when it dies.
    beat_scheduler="redbeat.RedBeatScheduler",
    beat_max_loop_interval=TICK_S,
    redbeat_redis_url=_REDIS_URL,
    redbeat_key_prefix=keys.CELERY + "redbeat:",
    redbeat_lock_timeout=CLOCK_LOCK_S,
)

_deliverer = Deliverer(_REDIS_URL)
_children: dict[str, subprocess.Popen[bytes]] = {}  # module -> the last process that ran it


def open_rounds() -> Rounds:
    """Rounds as the environment describes them."""
    return Rounds(connect(FeedbackSettings().redis_url), ServingSettings(), TrainingSettings())


@app.task(name="training.tasks.tick")
def tick() -> None:
    """Start a round when it is time, and see to it that somebody works on the one under way."""
    rounds = open_rounds()
    rounds.redis.set(keys.CLOCK_UP, 1, ex=presence.GONE_AFTER_S)
    settings = TrainingSettings()
    decision = decide(
        active=rounds.active(),
        is_paused=bool(rounds.redis.exists(keys.LEARNING_PAUSED)),
        request=cast("bytes | None", rounds.redis.get(keys.ROUND_REQUESTED)),
        new_judgements=rounds.new_judgements(),
        last_started=max((float(state["started"]) for state in rounds.list()), default=0.0),
        now=time.time(),
        min_new_judgements=settings.min_new_judgements,
        schedule_s=settings.schedule_s,
        # Other backends have no heads to fit.
        new_corrections=rounds.new_corrections() if ModerationSettings().backend == "onnx" else 0,
        min_new_corrections=settings.min_new_corrections,
        canary=canary.version if (canary := Canaries(rounds.redis).running()) else None,
    )
    if decision.start:
        rounds.redis.delete(keys.ROUND_REQUESTED)
        rounds.start(kind=decision.kind, recipe=decision.recipe, reason=decision.reason)
    active = rounds.active()
    if active is None or rounds.redis.exists(keys.ROUND_LEASE):
        return
    if rounds.redis.set(keys.ROUND_QUEUED, active, nx=True, ex=_QUEUED_S):
        run_round.apply_async((active,), expires=_QUEUED_S)


@app.task(name="training.tasks.retain")
def retain() -> None:
    """Free what rounds and versions of long ago need no more."""
    rounds, settings, data_dir = open_rounds(), TrainingSettings(), ServingSettings().data_dir
    retention.prune(rounds, data_dir, keep=settings.keep_rounds)
    retention.prune_versions(rounds, data_dir, keep=settings.keep_versions)


@app.task(name="training.tasks.deliver_webhooks")
def deliver_webhooks() -> None:
    """See to it that somebody delivers: a thread here, unless another worker holds the lease."""
    _deliverer.ensure_running()


@app.task(name="training.tasks.archive")
def archive() -> None:
    """Old events leave Redis, and what is erased its files: by a process of its own, which `tick` does
    not wait for. It begins with what a killed one left, so one runs at the start, whether it is time or
    not."""
    settings = FeedbackSettings()
    with connect(settings.redis_url) as client:
        is_time = held.is_time(client, settings, now=time.time())
    if is_time or _ARCHIVER not in _children or _children[_ARCHIVER].poll() != 0:
        _ensure_running(_ARCHIVER)


@app.task(name="training.tasks.erase")
def erase() -> None:
    """Carry out the erasures that were asked for."""
    with connect(FeedbackSettings().redis_url) as client:
        is_any_queued = requests.is_any_queued(client)
    if is_any_queued:
        _ensure_running("serving.erasures")


def _ensure_running(module: str) -> None:
    if module not in _children or _children[module].poll() is not None:
        _children[module] = subprocess.Popen([sys.executable, "-m", module])


@worker_ready.connect
def _say_it_lives(sender: Any, **_signal: Any) -> None:
    queues = list(sender.app.amqp.queues.consume_from)
    presence.begin(FeedbackSettings().redis_url, queues)


@worker_shutdown.connect
def _stop_others(**_signal: Any) -> None:
    _deliverer.stop()
    for child in _children.values():
        if child.poll() is None:
            child.kill()  # the next one goes on
            child.wait()


@app.task(name="training.tasks.run_round", bind=True)
def run_round(_task: Any, round_id: str) -> None:
    """Work on a round until it ends. One at a time: the train worker runs with concurrency 1."""
    rounds = open_rounds()
    rounds.redis.delete(keys.ROUND_QUEUED)
    worker.run(rounds, round_id)


@app.task(name="training.tasks.create_snapshot")
def create_snapshot(
    name: str, *, heldout_share: float = 0.2, validation_share: float = 0.0
) -> None:
    """Freeze everything said up to now, in a process of its own. `name` makes a message that comes twice
    harmless: the second one finds the snapshot made."""
    shares = ("--heldout-share", str(heldout_share), "--validation-share", str(validation_share))
    command = [sys.executable, "-m", "training", "snapshot", "create", "--name", name, *shares]
    redis_url = {"HONE_FEEDBACK_REDIS_URL": FeedbackSettings().redis_url}
    data = ("--data", str(ServingSettings().data_dir))
    subprocess.run([*command, *data], check=True, env=os.environ | redis_url)
