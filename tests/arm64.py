"""An arm64 computer to run on: Debian's Python for arm64 under qemu's emulation of a process."""

from __future__ import annotations

import subprocess
from pathlib import Path

from agents.emulated.userland import arm64_root
from agents.pipes import RUNNER, LocalPipe
from farm.core.errors import DeviceUnfit
from tests.system import lack, need, runtime


def runner(python: str = "3.11", cpu: str = "cortex-a72") -> LocalPipe:
    """The device's runner on an arm64 CPU that qemu knows as `cpu`, with the slim runtime."""
    root = _root(python)
    qemu = ["qemu-aarch64", "-cpu", cpu, "-L", str(root), str(root / f"usr/bin/python{python}")]
    slim = runtime("aarch64", python)
    return LocalPipe([*qemu, "-I", "-S", str(RUNNER), "--runtime", str(slim)])


def _root(python: str) -> Path:
    need(qemu_aarch64="qemu-user", apt_get="apt", dpkg_deb="dpkg")
    try:
        return arm64_root(python)
    except DeviceUnfit as error:
        lack(str(error))


def need_root() -> None:
    """Ends a test where there is no arm64 Debian to run on."""
    _root("3.11")


MISBEHAVIOUR = {
    "crash": "mov x0, #0; ldr x0, [x0]",
    "hang": "0: b 0b",
    "lost": "mov x8, #173; svc #0; mov x1, #9; mov x8, #129; svc #0; 0: b 0b",
}
"""What a library does when it is loaded, in assembly; 173 is getppid, 129 is kill."""

_SOURCE = """\
.section .init_array, "aw"
.xword misbehave
.text
misbehave: %s
"""


def misbehaving(name: str, folder: Path) -> Path:
    """A library that does what `MISBEHAVIOUR` says, and so never comes to have a network."""
    need(aarch64_linux_gnu_as="binutils-aarch64-linux-gnu")
    source, library = folder / "misbehaving.s", folder / "misbehaving.so"
    source.write_text(_SOURCE % MISBEHAVIOUR[name].replace(";", "\n"))
    compiled = source.with_suffix(".o")
    subprocess.run(["aarch64-linux-gnu-as", "-o", compiled, source], check=True)
    subprocess.run(["aarch64-linux-gnu-ld", "-shared", "-o", library, compiled], check=True)
    return library
