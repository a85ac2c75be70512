"""An arm64 computer to run on: Debian's Python for arm64 under qemu's emulation of a process.

Nothing of it is installed: the packages of an arm64 Debian are unpacked into the cache, once.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from agents.pipes import RUNNER, LocalPipe
from farm.hosts import cache_folder
from tests.system import lack, need, runtime

SUITES = {"3.9": "bullseye", "3.11": "bookworm", "3.13": "trixie"}
"""Debian's releases by their Python."""

_ROOTS = ("python3-minimal", "libpython3-stdlib", "libstdc++6")

_UNUSED = {"debconf", "dpkg", "libselinux1", "perl-base", "tar", "tzdata"}
"""What these depend on only to be installed, and the largest of the rest."""


def runner(python: str = "3.11", cpu: str = "cortex-a72") -> LocalPipe:
    """The device's runner on an arm64 CPU that qemu knows as `cpu`, with the slim runtime."""
    need(qemu_aarch64="qemu-user", apt_get="apt", dpkg_deb="dpkg")
    root = _root(SUITES[python])
    qemu = ["qemu-aarch64", "-cpu", cpu, "-L", str(root), str(root / f"usr/bin/python{python}")]
    slim = runtime("aarch64", python)
    return LocalPipe([*qemu, "-I", "-S", str(RUNNER), "--runtime", str(slim)])


def _root(suite: str) -> Path:
    cache = cache_folder()
    root = cache / f"arm64-{suite}"
    if not root.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as text:
            _unpack(suite, Path(text))
            if not (Path(text) / "root/lib").exists():
                (Path(text) / "root/lib").symlink_to("usr/lib")
            (Path(text) / "root").rename(root)
    return root


def _unpack(suite: str, folder: Path) -> None:
    """Unpacks the packages into `folder`/root, with an apt whose only architecture is arm64."""
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb {_mirror()} {suite} main\n")
    (folder / "status").touch()
    apt = [
        *_option("APT::Architecture", "arm64"),
        *_option("APT::Architectures", "arm64"),
        *_option("APT::Sandbox::User", ""),
        *_option("Acquire::Languages", "none"),
        *_option("Dir::Cache", folder),
        *_option("Dir::Etc::sourcelist", folder / "sources.list"),
        *_option("Dir::Etc::sourceparts", "/dev/null"),
        *_option("Dir::State::lists", folder / "lists"),
        *_option("Dir::State::status", folder / "status"),
    ]
    _output(["apt-get", *apt, "-qq", "update"], folder)
    plan = _output(["apt-get", *apt, "-s", "--no-install-recommends", "install", *_ROOTS], folder)
    names = {line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")}
    _output(["apt-get", *apt, "-qq", "download", *sorted(names - _UNUSED)], folder)
    for package in folder.glob("*.deb"):
        _output(["dpkg-deb", "-x", package.name, "root"], folder)


def _option(name: str, value: str | Path) -> list[str]:
    return ["-o", f"{name}={value}"]


def _mirror() -> str:
    """Where this Debian gets its own packages."""
    release = Path("/etc/os-release").read_text()
    facts = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    targets = _output(["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)"], Path("/"))
    for line in targets.splitlines():
        suite, _, address = line.partition(" ")
        if facts.get("ID") == "debian" and suite == facts.get("VERSION_CODENAME"):
            return address
    return lack("only a Debian knows where to download an arm64 Debian")


def _output(argv: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            argv, cwd=folder, check=True, capture_output=True, text=True, timeout=300
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lack(f"no arm64 Debian to run on: {error}: {error.stderr}")
    return done.stdout
