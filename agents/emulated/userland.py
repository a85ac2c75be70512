"""An arm64 user land: Debian packages unpacked into the cache. Nothing is installed, no root."""

from __future__ import annotations

import tempfile
from pathlib import Path

from agents.emulated.debian import Apt
from farm.core.hosts import cache_folder

SUITES = {"3.9": "bullseye", "3.11": "bookworm", "3.13": "trixie"}
"""Debian's releases by their Python."""

_WANTED = ("python3-minimal", "libpython3-stdlib", "libstdc++6")

_UNUSED = {"debconf", "dpkg", "libselinux1", "perl-base", "tar", "tzdata"}
"""What these depend on only to be installed, and the largest of the rest."""


def arm64_root(python: str) -> Path:
    """The folder that holds an arm64 Debian with this Python, one of `SUITES`.

    Unpacked the first time, some 30 MB to download; safe to be called by several processes.
    Raises DeviceUnfit where the packages cannot be had.
    """
    root = cache_folder() / f"arm64-{SUITES[python]}"
    if not root.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent, prefix=".new-") as text:
            _unpack(SUITES[python], Path(text), Path(text) / "root")
            rename_unless_there(Path(text) / "root", root)
    return root


def _unpack(suite: str, folder: Path, root: Path) -> None:
    apt = Apt(folder, suite, "arm64")
    apt.unpack(set(apt.with_dependencies(_WANTED)) - _UNUSED, root)
    if not (root / "lib").exists():  # which a package makes that only installing needs
        (root / "lib").symlink_to("usr/lib")


def rename_unless_there(fresh: Path, folder: Path) -> None:
    """Puts a folder into its place; where another process was faster, that one's stays."""
    try:
        fresh.rename(folder)
    except OSError:
        if not folder.exists():
            raise
