"""`hone drain`: the engine of this machine takes no more requests and finishes those it has.

For what comes before a stop: Kubernetes' preStop. vLLM itself breaks off every answer at SIGTERM.
"""

from __future__ import annotations

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from feedback.errors import HoneError, Unavailable
from serving.settings import ServingSettings

_ROUND_TRIP_S = 10.0


def drain(settings: ServingSettings, *, wait_s: float) -> bool:
    """Returns when no answer is under way, or after `wait_s`: whether none is. Raises Unavailable."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
    host = anywhere.get(settings.engine_host, settings.engine_host)
    request = Request(
        f"http://{f'[{host}]' if ':' in host else host}:{settings.engine_port}/policy/drain",
        data=json.dumps({"wait_s": wait_s}).encode(),
        headers={"authorization": f"Bearer {settings.engine_token}"},
    )
    try:
        with urlopen(request, timeout=wait_s + _ROUND_TRIP_S) as answer:
            return bool(json.load(answer)["drained"])
    except HTTPError as error:
        raise HoneError(f"the engine answered {error.code}: {error.read().decode()}") from None
    except OSError as error:
        raise Unavailable(f"the engine on port {settings.engine_port} is gone: {error}") from None
