"""CPUs of the computer that the agent runs on."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agents import linux, runner_protocol
from agents.answers import Seen
from agents.pipes import Pipe, local_runner, result_of
from agents.runtime.bundle import bundle_versions, host_bundle
from agents.started import StartedAgent
from farm.core.checks import plain
from farm.core.errors import DeviceLost, DeviceUnfit
from farm.core.values import DeviceFacts, Target
from farm.measurement.record import Job, Session
from farm.measurement.spec import MeasureSpec

_CORES_AT_IMPORT = frozenset(os.sched_getaffinity(0))


class CpuOptions(BaseModel):
    """threads: of the network; cores: logical CPUs to pin them to, by default the last ones;
    target: what to compile for, by default what the CPU can do."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    threads: int = Field(1, ge=1)
    cores: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] | None = None
    target: Target | None = None

    @model_validator(mode="after")
    def _each_thread_has_a_core(self) -> Self:
        if self.cores is None:
            return self
        if len(set(self.cores)) < len(self.cores):
            raise ValueError(f"each of `cores` once, got {list(self.cores)}")
        if len(self.cores) < self.threads:
            raise ValueError(
                f"{self.threads} `threads` need as many `cores`, got {list(self.cores)}"
            )
        return self


def choose_cores(options: CpuOptions, available: Collection[int]) -> tuple[int, ...]:
    """The cores to use: those of `options`, or the last ones, as systems like the first.

    Raises DeviceUnfit where they are not available.
    """
    given = f"this process may use {len(available)} ({linux.format_cpu_list(available)})"
    if not set(options.cores or ()) <= set(available):
        raise DeviceUnfit(f"`cores: {list(options.cores or ())}` must be free CPUs, {given}")
    if options.threads > len(available):
        raise DeviceUnfit(
            f"`threads: {options.threads}` needs as many CPUs, {given}; lower `threads` in "
            "cluster.yaml, or start the farm with more CPUs"
        )
    return options.cores or tuple(sorted(available)[-options.threads :])


def own_cores() -> frozenset[int]:
    """The cores that the farm may use on this computer: TVM may have pinned this process since it
    began, and the farm may have widened its cores."""
    return _CORES_AT_IMPORT | os.sched_getaffinity(0)


class CpuAgent(StartedAgent):
    """Measures on CPUs of this host, in a runner that is a child process."""

    options: ClassVar[type[BaseModel]] = CpuOptions
    _accelerator: ClassVar[str] = ""

    def __init__(self, name: str, options: CpuOptions) -> None:
        super().__init__(name)
        self._options = options
        self._cores: tuple[int, ...] = ()
        self._pipe: Pipe | None = None

    def _start(self) -> None:
        self._cores = choose_cores(self._options, own_cores())

    def _stop(self) -> None:
        self._stop_runner()

    def facts(self) -> DeviceFacts:
        """See `farm.measurement.agent.Agent.facts`."""
        request = {
            "op": "facts",
            "read": linux.FACT_FILES,
            "timeout_s": runner_protocol.FACTS_TIMEOUT_S,
        }
        limit_s = runner_protocol.FACTS_TIMEOUT_S + runner_protocol.MARGIN_S
        return self._described(runner_protocol.seen(self._ask(request, limit_s), self._name))

    def _described(self, seen: Seen) -> DeviceFacts:
        """What a runner's facts say of the device."""
        threads, versions = self._options.threads, bundle_versions(host_bundle(self._accelerator))
        return DeviceFacts(
            device=self._name,
            host=plain(seen["uname"][1]),
            cores=linux.with_siblings(seen["files"], self._cores),
            target=self._options.target or runner_protocol.own_target(seen),
            identity=runner_protocol.identity(seen, threads, self._cores, versions),
            info=runner_protocol.info(seen),
        )

    def session(self, jobs: Sequence[Job], spec: MeasureSpec, number: int) -> list[Session]:
        """See `farm.measurement.agent.Agent.session`."""
        libraries = [str(artifact.library.absolute()) for artifact in runner_protocol.checked(jobs)]
        threads = self._options.threads
        request = runner_protocol.session_request(
            jobs, libraries, spec, number, threads, self._cores
        )
        started_s = time.monotonic()
        result = self._ask(request, runner_protocol.session_timeout_s(jobs, spec))
        return runner_protocol.sessions(result, time.monotonic() - started_s, self._name)

    def _ask(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The runner's result; a runner that was lost is started again for the next request."""
        try:
            return result_of(self._runner().request(message, timeout_s))
        except DeviceLost:
            self._stop_runner()
            raise

    def _runner(self) -> Pipe:
        self._must_be_started()
        if self._pipe is None:
            self._pipe = local_runner(self._accelerator)
        return self._pipe

    def _stop_runner(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
