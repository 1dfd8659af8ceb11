"""The load client: so many requests at a time for so long, and what came of them.

A process of its own, so that its work is not charged to what it measures: a `Load` as JSON on
stdin, a `Sample` as JSON on stdout.

    python -m serving.bench.load < load.json
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import Any

import aiohttp
import orjson
import psutil

from feedback.errors import HoneError

_TIMEOUT = aiohttp.ClientTimeout(total=300, connect=10)
_WARM_S = 0.5
_PIN = "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); "
_PIN += "os.execv(sys.argv[2], sys.argv[2:])"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What to send, to whom, how long."""

    url: str  # of the server
    headers: dict[str, str]
    bodies: list[dict[str, Any]]  # sent in turn
    path: str = "/v1/chat/completions"
    concurrency: int = 1  # requests in flight
    seconds: float = 0.0  # no request begins later; those in flight are waited for
    stagger_s: float = (
        0.0  # the first requests begin spread over this time; 0: at once, after a warm-up
    )
    expect: str = ""  # the text of every answer; empty: not known
    num_frames: int = 0  # pieces of text in every stream; 0: not known
    pids: tuple[int, ...] = ()  # processes whose CPU time and memory are read, with their children


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What came of one load. Written by the client process."""

    num_sent: int  # the warm-up's too
    num_failed: int  # no 200, broken off, or another text than expected
    errors: list[str]  # the different ones, a few
    seconds: float
    took_ms: list[float]  # of every good answer, to its end
    first_ms: list[float]  # of every good stream, to its first piece of text
    num_frames: int
    num_lost: int  # frames expected and not received
    num_tokens: int  # as `usage` says, where it was asked for
    cpu_s: float  # user and system time of `pids`
    rss_bytes: int  # of `pids`, at the end
    num_logged: int = 0  # completions that came into the log; counted by the bench, as is the next
    num_moderated: int = 0  # texts that moderation was asked about

    @property
    def num_requests(self) -> int:
        return len(self.took_ms) + self.num_failed


@dataclass(kw_only=True)
class Answer:
    """One request, as its sender saw it. Times are perf_counter seconds."""

    began: float
    ended: float = math.inf
    times: list[float] = field(default_factory=list)  # of each piece of text of a stream
    text: str = ""
    num_tokens: int = 0
    id: str = ""
    version: str = ""  # x-policy-version
    said: set[str] = field(default_factory=set)  # versions that the chunks name
    is_withheld: bool = False  # moderation ended it
    error: str = ""


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop where it is installed (it comes with vLLM)."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)


def pinned(command: Iterable[str], *, to: Iterable[int]) -> tuple[str, ...]:
    """The command, on these cores only. The process stays the same: its pid is the command's."""
    return (sys.executable, "-c", _PIN, ",".join(map(str, to)), *command)


def quantile(values: Sequence[float], q: float) -> float:
    """Nearest rank: a value that was measured. 0 for none."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)] if values else 0.0


async def send(load: Load, *, on: Iterable[int] | None) -> Sample:
    """The load, from a client process, on these cores if any. Raises HoneError when that fails."""
    command = (sys.executable, "-m", "serving.bench.load")
    process = await asyncio.create_subprocess_exec(
        *(pinned(command, to=on) if on is not None else command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate(orjson.dumps(load))
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise HoneError(f"the load client ended with {process.returncode}; its reason is above")
    return Sample(**orjson.loads(output))


async def drive(load: Load) -> Sample:
    """The load, from this process."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        warm_s = 0.0 if load.stagger_s else min(_WARM_S, load.seconds)
        warm = await _drive(session, load, warm_s) if warm_s else []
        began, cpu_s = time.perf_counter(), _cpu_s(load.pids)
        answers = await _drive(session, load, load.seconds)
        seconds, cpu_s = time.perf_counter() - began, _cpu_s(load.pids) - cpu_s
    good = [answer for answer in answers if not answer.error]
    return Sample(
        num_sent=len(warm) + len(answers),
        num_failed=len(answers) - len(good),
        errors=sorted({answer.error for answer in answers if answer.error})[:5],
        seconds=seconds,
        took_ms=[(answer.ended - answer.began) * 1e3 for answer in good],
        first_ms=[(answer.times[0] - answer.began) * 1e3 for answer in good if answer.times],
        num_frames=sum(len(answer.times) for answer in answers),
        num_lost=sum(max(0, load.num_frames - len(answer.times)) for answer in answers),
        num_tokens=sum(answer.num_tokens for answer in good),
        cpu_s=cpu_s,
        rss_bytes=sum(process.memory_info().rss for process in _family(load.pids)),
    )


