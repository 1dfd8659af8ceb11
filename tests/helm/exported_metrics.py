"""What hone's processes and vLLM show at /metrics: name -> labels. What a query may name."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric

from moderation.metrics import Metrics as ModerationMetrics
from serving.exported.families import FAMILIES
from serving.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
VLLM = ROOT / "tests" / "helm" / "vllm_metrics.txt"
TARGET = {"namespace", "pod", "instance", "job"}  # of every sample: Prometheus' own

_WORDS = {  # PromQL's own
    *("and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right"),
    *("bool", "offset"),
}
_STRING = re.compile(r'"[^"]*"|\'[^\']*\'')
_GROUPS = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_MATCHERS = re.compile(r"\{([^}]*)\}")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def exported() -> dict[str, set[str]]:
    """Of a gateway, a moderation server and vLLM."""
    found: dict[str, set[str]] = {}
    for registry in (Metrics().registry, ModerationMetrics().registry):
        found |= _of(registry)
    for name, family in FAMILIES.items():
        found[f"{name}_total" if family.is_counter else name] = set(family.labels)
    return found | recorded()


def recorded() -> dict[str, set[str]]:
    """vLLM's."""
    lines = [line.split() for line in VLLM.read_text().splitlines() if not line.startswith("#")]
    return {name: set(labels) for name, *labels in lines}


def named(query: str) -> set[str]:
    """Metrics of a query."""
    bare = _MATCHERS.sub("", _GROUPS.sub(" ", _STRING.sub('""', query)))
    bare = re.sub(r"\[[^]]*\]", "", bare)
    words = [
        match.group()
        for match in re.finditer(r"[a-zA-Z_:][\w:]*", bare)
        if not bare[match.end() :].lstrip().startswith("(")
    ]
    return set(words) - _WORDS


def labels_of(query: str) -> set[str]:
    """Labels that it matches or groups by."""
    bare = _STRING.sub('""', query)
    grouped = {word.strip() for _, words in _GROUPS.findall(bare) for word in words.split(",")}
    matched = {label for inside in _MATCHERS.findall(bare) for label in _MATCHER.findall(inside)}
    return (grouped | matched) - {""}


def _of(registry: CollectorRegistry) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for collector in list(registry._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for metric in _described(collector):
            for suffix, more in _SAMPLES[metric.type]:
                found[metric.name + suffix] = labels | more
    return found


_SAMPLES: dict[str, tuple[tuple[str, set[str]], ...]] = {
    "gauge": (("", set()),),
    "counter": (("_total", set()),),
    "histogram": (("_bucket", {"le"}), ("_sum", set()), ("_count", set())),
}


def _described(collector: object) -> list[Metric]:
    describe = getattr(collector, "describe", None) or collector.collect  # type: ignore[attr-defined]
    return list(describe())
