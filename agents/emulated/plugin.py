"""QEMU's emulation of an arm64 process, with our plugin: both made ready on this host."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from farm.core.errors import DeviceUnfit
from farm.core.hosts import cache_folder

QEMU = "qemu-aarch64"
SOURCE = Path(__file__).with_name("insnclock.c")

_FLAGS = ("-O2", "-shared", "-fPIC", "-fvisibility=hidden")
_TIMEOUT_S = 60.0


def qemu_version() -> str:
    """Such as `7.2.22`. Raises DeviceUnfit where there is no QEMU for arm64 processes."""
    if shutil.which(QEMU) is None:
        raise DeviceUnfit(f"no {QEMU} is installed; it is in Debian's package qemu-user")
    return _version(QEMU)


@cache
def _version(command: str) -> str:
    text = _run([command, "--version"], f"{command} does not run")
    found = re.search(r"version (\d+\.\d+\.\d+)", text)
    if found is None:
        raise DeviceUnfit(f"{command} must say its version, got {text[:80]!r}")
    return found[1]


def plugin() -> Path:
    """The plugin, compiled into the cache the first time. Raises DeviceUnfit without a compiler."""
    api = 1 if int(qemu_version().partition(".")[0]) < 9 else 2
    digest = hashlib.sha256(SOURCE.read_bytes() + repr((_FLAGS, api)).encode()).hexdigest()
    path = cache_folder() / "insnclock" / f"{digest[:16]}.so"
    if not path.exists():
        _compile(path, api)
    return path


def _compile(path: Path, api: int) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise DeviceUnfit(
            "no C compiler `cc` is installed, which QEMU's plugin is compiled with; "
            "it is in Debian's package gcc, with libc6-dev"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as text:
        fresh = Path(text) / path.name
        what = [f"-DAPI_VERSION={api}", "-o", str(fresh), str(SOURCE)]
        _run([compiler, *_FLAGS, *what], "QEMU's plugin does not compile")
        fresh.replace(path)


def _run(argv: list[str], problem: str) -> str:
    try:
        done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.CalledProcessError as e:
        lines = [line for line in e.stderr.splitlines() if "error" in line] or [e.stderr.strip()]
        raise DeviceUnfit(f"{problem}: {lines[0]}") from e
    except (OSError, subprocess.TimeoutExpired) as e:
        raise DeviceUnfit(f"{problem}: {e}") from e
    return done.stdout
