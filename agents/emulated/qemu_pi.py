"""A Raspberry Pi that anybody has: an arm64 Debian under QEMU, reached over SSH like a real one."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from functools import cache
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from agents import linux, runner_protocol
from agents.answers import Seen
from agents.cpu import CpuOptions, choose_cores, own_cores
from agents.emulated.qemu_pi_guest import QEMU, Guest
from agents.emulated.qemu_pi_image import USER, Image, image
from agents.on_device.timing import read_files
from agents.remote.agent import RemoteAgent
from agents.remote.device import SshOptions
from agents.remote.reconnection import RECONNECT_S
from agents.runtime.bundle import bundle_versions
from farm.core.hosts import host_name
from farm.core.values import DeviceFacts

_SLOWEST = 80.0
"""Our seconds for one of an instruction clock: QEMU computes with floats in software."""

_BEAT_S = 8.0
"""A ping interrupts what is timed, and its answer takes milliseconds of an instruction clock."""

_SLACK = 3.0
"""On a busy computer it was silent for more than half a minute."""

_MEASURE = {
    "min_sessions": 1,
    "max_sessions": 1,
    "rounds": 2,
    "min_samples": 2,
    "block_s": 0.001,
    "warmup_s": 0.02,
}
"""Enough under an instruction clock, where only what interrupts a sample makes it differ."""


class QemuPiOptions(CpuOptions):
    """cpu: of a Raspberry Pi 3 (cortex-a53), 4 or 5 (cortex-a76); threads: its cores, all used;
    cores: of this computer, that it runs on; memory_bytes: its own.

    instruction_clock: its clock counts instructions, a nanosecond each, whatever this computer
    does meanwhile; without it, a latency is that of the emulation on this computer.
    """

    cpu: Literal["cortex-a53", "cortex-a72", "cortex-a76"] = "cortex-a72"
    memory_bytes: int = Field(512 * 1024**2, ge=256 * 1024**2)
    instruction_clock: bool = True

    @model_validator(mode="after")
    def _the_clock_is_of_one_core(self) -> Self:
        if self.instruction_clock and self.threads > 1:
            raise ValueError(
                "an instruction clock counts what all cores do as if one did it, so it is for "
                f"`threads: 1`; write `instruction_clock: false` for {self.threads}"
            )
        return self


class QemuPiAgent(RemoteAgent):
    """Boots its guest when it is first asked, and switches it off when it is stopped."""

    options: ClassVar[type[BaseModel]] = QemuPiOptions

    def __init__(self, name: str, options: QemuPiOptions) -> None:
        slowest, beat_s = (_SLOWEST, _BEAT_S) if options.instruction_clock else (1.0, None)
        super().__init__(name, options, RECONNECT_S, slowest, beat_s, _SLACK)
        self._pi = options
        self._host_cores: tuple[int, ...] = ()
        self._image: Image | None = None
        self.guest = Guest(
            options.cpu, options.threads, options.memory_bytes, options.instruction_clock
        )

    def _start(self) -> None:
        self._host_cores = choose_cores(self._pi, own_cores())

    def _stop(self) -> None:
        super()._stop()
        self.guest.off()

    def purge(self) -> None:
        """See `agents.KeepsFolder.purge`: the guest itself, which is built again when needed."""
        self._device.close()
        self.guest.off()
        image().delete()

    def advice(self) -> dict[str, Any]:
        """See `agents.Advises.advice`: instructions need no second session to be counted."""
        if not self._pi.instruction_clock:
            return {}
        return {"controls": {"every": 0}, "measure": dict(_MEASURE)}

    def _login(self) -> SshOptions:
        self._image = built = image()
        port = self.guest.on(built, self._host_cores)
        login = {"host": f"{USER}@127.0.0.1:{port}", "key": str(built.key)}
        return SshOptions.model_validate({**login, "host_key": str(built.host_key)})

    def _chosen(self, available: Collection[int]) -> tuple[int, ...]:
        return tuple(sorted(available))

    def _described(self, seen: Seen) -> DeviceFacts:
        here = read_files(list(linux.FACT_FILES))
        versions = bundle_versions(self._device.bundle)
        own = {
            "qemu": _qemu_version(),
            "guest": self._image.folder.name if self._image else "",
            "instruction_clock": str(self._pi.instruction_clock).lower(),
        }
        emulating = {} if self._pi.instruction_clock else {"host_cpu": linux.cpu_model(here) or ""}
        return DeviceFacts(
            device=self._name,
            host=host_name(),
            cores=linux.with_siblings(here, self._host_cores),
            target=self._pi.target or runner_protocol.own_target(seen),
            identity={
                **runner_protocol.identity(seen, self._pi.threads, self._cores, versions),
                **own,
                **emulating,
            },
            info={**runner_protocol.info(seen), **self._pace()},
        )

    def _pace(self) -> dict[str, str]:
        return {"pace": f"{_SLOWEST:g}"} if self._pi.instruction_clock else {}


@cache
def _qemu_version() -> str:
    said = subprocess.run([QEMU, "--version"], check=True, capture_output=True, text=True).stdout
    return said.splitlines()[0].rpartition("version ")[2]
