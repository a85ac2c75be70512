"""Packages for other computers: pip downloads their wheels, and what is needed is unpacked."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from zipfile import ZipFile

from farm.core.errors import DeviceUnfit

_GLIBC_MINORS = range(17, 29)
"""A device has glibc 2.28 or later (Debian 10, 2019), so it takes wheels for any of these."""

_TIMEOUT_S = 1800.0
"""TVM's wheel has 100 MB."""


@dataclass(frozen=True)
class Wheel:
    """A distribution as pip names it, for a machine (as `uname -m` says) and a Python (`3.11`)."""

    distribution: str
    version: str
    machine: str
    python: str


def unpack(wheel: Wheel, members: Sequence[str], folder: Path) -> None:
    """Downloads a wheel, and extracts the files that one of the patterns `members` matches.

    Raises DeviceUnfit where pip cannot have it.
    """
    with tempfile.TemporaryDirectory(prefix="farm-wheel-") as download:
        _pip_download(wheel, download)
        (path,) = Path(download).glob("*.whl")
        with ZipFile(path) as archive:
            for name in archive.namelist():
                if any(fnmatch(name, pattern) for pattern in members):
                    archive.extract(name, folder)


def _pip_download(wheel: Wheel, folder: str) -> None:
    platforms = [f"--platform=manylinux_2_{n}_{wheel.machine}" for n in _GLIBC_MINORS]
    what = [f"--python-version={wheel.python}", *platforms, "--only-binary=:all:", "--no-deps"]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    requirement = f"{wheel.distribution}=={wheel.version}"
    pip = [sys.executable, "-m", "pip", "download", *quiet, *what, "-d", folder, requirement]
    try:
        subprocess.run(pip, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.CalledProcessError as e:
        raise _missing(wheel, (e.stderr.strip().splitlines() or ["no message"])[-1]) from e
    except subprocess.TimeoutExpired as e:
        raise _missing(wheel, f"pip took longer than {_TIMEOUT_S:g} s") from e


def _missing(wheel: Wheel, reason: str) -> DeviceUnfit:
    return DeviceUnfit(
        f"no wheel of {wheel.distribution} {wheel.version} for Python {wheel.python} on "
        f"{wheel.machine} can be had ({reason}); look whether 'pip download' works here, "
        "or give the device another Python"
    )
