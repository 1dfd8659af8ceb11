"""What is written by a program in helm/: the schema of `settings`, and the table of values in its README.

.venv/bin/python -m tests.helm.written
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from feedback.settings import FeedbackSettings
from moderation.settings import ModerationSettings
from serving.settings import ServingSettings
from tests.helm.chart import FOLDER
from training.settings import TrainingSettings

SCHEMA = FOLDER / "values.schema.json"
README = FOLDER / "README.md"
VALUES = FOLDER / "values.yaml"
_TABLE = re.compile(r"(<!-- values -->\n).*?(<!-- end of values -->)", flags=re.DOTALL)
_KEPT = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern")
_WIDTH = 110


def settings() -> dict[str, Any]:
    """Every environment variable that a part reads -> the schema of its value."""
    found: dict[str, Any] = {}
    for model in (FeedbackSettings, ModerationSettings, ServingSettings, TrainingSettings):
        prefix = model.model_config["env_prefix"]
        for name, field in model.model_json_schema()["properties"].items():
            found[prefix + name.upper()] = _of_field(field)
    return dict(sorted(found.items()))


def _of_field(field: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in field:
        return {"anyOf": [_of_field(one) for one in field["anyOf"] if one != {"type": "null"}]}
    kept = {name: field[name] for name in _KEPT if name in field}
    return {"enum": kept["enum"]} if "enum" in kept else kept


def schema() -> str:
    """The whole schema, with the settings as the code has them."""
    read = json.loads(SCHEMA.read_text())
    read["properties"]["settings"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": settings(),
    }
    return _dump(read) + "\n"


def _dump(value: Any, indent: int = 0) -> str:
    """JSON, with everything on one line that has room there."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or len(flat) + indent <= _WIDTH:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        lines = [f"{pad}{json.dumps(k)}: {_dump(v, indent + 2)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"
    lines = [pad + _dump(one, indent + 2) for one in value]
    return "[\n" + ",\n".join(lines) + "\n" + " " * indent + "]"


def described() -> Iterator[tuple[str, str, Any]]:
    """Path, description and default of every value, in the file's order."""
    loaded = yaml.safe_load(VALUES.read_text())
    path: list[tuple[int, str]] = []
    comment = ""
    for line in VALUES.read_text().splitlines():
        if (said := re.match(r"\s*# (.*)", line)) is not None:
            comment = said.group(1)
        elif (key := re.match(r"( *)([A-Za-z]\w*):", line)) is not None:
            indent, name = len(key.group(1)), key.group(2)
            path = [(i, n) for i, n in path if i < indent] + [(indent, name)]
            if comment:
                value = loaded
                for _indent, part in path:
                    value = value[part]
                yield ".".join(n for _i, n in path), comment, value
            comment = ""
        elif not line.strip():
            comment = ""


def table() -> str:
    lines = ["| value | default | what it is for |", "|---|---|---|"]
    for path, comment, value in described():
        if isinstance(value, dict) and value and _has_own_lines(path):
            continue
        default = json.dumps(value, ensure_ascii=False)
        lines.append(f"| `{path}` | `{default}` | {comment.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def _has_own_lines(path: str) -> bool:
    """Whether what is in it is described one by one."""
    return any(other.startswith(path + ".") for other, _comment, _value in described())


def readme() -> str:
    return _TABLE.sub(lambda found: found[1] + table() + found[2], README.read_text())


if __name__ == "__main__":
    SCHEMA.write_text(schema())
    README.write_text(readme())
