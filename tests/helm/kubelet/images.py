"""What stands in for the images: this machine's system and Python, read-only, and what our Dockerfile sets."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LINKS = (
    "bin",
    "lib",
    "lib64",
    "sbin",
)  # into /usr on most machines, folders of their own elsewhere


def system() -> list[Path]:
    """All that a container sees of this machine, but for `python`: no home, no data."""
    return [each for each in [Path("/usr"), *(Path("/", name) for name in _LINKS)] if each.exists()]


def python() -> list[Path]:
    """Our interpreter, packages and sources. Mounted last: a checkout may be under /tmp, as volumes are."""
    return [Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT]


def environment(image: str) -> dict[str, str]:
    """`ENV` of the image, and where our Python is here."""
    if "hone-" not in image:
        return {"PATH": _SYSTEM}
    venv = Path(sys.prefix).resolve()
    settings = _env(ROOT / "Dockerfile") | {"PYTHONPATH": str(ROOT)}
    return settings | {"PATH": f"{venv}/bin:{_SYSTEM}"}


def write_etc(folder: Path) -> None:
    """An /etc for all containers; `hosts` is where the cluster writes the names of pods and services."""
    folder.mkdir()
    for name in ("ld.so.cache", "localtime", "mime.types"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), folder / name)
    (folder / "passwd").write_text("root:x:0:0::/:/bin/sh\nhone:x:10001:10001::/tmp:/bin/sh\n")
    (folder / "group").write_text("root:x:0:\nhone:x:10001:\n")
    (folder / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    (folder / "hosts").symlink_to("/run/names/hosts")


def _env(dockerfile: Path) -> dict[str, str]:
    """Of the stage that all our images have in common."""
    text = dockerfile.read_text().replace("\\\n", " ")
    stage = text.split(" AS runtime")[1].split("\nFROM ")[0]
    (line,) = re.findall(r"^ENV (.*)$", stage, flags=re.MULTILINE)
    return dict(re.findall(r"(\w+)=(\S+)", line))
