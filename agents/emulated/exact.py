"""What devices have in common that one core of this computer stands for: a start, and facts."""

from __future__ import annotations

import os
from collections.abc import Mapping

from agents import linux
from agents.cpu import CpuOptions, choose_cores
from agents.on_device.timing import read_files
from agents.started import StartedAgent
from farm.core.hosts import host_name
from farm.core.values import DeviceFacts, Target


class ExactAgent(StartedAgent):
    """Its samples are exact (`DeviceFacts.exact`). A subclass is a device, and holds sessions."""

    def __init__(self, name: str, core: int | None) -> None:
        """core: the logical CPU to work on; the last one where that is None."""
        super().__init__(name)
        self._core = core
        self._cores: tuple[int, ...] = ()
        self._facts: DeviceFacts | None = None

    def _target(self) -> Target | None:
        """What to compile for; None for a device that needs no artifact."""
        raise NotImplementedError

    def _identity(self) -> Mapping[str, str]:
        """What a latency depends on. Raises DeviceUnfit where something is not installed."""
        raise NotImplementedError

    def _start(self) -> None:
        wanted = CpuOptions(threads=1, cores=None if self._core is None else (self._core,))
        self._cores = choose_cores(wanted, os.sched_getaffinity(0))

    def facts(self) -> DeviceFacts:
        """See `farm.measurement.agent.Agent.facts`."""
        self._must_be_started()
        if self._facts is None:
            self._facts = DeviceFacts(
                device=self._name,
                host=host_name(),
                cores=linux.with_siblings(read_files(list(linux.FACT_FILES)), self._cores),
                target=self._target(),
                identity=self._identity(),
                exact=True,
            )
        return self._facts
