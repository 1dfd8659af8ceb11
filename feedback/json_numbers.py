"""Numbers as JSON means them: `true` is none, `"5"` neither, and 5.0 is 5.

pydantic's lax mode takes the first two, its strict mode refuses the last.
"""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator


def _number(value: Any) -> Any:
    if isinstance(value, bool | str | bytes):
        raise ValueError("a number is expected")
    return value


# After the bounds in an Annotated: before them it would hide them from the JSON schema.
JSON_NUMBER = BeforeValidator(_number)
