"""How builds and measurements are carried out: the boundary that the campaign works against.

`InlineExecutor` does one thing after the other in this process, without Ray; `farm.cluster` has
the one that spreads them over Ray actors. Both pass one suite.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from agents import Agent, agent_class
from farm.compile.artifacts import ArtifactStore
from farm.compile.compiler import compiler
from farm.compile.kernels import KernelCache
from farm.config import Device
from farm.errors import BuildError, DeviceError, FarmError
from farm.hosts import host_name
from farm.measuring import measure
from farm.references import Usual
from farm.schedule import Place
from farm.store import Request
from farm.types import (
    Artifact,
    DeviceFacts,
    Failure,
    Job,
    Measurement,
    MeasureSpec,
    Network,
    Target,
)


@dataclass(frozen=True)
class BuildJob:
    """model: the bytes of an ONNX model; network: for messages."""

    build_key: str
    network: Network
    model: bytes
    target: Target


@dataclass(frozen=True)
class MeasureJob:
    """artifact: None for a device that needs none; usual: see `measuring.measure`."""

    request: Request
    spec: MeasureSpec
    artifact: Artifact | None
    usual: Mapping[str, Usual] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    job: BuildJob
    outcome: Artifact | BuildError


@dataclass(frozen=True)
class Measured:
    """facts: of the device while it measured; None where it could not say."""

    job: MeasureJob
    outcome: Measurement | Failure
    facts: DeviceFacts | None = None


class Executor(Protocol):
    """Carries out what it is told to, on the cores that it is told; a context manager.

    facts: what the agents found, by device name, once it is entered.
    slots: a place for each build that may go on at a time.
    """

    facts: Mapping[str, DeviceFacts]
    slots: Sequence[Place]

    def __enter__(self) -> Executor:
        """Start the agents. Raises DeviceError for one that cannot work."""
        ...

    def __exit__(self, *exception: object) -> None: ...

    def check_target(self, target: Target) -> None:
        """Raises TargetError for a target that the compiler does not know."""
        ...

    def build(self, job: BuildJob, slot: Place) -> None:
        """Start a build in a slot that is free."""
        ...

    def measure(self, jobs: Sequence[MeasureJob]) -> None:
        """Start to measure networks together on one device that is idle, all by one spec."""
        ...

    def wait(self, timeout_s: float) -> list[Built | Measured]:
        """What has ended, as soon as anything has; nothing if the time is up before."""
        ...


class InlineExecutor:
    """Everything in this process, one after the other, in the order of the calls."""

    def __init__(self, devices: Sequence[Device], artifacts: ArtifactStore) -> None:
        self._devices = devices
        self._artifacts = artifacts
        self._queue: deque[tuple[BuildJob, Place] | Sequence[MeasureJob]] = deque()
        self._agents: dict[str, Agent] = {}
        self._stack = ExitStack()
        self.facts: Mapping[str, DeviceFacts] = {}
        self.slots: Sequence[Place] = [Place(host_name(), frozenset(os.sched_getaffinity(0)))]

    def __enter__(self) -> InlineExecutor:
        with ExitStack() as stack:
            for device in self._devices:
                self._agents[device.name] = stack.enter_context(make_agent(device))
            self.facts = {name: agent.facts() for name, agent in self._agents.items()}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def check_target(self, target: Target) -> None:
        compiler().target(target)

    def build(self, job: BuildJob, slot: Place) -> None:
        self._queue.append((job, slot))

    def measure(self, jobs: Sequence[MeasureJob]) -> None:
        self._queue.append(jobs)

    def wait(self, timeout_s: float) -> list[Built | Measured]:  # noqa: ARG002
        if not self._queue:
            return []
        work = self._queue.popleft()
        if isinstance(work, tuple):
            job, _ = work
            kernels = kernel_cache(self._artifacts)
            return [Built(job, attempt_build(job, self._artifacts, kernels))]
        return list(attempt_measure(self._agents[work[0].request.device], work))


def make_agent(device: Device) -> Agent:
    """The agent of a device, not started."""
    return agent_class(device.kind)(device.name, device.options)


def attempt_measure(agent: Agent, jobs: Sequence[MeasureJob]) -> list[Measured]:
    """Measure; whatever goes wrong becomes a Failure, so that a campaign goes on."""
    try:
        timed = [Job(j.request.network, j.artifact, j.request.purpose == "anchor") for j in jobs]
        facts, outcomes = measure(agent, timed, jobs[0].spec, jobs[0].usual)
    except DeviceError as e:
        return [Measured(job, failure(job, e)) for job in jobs]
    except Exception as e:  # noqa: BLE001 - the one place where the unforeseen becomes a row
        unforeseen = f"{type(e).__name__}: {e}"
        return [Measured(job, _failure(job, "internal", unforeseen, False)) for job in jobs]
    return [
        Measured(job, failure(job, o) if isinstance(o, DeviceError) else o, facts)
        for job, o in zip(jobs, outcomes, strict=True)
    ]


def failure(job: MeasureJob, error: DeviceError) -> Failure:
    """What is stored of an error."""
    return _failure(job, error.kind, str(error), error.retryable)


def _failure(job: MeasureJob, kind: str, message: str, retryable: bool) -> Failure:
    return Failure(job.request.network, job.request.device, kind, message, retryable)


def attempt_build(
    job: BuildJob, artifacts: ArtifactStore, kernels: KernelCache
) -> Artifact | BuildError:
    """Build into `artifacts`, sharing `kernels`; whatever goes wrong becomes a BuildError."""
    import onnx

    from farm.compile.build import build

    try:
        return build(onnx.load_from_string(job.model), job.target, artifacts, kernels)
    except BuildError as e:
        return e
    except FarmError:
        raise
    except Exception as e:  # noqa: BLE001 - as above
        return BuildError(f"{job.network.id}: {type(e).__name__}: {e}")


def kernel_cache(artifacts: ArtifactStore) -> KernelCache:
    """The kernels beside the artifacts: one cache for all compile actors of a computer."""
    return KernelCache(artifacts.root / "kernels")
