"""Linux computers over SSH, such as Raspberry Pis."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from agents import linux, runner_protocol
from agents.answers import Seen
from agents.cpu import CpuOptions, choose_cores
from agents.pipes import result_of
from agents.remote.device import FIRST_S, SshDevice, SshOptions
from agents.runtime.bundle import bundle_versions
from agents.started import StartedAgent
from farm.core.checks import plain
from farm.core.errors import DeviceLost
from farm.core.hosts import host_name
from farm.core.values import DeviceFacts
from farm.measurement.record import Job, Session
from farm.measurement.spec import MeasureSpec

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
"""Tells whether the device is this computer: its devices take turns."""


class RemoteAgent(StartedAgent, ABC):
    """What all devices have in common that are reached over SSH."""

    def __init__(
        self,
        name: str,
        options: CpuOptions,
        patience_s: float = FIRST_S,
        slowest: float = 1.0,
        beat_s: float | None = None,
        slack: float = 1.0,
    ) -> None:
        """patience_s, beat_s, slack: as in `SshDevice`; slowest: our seconds that one of the
        device's may take."""
        super().__init__(name)
        self._options = options
        self._slowest = slowest
        self._cores: tuple[int, ...] = ()
        self._device = SshDevice(self._login, patience_s, beat_s, slack)

    @abstractmethod
    def _login(self) -> SshOptions:
        """Makes sure that the device is on; how it is reached. Raises DeviceError."""

    @abstractmethod
    def _chosen(self, available: Collection[int]) -> tuple[int, ...]:
        """The device's cores to use. Raises DeviceUnfit."""

    @abstractmethod
    def _described(self, seen: Seen) -> DeviceFacts:
        """seen: what the runner says of its host."""

    def _stop(self) -> None:
        self._device.close()

    def facts(self) -> DeviceFacts:
        """See `farm.measurement.agent.Agent.facts`."""
        read = [*linux.FACT_FILES, _BOOT_ID]
        result = self._ask({"op": "facts", "read": read}, runner_protocol.FACTS_TIMEOUT_S)
        seen = runner_protocol.seen(result, self._name)
        self._cores = self._chosen(seen["affinity"])
        return self._described(seen)

    def session(self, jobs: Sequence[Job], spec: MeasureSpec, number: int) -> list[Session]:
        """See `farm.measurement.agent.Agent.session`."""
        artifacts = runner_protocol.checked(jobs)
        if not self._cores:
            self.facts()
        with self._until_lost() as device:
            libraries = [device.keep(artifact.library.read_bytes()) for artifact in artifacts]
        threads = self._options.threads
        request = runner_protocol.session_request(
            jobs, libraries, spec, number, threads, self._cores
        )
        started_s = time.monotonic()
        limit_s = runner_protocol.session_timeout_s(jobs, spec) - runner_protocol.MARGIN_S
        result = self._ask(request, limit_s)
        return runner_protocol.sessions(result, time.monotonic() - started_s, self._name)

    def purge(self) -> None:
        """See `agents.KeepsFolder.purge`."""
        self._device.purge()

    def leave(self) -> None:
        """See `agents.KeepsFolder.leave`."""
        if self._device.was_empty:
            self._device.purge()

    def _ask(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The runner's result; timeout_s: that the runner has."""
        with self._until_lost() as device:
            request = {"timeout_s": timeout_s, **message}
            most_s = timeout_s * self._slowest + runner_protocol.MARGIN_S
            return result_of(device.pipe().request(request, most_s))

    @contextmanager
    def _until_lost(self) -> Iterator[SshDevice]:
        """The device; where it is lost, the next to ask reaches it again."""
        self._must_be_started()
        try:
            yield self._device
        except DeviceLost:
            self._device.close()
            raise


class SshAgent(RemoteAgent):
    """Measures on the CPUs of a computer that is reached over SSH."""

    options: ClassVar[type[BaseModel]] = SshOptions

    def __init__(self, name: str, options: SshOptions) -> None:
        super().__init__(name, options)
        self._ssh = options

    def _login(self) -> SshOptions:
        return self._ssh

    def _chosen(self, available: Collection[int]) -> tuple[int, ...]:
        return choose_cores(self._ssh, available)

    def _described(self, seen: Seen) -> DeviceFacts:
        options, versions = self._ssh, bundle_versions(self._device.bundle)
        return DeviceFacts(
            device=self._name,
            host=_host(seen, options.host),
            cores=linux.with_siblings(seen["files"], self._cores),
            target=options.target or runner_protocol.own_target(seen),
            identity=runner_protocol.identity(seen, options.threads, self._cores, versions),
            info=runner_protocol.info(seen),
        )


def _host(seen: Seen, address: str) -> str:
    """This computer's name where the device is this computer, else a name of its own."""
    with_boot_id = Path(_BOOT_ID)
    here = with_boot_id.read_text().strip() if with_boot_id.exists() else None
    if here == seen["files"].get(_BOOT_ID):
        return host_name()
    return plain(f"{seen['uname'][1]} ({address})")
