"""A running emulated Raspberry Pi: QEMU as a child process, SSH on a port of this computer."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from agents.emulated.qemu_pi_image import Image
from agents.linux import format_cpu_list
from farm.core.errors import DeviceLost, DeviceUnfit

QEMU = "qemu-system-aarch64"

_BOOT_S = 180.0
"""It takes 4 to 8 s, and many times longer on a core that is busy."""

_AGAIN_S = 20.0
"""For a guest that is on: it may be booting after a reset."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 5.0
"""For a server's greeting. Connections made before it listens are never answered."""


class Guest:
    """Off until it is asked to be `on`. Its disk is forgotten when it is switched off."""

    def __init__(self, cpu: str, cpus: int, memory_bytes: int, instruction_clock: bool) -> None:
        """cpu: as QEMU names it; instruction_clock: a nanosecond for each instruction."""
        self._machine = ["-cpu", cpu, "-smp", str(cpus), "-m", str(memory_bytes // 1024**2)]
        self._machine += ["-icount", "shift=0"] if instruction_clock else []
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def on(self, image: Image, cores: Sequence[int]) -> int:
        """The port that its SSH server answers on, once it does. Raises DeviceLost, DeviceUnfit.

        cores: of this computer, that it runs on. A guest that is on and does not answer is
        switched off and on again.
        """
        if self._process is not None and not self._answers(_AGAIN_S):
            self.off()
        if self._process is None:
            self._start(image, cores)
            if not self._answers(_BOOT_S):
                reason = self._last_words()
                self.off()
                raise DeviceLost(f"the emulated Pi does not boot: {reason}")
        return self._port

    def off(self) -> None:
        """As if the plug was pulled."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            shutil.rmtree(self._folder)

    def reset(self) -> None:
        """As if its reset button was pressed; what is on its disk stays."""
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self._folder / "control"))
            with control.makefile("rw") as lines:
                lines.readline()
                for command in ("qmp_capabilities", "system_reset"):
                    lines.write(json.dumps({"execute": command}) + "\n")
                    lines.flush()
                    lines.readline()

    def _start(self, image: Image, cores: Sequence[int]) -> None:
        if shutil.which(QEMU) is None:
            raise DeviceUnfit(f"there is no command {QEMU!r}; install qemu-system-arm")
        self._folder = Path(tempfile.mkdtemp(prefix="farm-pi-"))
        self._port = _free_port()
        on_cores = ["taskset", "-c", format_cpu_list(cores)]
        ends_with_us = ["setpriv", "--pdeathsig", "KILL"]
        with (self._folder / "console").open("wb") as console:
            self._process = subprocess.Popen(
                [*ends_with_us, *on_cores, QEMU, *self._machine, *self._devices(image)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def _devices(self, image: Image) -> list[str]:
        forward = f"hostfwd=tcp:127.0.0.1:{self._port}-:22"
        return [
            *("-M", "virt,gic-version=2", "-nographic", "-nodefaults", "-serial", "stdio"),
            *("-qmp", f"unix:{self._folder / 'control'},server=on,wait=off"),
            *("-kernel", str(image.kernel), "-initrd", str(image.initramfs)),
            *("-append", "console=ttyAMA0 quiet loglevel=3 panic=-1"),
            *("-drive", f"if=none,id=disk,file={image.disk},format=raw,snapshot=on,cache=unsafe"),
            *("-device", "virtio-blk-device,drive=disk"),
            # Nothing but this port leads in, and nothing leads out.
            *("-netdev", f"user,id=net,restrict=on,{forward}"),
            *("-device", "virtio-net-device,netdev=net"),
        ]

    def _answers(self, timeout_s: float) -> bool:
        """Whether the guest's SSH server greets within a time."""
        deadline_s, wait_s = time.monotonic() + timeout_s, _FIRST_WAIT_S
        while self._process is not None and self._process.poll() is None:
            if self._greets(wait_s):
                return True
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.1)
            wait_s = min(1.2 * wait_s, _LONGEST_WAIT_S)
        return False

    def _greets(self, timeout_s: float) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1) as probe:
            probe.settimeout(timeout_s)
            return probe.recv(4) == b"SSH-"
        return False

    def _last_words(self) -> str:
        lines = (self._folder / "console").read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
