"""Everything in this process, one thing after the other, without Ray."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from farm.compile.artifacts import ArtifactStore
from farm.compile.compiler import compiler
from farm.compile.kernel_cache import kernel_cache
from farm.core.errors import DeviceError
from farm.core.hosts import host_name
from farm.core.values import DeviceFacts, Target
from farm.execution.attempts import (
    all_failed,
    attempt_build,
    attempt_decision,
    attempt_measure,
    found_or_seen,
    make_agent,
)
from farm.execution.protocol import BuildJob, Built, Ended, MakeDecider, MeasureJob
from farm.execution.schedule import Place
from farm.inventory.config import Device
from farm.measurement.agent import Agent
from farm.prediction.decisions import Question

if TYPE_CHECKING:
    from farm.prediction.decider import Decider


class InlineExecutor:
    """Everything in this process, one after the other, in the order of the calls."""

    def __init__(
        self,
        devices: Sequence[Device],
        artifacts: ArtifactStore,
        make_decider: MakeDecider | None = None,
        seen: Mapping[str, DeviceFacts] | None = None,
    ) -> None:
        """make_decider: not needed where nothing is decided. seen: what was found on devices that
        may be away at first."""
        self._devices = {device.name: device for device in devices}
        self._seen = seen or {}
        self._artifacts = artifacts
        self._make_decider = make_decider
        self._decider: Decider | None = None
        self._queue: deque[BuildJob | MeasureJob | Question] = deque()
        self._agents: dict[str, Agent] = {}
        self._stack = ExitStack()
        self.facts: Mapping[str, DeviceFacts] = {}
        self.away: Collection[str] = ()
        self.decides_at = Place(host_name(), frozenset(os.sched_getaffinity(0)))
        self.slots: Sequence[Place] = [self.decides_at]

    def __enter__(self) -> InlineExecutor:
        try:
            self.facts, self.away = found_or_seen(
                self._devices.values(), lambda one: self._agent(one.name).facts(), self._seen
            )
        except BaseException:
            self._stack.close()
            raise
        return self

    def _agent(self, name: str) -> Agent:
        """The agent of a device, started now if it was not yet."""
        if name not in self._agents:
            agent = self._stack.enter_context(make_agent(self._devices[name]))
            self._agents[name] = agent
        return self._agents[name]

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
        if self._decider is not None:
            self._decider.close()

    def check_target(self, target: Target) -> None:
        compiler().target(target)

    def build(self, job: BuildJob, slot: Place) -> None:  # noqa: ARG002
        self._queue.append(job)

    def measure(self, job: MeasureJob) -> None:
        self._queue.append(job)

    def decide(self, question: Question) -> None:
        self._queue.appendleft(question)  # a device may be idle until it is answered

    def wait(self, timeout_s: float) -> list[Ended]:  # noqa: ARG002
        if not self._queue:
            return []
        job = self._queue.popleft()
        if isinstance(job, Question):
            assert self._make_decider is not None
            self._decider = self._decider or self._make_decider()
            return [attempt_decision(self._decider, job)]
        if isinstance(job, MeasureJob):
            try:
                agent = self._agent(job.device)
            except DeviceError as error:
                return [all_failed(job, error)]
            return [attempt_measure(agent, job)]
        kernels = kernel_cache(self._artifacts)
        return [Built(job, attempt_build(job, self._artifacts, kernels))]
