"""One build, measurement or decision, carried out: whatever goes wrong becomes an outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from agents import agent_class
from farm.compile.artifacts import ArtifactStore
from farm.compile.kernel_cache import KernelCache
from farm.core.errors import BuildError, DeviceError, DeviceLost, FarmError
from farm.core.values import KERNEL, Artifact, DeviceFacts
from farm.execution.protocol import BuildJob, Decided, Measured, MeasureJob
from farm.inventory.config import Device
from farm.measurement.agent import Agent
from farm.measurement.record import Failure, Job
from farm.measurement.sessions import measure
from farm.prediction.decisions import Question
from farm.store import Request

if TYPE_CHECKING:
    from farm.prediction.decider import Decider


def make_agent(device: Device) -> Agent:
    """The agent of a device, not started."""
    return agent_class(device.kind)(device.name, device.options)


def found_or_seen(
    devices: Iterable[Device],
    found: Callable[[Device], DeviceFacts],
    seen: Mapping[str, DeviceFacts],
) -> tuple[dict[str, DeviceFacts], frozenset[str]]:
    """The facts of devices, and the names of those that are lost: theirs are what was `seen` last.

    Raises what `found` does: DeviceLost only for a device that was not seen yet, or for all.
    """
    facts, lost = {}, dict[str, DeviceLost]()
    for device in devices:
        try:
            facts[device.name] = found(device)
        except DeviceLost as error:
            if device.name not in seen:
                raise
            facts[device.name], lost[device.name] = seen[device.name], error
    if lost and len(lost) == len(facts):
        raise next(iter(lost.values()))
    return facts, frozenset(lost)


def attempt_measure(agent: Agent, job: MeasureJob) -> Measured:
    """Measure; whatever goes wrong becomes a Failure, so that a campaign goes on."""
    timed = [
        Job(request.network, artifact, request.purpose == "control")
        for request, artifact in zip(job.requests, job.artifacts, strict=True)
    ]
    try:
        facts, outcomes = measure(agent, timed, job.spec, job.baselines)
    except DeviceError as e:
        return all_failed(job, e)
    except Exception as e:  # noqa: BLE001 - the one place where the unforeseen becomes a row
        unforeseen = f"{type(e).__name__}: {e}"
        return Measured(job, tuple(_failure(r, "internal", unforeseen) for r in job.requests))
    kept = tuple(
        _failed(request, outcome) if isinstance(outcome, DeviceError) else outcome
        for request, outcome in zip(job.requests, outcomes, strict=True)
    )
    return Measured(job, kept, facts)


def all_failed(job: MeasureJob, error: DeviceError) -> Measured:
    """What is stored of an error that was the end of all networks of a job."""
    return Measured(job, tuple(_failed(request, error) for request in job.requests))


def _failed(request: Request, error: DeviceError) -> Failure:
    return _failure(request, error.kind, str(error), error.retryable)


def _failure(request: Request, kind: str, message: str, retryable: bool = False) -> Failure:
    return Failure(request.network, request.device, kind, message, retryable)


def attempt_build(
    job: BuildJob, artifacts: ArtifactStore, kernels: KernelCache
) -> Artifact | BuildError:
    """Build into `artifacts`, sharing `kernels`; whatever goes wrong becomes a BuildError."""
    import onnx

    from farm.compile import alone
    from farm.compile.build import build

    try:
        if job.network.space == KERNEL:
            kernel, once = alone.defined(job.model), alone.is_once(job.network)
            return alone.artifact(kernel, job.target, artifacts, kernels, once)
        return build(onnx.load_from_string(job.model), job.target, artifacts, kernels)
    except BuildError as e:
        return e
    except FarmError:
        raise
    except Exception as e:  # noqa: BLE001 - as above
        return BuildError(f"{job.network.id}: {type(e).__name__}: {e}")


def attempt_decision(decider: Decider, question: Question) -> Decided:
    """Decide; what goes wrong is said in place of a decision, and a campaign goes on without it."""
    try:
        return Decided(question, decider.decide(question))
    except Exception as e:  # noqa: BLE001 - as above
        return Decided(question, f"{type(e).__name__}: {e}")
