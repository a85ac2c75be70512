"""Debian packages of another architecture, downloaded and unpacked without installing anything."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from farm.core.errors import DeviceUnfit

_TIMEOUT_S = 900.0
_MIRROR = "http://deb.debian.org/debian"


class Apt:
    """An apt of its own, in a folder: this computer's packages and architectures are untouched."""

    def __init__(self, folder: Path, suite: str, architecture: str) -> None:
        """Reads the lists of a Debian release, such as `bookworm`. Raises DeviceUnfit."""
        self._folder = folder
        (folder / "lists/partial").mkdir(parents=True)
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        source = f"deb [signed-by={keyring}] {_mirror()} {suite} main\n"
        (folder / "sources.list").write_text(source)
        (folder / "status").touch()
        options = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Dir::Cache": folder,
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
        }
        self._options = [word for name in options for word in ("-o", f"{name}={options[name]}")]
        self._run("apt-get", "-qq", "update")

    def with_dependencies(self, packages: Sequence[str]) -> list[str]:
        """These packages and all that they depend on."""
        plan = self._run("apt-get", "-s", "--no-install-recommends", "install", *packages)
        return [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]

    def first_dependency(self, package: str) -> str:
        """What a package that only names another one stands for."""
        lines = self._run("apt-cache", "depends", package).splitlines()
        return next(line.split()[1] for line in lines if "Depends:" in line)

    def unpack(self, packages: Collection[str], root: Path) -> None:
        """Downloads packages, and unpacks their files into `root`; runs nothing of them."""
        self._run("apt-get", "-qq", "download", *sorted(packages))
        for package in sorted(self._folder.glob("*.deb")):
            _output(["dpkg-deb", "-x", str(package), str(root)], self._folder)
            package.unlink()

    def _run(self, program: str, *words: str) -> str:
        return _output([program, *self._options, *words], self._folder)


def _mirror() -> str:
    """Where this Debian gets its own packages."""
    try:
        argv = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)"]
        lines = _output(argv, Path("/")).splitlines()
    except DeviceUnfit:
        return _MIRROR
    return next((line.split()[2] for line in lines if line.startswith("Debian Debian ")), _MIRROR)


def _output(argv: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            argv, cwd=folder, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except FileNotFoundError as e:
        raise DeviceUnfit(f"there is no command {argv[0]!r}; this needs Debian's apt") from e
    except subprocess.TimeoutExpired as e:
        raise DeviceUnfit(f"{argv[0]} took longer than {_TIMEOUT_S:g} s") from e
    except subprocess.CalledProcessError as e:
        last = (e.stderr.strip().splitlines() or ["no message"])[-1]
        raise DeviceUnfit(f"{argv[0]} cannot have Debian's packages: {last}") from e
    return done.stdout
