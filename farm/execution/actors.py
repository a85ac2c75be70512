"""What works in Ray's processes: compile actors, the agents of devices, the central predictor."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from farm.compile.artifacts import ArtifactStore
from farm.compile.compiler import compiler
from farm.compile.kernel_cache import kernel_cache
from farm.core.errors import BuildError, DeviceError
from farm.core.hosts import cache_folder, set_affinity
from farm.core.values import Artifact, DeviceFacts, Target
from farm.execution.attempts import (
    all_failed,
    attempt_build,
    attempt_decision,
    attempt_measure,
    make_agent,
)
from farm.execution.protocol import BuildJob, Decided, MakeDecider, Measured, MeasureJob
from farm.inventory.config import Device
from farm.measurement.agent import Agent
from farm.prediction.decisions import Question

if TYPE_CHECKING:
    from farm.prediction.decider import Decider


class Builder:
    """A compile actor: builds on the cores that it is told."""

    def __init__(self, root: Path | None) -> None:
        """root: of the farm's own artifacts, or None on a computer that does not have them."""
        self._artifacts = ArtifactStore(root or cache_folder() / "artifacts")
        self._kernels = kernel_cache(self._artifacts)

    def check_target(self, target: Target) -> None:
        """Raises TargetError."""
        compiler().target(target)

    def build(self, job: BuildJob, cores: Collection[int]) -> tuple[Artifact | BuildError, bytes]:
        """The artifact and its library's bytes: the disk may not be the farm's."""
        set_affinity(cores)
        built = attempt_build(job, self._artifacts, self._kernels)
        return built, b"" if isinstance(built, BuildError) else built.library.read_bytes()


class PredictorActor:
    """The central predictor, made from the store; Ray makes it again if it dies."""

    def __init__(self, make: MakeDecider, cores: Collection[int]) -> None:
        set_affinity(cores)
        self._make = make
        self._decider: Decider | None = None

    def decide(self, question: Question) -> Decided:
        self._decider = self._decider or self._make()
        return attempt_decision(self._decider, question)


class DeviceActor:
    """Holds the agent of one device."""

    def __init__(self, device: Device, cores: Collection[int] | None) -> None:
        if cores is not None:
            set_affinity(cores)
        self._device = device
        self._agent: Agent | None = None

    def lives(self) -> None:
        """Answers at once, also while it measures."""

    def facts(self) -> DeviceFacts:
        """What the agent found. Raises DeviceError for one that cannot work."""
        return self._started().facts()

    def measure(self, job: MeasureJob, libraries: Sequence[bytes]) -> Measured:
        """libraries: the bytes of each artifact's, for a computer that does not have them."""
        try:
            agent = self._started()
        except DeviceError as e:
            return all_failed(job, e)
        pairs = zip(job.artifacts, libraries, strict=True)
        here = tuple(artifact and _localised(artifact, library) for artifact, library in pairs)
        return replace(attempt_measure(agent, replace(job, artifacts=here)), job=job)

    def _started(self) -> Agent:
        """The agent; started here and not before, as Ray may have started this actor again."""
        if self._agent is None:
            agent = make_agent(self._device)
            agent.__enter__()
            self._agent = agent
        return self._agent

    def stop(self) -> None:
        if self._agent is not None:
            self._agent.__exit__(None, None, None)


def _localised(artifact: Artifact, library: bytes) -> Artifact:
    """The artifact, with its library on this computer."""
    if artifact.library.exists():
        return artifact
    cache = ArtifactStore(cache_folder() / "artifacts")
    return cache.put(artifact.build_key, library, artifact.program, artifact.build_s)