async def _drive(session: aiohttp.ClientSession, load: Load, seconds: float) -> list[Answer]:
    answers: list[Answer] = []
    bodies = cycle(load.bodies)
    end = time.perf_counter() + seconds

    async def slot(number: int) -> None:
        await asyncio.sleep(load.stagger_s * number / load.concurrency)
        while True:
            answers.append(await ask(session, load, next(bodies)))
            if time.perf_counter() >= end:
                return

    await asyncio.gather(*map(slot, range(load.concurrency)))
    return answers


async def ask(session: aiohttp.ClientSession, load: Load, body: dict[str, Any]) -> Answer:
    """One request, to its end, however it ends."""
    answer = Answer(began=time.perf_counter())
    url, headers = load.url + load.path, load.headers
    try:
        async with session.post(url, data=orjson.dumps(body), headers=headers) as response:
            if response.status not in (200, 201):
                raise HoneError(f"{response.status}: {(await response.text())[:200]}")
            answer.version = response.headers.get("x-policy-version", "")
            await _reader(load, body)(response, answer)
        if load.expect and answer.text != load.expect:
            raise HoneError(f"another text than expected, of {len(answer.text)} characters")
    except (HoneError, TimeoutError, aiohttp.ClientError) as error:
        answer.error = str(error) or repr(error)
    answer.ended = time.perf_counter()
    return answer


def _reader(load: Load, body: dict[str, Any]) -> Callable[..., Awaitable[None]]:
    if not load.path.endswith("/completions"):
        return _read_any
    return _read_stream if body.get("stream") else _read_whole


async def _read_any(response: aiohttp.ClientResponse, answer: Answer) -> None:
    answer.id = orjson.loads(await response.read())["id"]


async def _read_whole(response: aiohttp.ClientResponse, answer: Answer) -> None:
    body = orjson.loads(await response.read())
    answer.text = body["choices"][0]["message"]["content"]
    answer.num_tokens = (body.get("usage") or {}).get("completion_tokens", 0)


async def _read_stream(response: aiohttp.ClientResponse, answer: Answer) -> None:
    rest, is_done = b"", False
    while data := await response.content.readany():
        *blocks, rest = (rest + data).split(b"\n\n")
        for block in blocks:
            is_done = is_done or block == b"data: [DONE]"
            if block.startswith(b"data: {"):
                _take(answer, orjson.loads(block[6:]))
    if not is_done:
        raise HoneError("the stream ended without [DONE]")


def _take(answer: Answer, chunk: dict[str, Any]) -> None:
    if "error" in chunk:
        raise HoneError(str(chunk["error"]))
    answer.id = chunk["id"]
    answer.said.add(chunk["model"])
    if fingerprint := chunk.get("system_fingerprint"):
        answer.said.add(fingerprint.rpartition("-")[0])
    if usage := chunk.get("usage"):
        answer.num_tokens = usage["completion_tokens"]
    for choice in chunk["choices"]:
        if text := choice["delta"].get("content"):
            answer.text += text
            answer.times.append(time.perf_counter())
        answer.is_withheld |= choice.get("finish_reason") == "content_filter"


def _family(pids: Iterable[int]) -> list[psutil.Process]:
    roots = [psutil.Process(pid) for pid in pids]
    return roots + [child for root in roots for child in root.children(recursive=True)]


def _cpu_s(pids: Iterable[int]) -> float:
    times = [process.cpu_times() for process in _family(pids)]
    return sum(each.user + each.system for each in times)


async def _main() -> None:
    load = Load(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(asdict(await drive(load))))


if __name__ == "__main__":
    run_loop(_main())
