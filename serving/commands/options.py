"""What several commands share: options, and where the running stack is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedback.errors import HoneError, NotFound, Unavailable

if TYPE_CHECKING:
    from urllib.error import HTTPError

    import redis

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
DataDir = Annotated[
    Path, typer.Option(help="Folder of models, log and policies.", envvar="HONE_SERVING_DATA_DIR")
]
Port = Annotated[
    int, typer.Option(help="Port of the gateway.", envvar="HONE_SERVING_PORT", min=1, max=65535)
]
Reason = Annotated[str, typer.Option("--reason", help="Kept in the audit log.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def ready(data_dir: Path) -> dict[str, Any]:
    """What `hone up` wrote for scripts. Raises NotFound with the cure."""
    try:
        found: dict[str, Any] = json.loads((data_dir / "ready.json").read_text())
    except FileNotFoundError:
        raise NotFound(
            f"nothing runs on {data_dir}, or it is not ready yet: start it with `hone up`, or name its "
            "folder with --data; on Kubernetes set HONE_ADMIN_KEY to a key of scope admin, or give --url to "
            "`hone label invite`"
        ) from None
    return found


@contextmanager
def redis_of(data_dir: Path) -> Iterator[redis.Redis]:
    """The stack's Redis: HONE_FEEDBACK_REDIS_URL, else that of the `hone up` on this folder. Within
    the block FeedbackSettings() names the archive of that folder."""
    import redis

    from feedback.connection import connect

    url = os.environ.get("HONE_FEEDBACK_REDIS_URL") or ready(data_dir)["redis_url"]
    try:
        with _archive_in(data_dir), connect(url) as client:
            yield client
    except redis.ConnectionError as error:
        raise Unavailable(f"Redis at {url} does not answer: {error}") from None


@contextmanager
def _archive_in(data_dir: Path) -> Iterator[None]:
    """`hone up` keeps the archive in its folder; a History opens it where the settings say."""
    name = "HONE_FEEDBACK_ARCHIVE_URL"
    is_set = name in os.environ
    os.environ.setdefault(name, str(data_dir / "archive"))
    try:
        yield
    finally:
        if not is_set:
            del os.environ[name]


def log_change(client: redis.Redis, action: str, **detail: Any) -> None:
    """Put a change made on the command line into the log, as the gateway's routes do with theirs."""
    from feedback import eventlog
    from feedback.events import audit

    eventlog.append(client, audit(who(), action, **detail))


def who() -> str:
    """The actor of what is changed on the command line."""
    from getpass import getuser

    return f"cli:{getuser()}"


def post_as_admin(
    path: str, *, data_dir: Path, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """POST to the gateway of the `hone up` on this folder. Raises HoneError with the gateway's words."""
    return _ask_as_admin(path, data_dir=data_dir, body=json.dumps(body or {}).encode())


def get_as_admin(path: str, *, data_dir: Path) -> dict[str, Any]:
    """GET from it. Raises HoneError with the gateway's words."""
    return _ask_as_admin(path, data_dir=data_dir, body=None)


def _ask_as_admin(path: str, *, data_dir: Path, body: bytes | None) -> dict[str, Any]:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    url, key = _gateway(data_dir)
    request = Request(
        url + path,
        data=body,
        headers={
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
        },
    )
    try:
        with urlopen(request, timeout=330) as response:
            answer: dict[str, Any] = json.load(response)
    except HTTPError as error:
        raise _said(error) from None
    except OSError as error:
        raise Unavailable(f"the gateway at {url} does not answer: {error}") from None
    return answer


def _gateway(data_dir: Path) -> tuple[str, str]:
    """Address and a key of scope admin: HONE_ADMIN_KEY and HONE_URL (default: the gateway of this very
    machine or container), else those of the `hone up` on this folder."""
    if key := os.environ.get("HONE_ADMIN_KEY"):
        port = os.environ.get("HONE_SERVING_PORT", "8000")
        return os.environ.get("HONE_URL", f"http://127.0.0.1:{port}").rstrip("/"), key
    stack = ready(data_dir)
    return stack["url"], stack["admin_key"]


def _said(error: HTTPError) -> HoneError:
    body = error.read()
    try:
        said = json.loads(body)["error"]
        return HoneError(str(said["message"]), code=said.get("code"))
    except (ValueError, KeyError, TypeError):
        return HoneError(f"the gateway answered {error.code}")
