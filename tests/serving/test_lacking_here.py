"""What a command says where the container has not got what it takes: a gateway's is small and only reads /data."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

_RUN = """
import sys
{before}
sys.argv = ["hone", *{words}]
from serving.cli import main
main()
"""


def run(*words: str, before: str, redis_url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _RUN.format(before=before, words=words)],
        env=os.environ | {"HONE_FEEDBACK_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_a_package_that_is_not_there_is_named_with_the_container_that_has_it(
    redis_url: str,
) -> None:
    done = run("label", "stats", before="sys.modules['evalica'] = None", redis_url=redis_url)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (
        "no evalica here: `make install` puts it there; in a cluster run it in the control worker"
        in done.stderr
    )


def test_a_module_of_ours_that_is_missing_is_a_fault(redis_url: str) -> None:
    before = "sys.modules['feedback.quality.report'] = None"
    done = run("label", "stats", before=before, redis_url=redis_url)
    assert "Traceback" in done.stderr


_WRITE = """
from serving.cli import app
@app.command()
def write(number: int):
    raise OSError(number, "no", "/data/archive")
"""


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.EROFS, "in a cluster run it in the control worker's container"),
        (errno.ENOSPC, "make room there, or name another folder, and run it again"),
        (errno.EDQUOT, "make room there, or name another folder, and run it again"),
        (errno.EACCES, "run it as the folder's owner, or name another folder"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named_with_the_cure(
    redis_url: str, number: int, cure: str
) -> None:
    done = run("write", str(number), before=_WRITE, redis_url=redis_url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: [Errno {number}] no: '/data/archive'; {cure}")


def test_a_disk_that_is_too_full_to_sort_on_is_said_to_be(redis_url: str) -> None:
    before = """
import sqlite3
from serving.cli import app
@app.command()
def write():
    database = sqlite3.connect(":memory:")
    database.execute("PRAGMA max_page_count = 1")
    database.execute("CREATE TABLE found (id)")
"""
    done = run("write", before=before, redis_url=redis_url)
    assert done.returncode == 1
    assert done.stderr.startswith("error: database or disk is full; make room there")


def test_another_fault_of_the_system_keeps_its_traceback(redis_url: str) -> None:
    done = run("write", str(errno.ENOENT), before=_WRITE, redis_url=redis_url)
    assert "Traceback" in done.stderr
