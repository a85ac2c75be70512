"""One build or measurement, carried out: whatever goes wrong becomes an outcome."""

from __future__ import annotations

from collections.abc import Sequence

from agents import agent_class
from farm.compile.artifacts import ArtifactStore
from farm.compile.kernels import KernelCache
from farm.core.errors import BuildError, DeviceError, FarmError
from farm.core.values import Artifact
from farm.execution.protocol import BuildJob, Measured, MeasureJob
from farm.inventory.config import Device
from farm.measurement.agent import Agent
from farm.measurement.record import Failure, Job
from farm.measurement.sessions import measure


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
