"""How builds, measurements and decisions are carried out: what the campaign works against.

`InlineExecutor` does one thing after the other in this process, without Ray;
`farm.execution.on_ray` has the one that spreads them over Ray actors. Both pass one suite.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from farm.core.errors import BuildError
from farm.core.values import Artifact, DeviceFacts, Network, Target
from farm.execution.schedule import Place
from farm.measurement.drift_correction import Baseline
from farm.measurement.record import Failure, Measurement
from farm.measurement.spec import MeasureSpec
from farm.prediction.decisions import Decision, Question
from farm.store import Request

if TYPE_CHECKING:
    from farm.prediction.decider import Decider


@dataclass(frozen=True)
class BuildJob:
    """model: the bytes of an ONNX model, or of a kernel's definition where `network` is one."""

    build_key: str
    network: Network
    model: bytes
    target: Target


@dataclass(frozen=True)
class MeasureJob:
    """Networks that are measured together on one device.

    artifacts: one for each request; None for a device that needs none.
    baselines: see `farm.measurement.sessions.measure`.
    """

    device: str
    spec: MeasureSpec
    requests: tuple[Request, ...]
    artifacts: tuple[Artifact | None, ...]
    baselines: Mapping[str, Baseline] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    job: BuildJob
    outcome: Artifact | BuildError


@dataclass(frozen=True)
class Measured:
    """outcomes: one for each request. facts: of the device while it measured; None where it could
    not say."""

    job: MeasureJob
    outcomes: tuple[Measurement | Failure, ...]
    facts: DeviceFacts | None = None


@dataclass(frozen=True)
class Decided:
    """outcome: the decision; or why there is none, which may be otherwise when it is asked anew."""

    question: Question
    outcome: Decision | str


Ended = Built | Measured | Decided

MakeDecider = Callable[[], "Decider"]
"""Makes the central predictor from the store, as often as it is lost."""


class Executor(Protocol):
    """Carries out what it is told to, on the cores that it is told; a context manager.

    facts: what the agents found, by device name, once it is entered; of a device that was `away`
        then, what they found when they saw it last.
    decides_at: where the central predictor works.
    """

    facts: Mapping[str, DeviceFacts]
    away: Collection[str]
    decides_at: Place

    @property
    def slots(self) -> Sequence[Place]:
        """A place for each build that may go on at a time; machines come and go."""
        ...

    def __enter__(self) -> Executor:
        """Start the agents. Raises DeviceError for one that cannot work.

        A device that was seen before and is lost now is away, and tried again with each job, unless
        there is no other.
        """
        ...

    def __exit__(self, *exception: object) -> None: ...

    def check_target(self, target: Target) -> None:
        """Raises TargetError for a target that the compiler does not know."""
        ...

    def build(self, job: BuildJob, slot: Place) -> None:
        """Start a build in a slot that is free."""
        ...

    def measure(self, job: MeasureJob) -> None:
        """Start to measure on a device that is idle."""
        ...

    def decide(self, question: Question) -> None:
        """Start to decide what a device measures next."""
        ...

    def wait(self, timeout_s: float) -> list[Ended]:
        """What has ended, as soon as anything has; nothing if the time is up before."""
        ...
