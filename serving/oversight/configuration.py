"""Settings as this gateway was started with, secrets masked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

    from serving.gateway import Gateway

MASK = "••••••••"
_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")  # user and password


def read(gateway: Gateway) -> dict[str, Any]:
    """By package; each setting with the environment variable that sets it."""
    sections = {
        "serving": gateway.settings,
        "feedback": gateway.feedback_settings,
        "moderation": gateway.moderation_settings,
    }
    return {
        "object": "settings",
        "data": [{"package": name, "settings": shown(of)} for name, of in sections.items()],
    }


def shown(settings: BaseSettings) -> list[dict[str, Any]]:
    """A field that is left out of its settings' repr is a secret; so is who logs in by a URL."""
    prefix = type(settings).model_config.get("env_prefix", "")
    rows = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        is_secret = not field.repr
        rows.append(
            {
                "variable": f"{prefix}{name}".upper(),
                "value": (MASK if value else "") if is_secret else _masked(value),
                "is_secret": is_secret,
                "is_default": name not in settings.model_fields_set,
                "description": field.description or "",
            }
        )
    return rows


def _masked(value: Any) -> str:
    plain = to_jsonable_python(value)
    if plain is None:
        return ""
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, list):
        return ", ".join(_masked(each) for each in plain)
    return _IN_URL.sub(f"{MASK}@", str(plain))
