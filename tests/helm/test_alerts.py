"""helm/alerts and helm/RUNBOOKS.md: each alert fires when it should, alone, and says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.exported_metrics import ROOT

ALERTS = sorted((ROOT / "helm" / "alerts").glob("*.yaml"))
RUNBOOKS = ROOT / "helm" / "RUNBOOKS.md"
RULES: list[dict[str, Any]] = [
    rule
    for path in ALERTS
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]

HEALTHY = {  # a system that is well and idle: a sample a minute
    "hone_redis_up": "1x80",
    'hone_engine_up{url="a"}': "1x80",
    'hone_engine_up{url="b"}': "1x80",
    'hone_engine_has_wanted{url="a"}': "1x80",
    'hone_engine_has_wanted{url="b"}': "1x80",
    "hone_moderation_up": "1x80",
    'hone_moderation_total{outcome="unscored",stage="prompt"}': "0x80",
    'hone_requests_total{status="200"}': "0+60x80",
    'hone_requests_total{status="503"}': "0+1x80",
    'hone_streams_broken_total{why="engine"}': "0x80",
    'hone_first_token_seconds_bucket{le="1"}': "0+60x80",
    'hone_first_token_seconds_bucket{le="60"}': "0+60x80",
    'hone_first_token_seconds_bucket{le="+Inf"}': "0+60x80",
    "hone_queue_depth": "0x80",
    "hone_outbox_depth": "0x80",
    "hone_outbox_refusing": "0x80",
    'hone_disk_free_bytes{disk="data"}': "50x80",
    'hone_disk_size_bytes{disk="data"}': "100x80",
    "hone_redis_memory_bytes": "50x80",
    "hone_redis_memory_max_bytes": "100x80",
    "hone_redis_persists": "1x80",
    'hone_log_oldest_timestamp_seconds{kind="audit"}': "0x80",
    "hone_log_keep_seconds": "604800x80",
    'hone_labels_waiting{task="rank"}': "9x80",
    "hone_judgements_last_hour": "30x80",
    "hone_webhook_failing": "0x80",
    "hone_clock_up": "1x80",
    "hone_round_under_way": "1x80",
    "hone_round_worker_up": "1x80",
    "hone_round_attempts": "1x80",
    'hone_worker_up{queue="train"}': "1x80",
    'hone_round_outcome{kind="policy",round="round-0001",status="finished"}': "1x80",
    'hone_canaries_ended_total{outcome="rolled_back"}': "0x80",
    'hone_canary_info{status="running",version="policy-0002"}': "1x80",
}
_OUTCOME = 'hone_round_outcome{kind="policy",round="round-0002",status="%s"}'
# What is different, and which alerts fire then: no other does. None: the series is not there.
ILL: dict[str, tuple[dict[str, str | None], set[str]]] = {
    "no gateway": ({"hone_redis_up": None}, {"GatewayAbsent"}),
    "one engine": ({'hone_engine_up{url="a"}': "0x80"}, {"EngineDown"}),
    "all engines": (
        {'hone_engine_up{url="a"}': "0x80", 'hone_engine_up{url="b"}': "0x80"},
        {"EngineDown", "NoEngine"},
    ),
    "an engine on an old version": (
        {'hone_engine_has_wanted{url="a"}': "0x80"},
        {"EngineLacksVersion"},
    ),
    "moderation": ({"hone_moderation_up": "0x80"}, {"ModerationAway"}),
    "unread texts": (
        {'hone_moderation_total{outcome="unscored",stage="prompt"}': "0+1x80"},
        {"TextsUnscored"},
    ),
    "errors": ({'hone_requests_total{status="503"}': "0+10x80"}, {"ErrorsMany"}),
    "streams": ({'hone_streams_broken_total{why="engine"}': "0+1x80"}, {"StreamsBreak"}),
    "slow": ({'hone_first_token_seconds_bucket{le="1"}': "0x80"}, {"FirstTokenSlow"}),
    "full engines": ({"hone_queue_depth": "3x80"}, {"EnginesFull"}),
    "redis": ({"hone_redis_up": "0x80"}, {"RedisAway"}),
    "outbox": ({"hone_outbox_depth": "0+7x80"}, {"OutboxFilling"}),
    "a full disk": ({"hone_outbox_refusing": "1x80"}, {"OutboxRefuses"}),
    "a filling disk": ({'hone_disk_free_bytes{disk="data"}': "9x80"}, {"DiskFull"}),
    "redis' memory": ({"hone_redis_memory_bytes": "90x80"}, {"RedisMemoryFull"}),
    "no append-only file": ({"hone_redis_persists": "0x80"}, {"RedisDoesNotPersist"}),
    "an archive behind": ({"hone_log_keep_seconds": "-259140x80"}, {"ArchiveBehind"}),
    "an empty queue": ({'hone_labels_waiting{task="rank"}': "0x80"}, {"LabelQueueEmpty"}),
    "webhooks": ({"hone_webhook_failing": "1x80"}, {"WebhooksFail"}),
    "beat": ({"hone_clock_up": "0x80"}, {"ClockStopped"}),
    "a dead train worker": (
        {"hone_round_worker_up": "0x80", 'hone_worker_up{queue="train"}': "0x80"},
        {"TrainWorkerAbsent"},
    ),
    "a round that nobody works on": ({"hone_round_worker_up": "0x80"}, {"RoundStuck"}),
    "a step": ({"hone_round_attempts": "4x80"}, {"RoundStepFails"}),
    "a failed round": ({_OUTCOME % "failed": "1x80"}, {"RoundFailed"}),
    "a gate": ({_OUTCOME % "refused": "1x80"}, {"GateRefused"}),
    "a canary": (
        {'hone_canaries_ended_total{outcome="rolled_back"}': "0x60 1x19"},
        {"CanaryRolledBack"},
    ),
    "an undecided canary": (
        {'hone_canary_info{status="held",version="policy-0002"}': "1x80"},
        {"CanaryHeld"},
    ),
}
# And these are no reason to be woken: as many figures, a little below.
WELL: dict[str, dict[str, str | None]] = {
    "as usual": {},
    "nobody asks": {
        'hone_requests_total{status="200"}': "0x80",
        'hone_requests_total{status="503"}': "0x80",
    },
    "two errors at night": {
        'hone_requests_total{status="200"}': "0x80",
        'hone_requests_total{status="503"}': "0x73 2x2",
    },
    "an engine restarts": {'hone_engine_up{url="a"}': "1x70 0 1x9"},
    "a swap of full weights": {'hone_engine_has_wanted{url="a"}': "1x66 0x4 1x5"},
    "redis restarts": {"hone_redis_up": "1x71 0x1 1x3"},
    "no round, no train worker": {
        "hone_round_under_way": "0x80",
        "hone_round_worker_up": "0x80",
        'hone_worker_up{queue="train"}': "0x80",
    },
    "no labelers": {
        'hone_labels_waiting{task="rank"}': "0x80",
        "hone_judgements_last_hour": "0x80",
    },
    "redis without a bound": {"hone_redis_memory_max_bytes": None},
}


def test_every_alert_is_tested() -> None:
    assert set(NAMES) == set().union(*(alerts for _, alerts in ILL.values()))
    assert len(NAMES) == len(set(NAMES))


def test_an_alert_fires_for_its_reason_and_no_other_does(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: Debian's package prometheus has it")
    several = {name: ill for name, ill in ILL.items() if ill[1] != {"GatewayAbsent"}}
    several |= {name: (change, set()) for name, change in WELL.items()}
    cases = [_case(several), _case({"no gateway": ILL["no gateway"]})]
    rules = [str(path) for path in ALERTS]
    file = tmp_path / "alerts.test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": rules, "evaluation_interval": "2m", "tests": cases})
    )
    run = subprocess.run(
        [promtool, "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr + run.stdout


def _case(systems: dict[str, tuple[dict[str, str | None], set[str]]]) -> dict[str, Any]:
    """Each in a namespace of its own: what ails one is nothing to the others."""
    return {
        "interval": "1m",
        "input_series": [
            {"series": _spaced(key, system), "values": values}
            for system, (change, _) in systems.items()
            for key, values in {**HEALTHY, **change}.items()
            if values is not None
        ],
        "promql_expr_test": [
            {
                "expr": 'group by (namespace, alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "74m",
                "exp_samples": [
                    {"labels": _labels(system, alert), "value": 1}
                    for system, (_, alerts) in systems.items()
                    for alert in alerts
                ],
            }
        ],
    }


def _labels(system: str, alert: str) -> str:
    if alert == "GatewayAbsent":
        return f'{{alertname="{alert}"}}'  # of a gateway that is not there nothing is known
    return f'{{namespace="{system}",alertname="{alert}"}}'


def _spaced(series: str, namespace: str) -> str:
    name, _, labels = series.rstrip("}").partition("{")
    own = f'namespace="{namespace}",instance="gateway:8000"'
    return f"{name}{{{own}{',' if labels else ''}{labels}}}"


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_an_alert_says_how_bad_it_is_and_where_it_is_written_what_to_do(
    rule: dict[str, Any],
) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "runbook_url"}
    assert not notes["summary"].endswith(".")
    assert notes["description"].endswith(".")
    assert notes["runbook_url"] == f"RUNBOOKS.md#{rule['alert'].lower()}"


def test_every_alert_has_its_section_in_the_runbooks_and_no_section_is_left_over() -> None:
    sections = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), flags=re.MULTILINE)
    assert sorted(sections) == sorted(NAMES)


def test_a_section_says_what_to_look_at_and_what_to_do() -> None:
    for section in re.split(r"^##? ", RUNBOOKS.read_text(), flags=re.MULTILINE)[2:]:
        name, _, rest = section.partition("\n")
        assert not rest.strip() or "- Do" in rest or "```bash" in rest, name
