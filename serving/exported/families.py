"""Every name that is exported here. A sample is a name, the values of its labels, and a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Sample = tuple[str, tuple[str, ...], float]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One metric."""

    help: str
    labels: tuple[str, ...] = ()
    is_counter: bool = False

    def metric(self, name: str) -> GaugeMetricFamily | CounterMetricFamily:
        """Without samples yet."""
        kind = CounterMetricFamily if self.is_counter else GaugeMetricFamily
        return kind(name, self.help, labels=self.labels)


OWN = {
    "hone_engine_has_wanted": Family(
        help="1 while the engine has every version that it should have.", labels=("url",)
    ),
    "hone_engine_version_loaded": Family(
        help="1 for each version that an engine has.", labels=("url", "version")
    ),
    "hone_engine_in_flight": Family(
        help="Requests of this gateway under way on the engine.", labels=("url",)
    ),
    "hone_engine_load_seconds": Family(
        help="How long the engine took for the version that it loaded last, seconds.",
        labels=("url",),
    ),
    "hone_moderation_up": Family(help="1 while the moderation server answers this gateway."),
    "hone_canary_info": Family(
        help="1 for the canary under way; its status is running or held.",
        labels=("version", "status"),
    ),
    "hone_outbox_age_seconds": Family(help="Age of the oldest event that waits on disk, seconds."),
    "hone_outbox_refusing": Family(
        help="1 after the disk refused an event: what is to be stored is answered 503."
    ),
    "hone_disk_free_bytes": Family(
        help="Room on the disk of the outbox, and of the data folder, bytes.", labels=("disk",)
    ),
    "hone_disk_size_bytes": Family(help="Size of that disk, bytes.", labels=("disk",)),
}

SHARED = {
    "hone_round_info": Family(
        help="1 for the newest round, with its status and step.",
        labels=("round", "kind", "status", "step"),
    ),
    "hone_round_under_way": Family(help="1 while a round is under way."),
    "hone_train_wanted": Family(
        help="1 while a train worker has something to do: what waits in its queue, or a round under way."
    ),
    "hone_round_worker_up": Family(help="1 while a worker holds the lease on a round."),
    "hone_round_attempts": Family(help="Attempts at the step under way; the seventh is not made."),
    "hone_round_started_timestamp_seconds": Family(help="When the newest round began, unix time."),
    "hone_round_progress_ratio": Family(
        help="How far the step under way is, 0 to 1, where it says."
    ),
    "hone_round_spent_seconds": Family(help="How long the newest round was worked on, seconds."),
    "hone_round_figure": Family(
        help="The newest figures of the newest round's curves, as objective/kl.",
        labels=("round", "figure"),
    ),
    "hone_round_outcome": Family(
        help="1 for the last round of each kind that ended: finished, refused, failed, cancelled.",
        labels=("kind", "round", "status"),
    ),
    "hone_round_ended_timestamp_seconds": Family(
        help="When it ended, unix time.", labels=("kind",)
    ),
    "hone_gate_passed": Family(help="1 if the last gate said yes, else 0.", labels=("round",)),
    "hone_gate_win_rate": Family(
        help="Share of held-out prompts that its candidate won.", labels=("round",)
    ),
    "hone_gate_kl_nats": Family(
        help="How far its candidate is from the reference, nats an answer.", labels=("round",)
    ),
    "hone_learning_paused": Family(help="1 while no round may start."),
    "hone_judgements_new": Family(help="Judgements that no round has seen."),
    "hone_judgements_wanted": Family(help="How many of them begin a round."),
    "hone_judgements_last_hour": Family(
        help="Judgements of labelers and keys in the last whole hour."
    ),
    "hone_judgements_target": Family(help="How many an hour are aimed at."),
    "hone_labels_waiting": Family(help="Sets that wait for labelers, by task.", labels=("task",)),
    "hone_worker_up": Family(
        help="1 while a worker of this queue (control, train) says that it lives.",
        labels=("queue",),
    ),
    "hone_clock_up": Family(help="1 while the control worker does what the clock (beat) asks for."),
    "hone_webhook_pending": Family(help="Events that wait to be posted to webhooks."),
    "hone_webhook_failing": Family(help="Webhooks whose last attempt was not answered with a 2xx."),
    "hone_webhook_given_up": Family(
        help="Events that were given up after the last attempt, of the webhooks there are."
    ),
    "hone_log_events": Family(
        help="Events ever written to the log, by kind; needs Redis 7 or Valkey.",
        labels=("kind",),
        is_counter=True,
    ),
    "hone_log_entries": Family(
        help="Events of the log that are still in Redis, by kind.", labels=("kind",)
    ),
    "hone_log_oldest_timestamp_seconds": Family(
        help="When the oldest of them was written, unix time.", labels=("kind",)
    ),
    "hone_log_keep_seconds": Family(
        help="How long events stay in Redis, seconds, by the settings."
    ),
    "hone_redis_memory_bytes": Family(help="Memory that Redis uses."),
    "hone_redis_memory_max_bytes": Family(help="How much it may use; left out: no bound is set."),
    "hone_redis_aof_bytes": Family(help="Size of Redis' append-only file."),
    "hone_redis_persists": Family(
        help="1 while Redis writes what it acknowledges to disk: append-only file on, last write done."
    ),
}

FAMILIES = OWN | SHARED


def metrics(samples: Iterable[Sample]) -> Iterator[Metric]:
    """As Prometheus' client takes them: a family with all of its samples."""
    found: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for name, labels, value in samples:
        if name not in found:
            found[name] = FAMILIES[name].metric(name)
        found[name].add_metric(labels, value)
    yield from found.values()
