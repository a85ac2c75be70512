"""What every agent that has a runner says to it, and makes of what it hears."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agents import linux
from agents.answers import SEEN, SESSION, Seen, TimedBlock, TimedNetwork, fitting
from agents.cpu_target import cpu_target
from farm.core.checks import plain
from farm.core.errors import BadArtifact, DeviceUnfit, blaming
from farm.core.values import Artifact, Target
from farm.measurement.record import Block, Job, Session
from farm.measurement.spec import MeasureSpec

FACTS_TIMEOUT_S = 60.0
"""For a runner to start and to look at its host: a second, and much more on a host that swaps."""

MARGIN_S = 10.0
"""A runner keeps a request's time limit itself; one that is so much later is lost."""


def session_timeout_s(jobs: Sequence[Job], spec: MeasureSpec) -> float:
    """After so long a runner is lost, as its own limit for the session is `MARGIN_S` less."""
    return spec.timeout_s * len(jobs) + MARGIN_S


def session_request(
    jobs: Sequence[Job],
    libraries: Sequence[str],
    spec: MeasureSpec,
    number: int,
    threads: int,
    cores: Sequence[int],
) -> dict[str, Any]:
    """The request for a session. libraries: where each job's library is on the device."""
    artifacts = [job.artifact for job in jobs if job.artifact]
    return {
        "op": "session",
        "networks": [
            {"library": library, "sha256": artifact.sha256, "program": artifact.program.to_json()}
            for library, artifact in zip(libraries, artifacts, strict=True)
        ],
        "threads": threads,
        "cores": list(cores),
        "seed": spec.seed,
        "order": number,
        "spec": asdict(spec),
        "timeout_s": spec.timeout_s,
        "read": linux.telemetry_files(cores),
    }


def seen(result: Mapping[str, Any], device: str) -> Seen:
    """What the result of `facts` says of a host. Raises DeviceError, see `answers.fitting`."""
    return fitting(SEEN, result, device)


def sessions(result: Mapping[str, Any], device_s: float, device: str) -> list[Session]:
    """What a session's result says of each network. device_s: of all, shared by what each took.

    Raises DeviceError, see `answers.fitting`.
    """
    networks = fitting(SESSION, result, device)["networks"]
    taken_s = [_taken_s(network) for network in networks]
    total_s = sum(taken_s)
    shares = [own_s / total_s if total_s else 1 / len(networks) for own_s in taken_s]
    return [
        Session(
            warmup_s=tuple(network["warmup_s"]),
            blocks=tuple(_block(block) for block in network["blocks"]),
            device_s=device_s * share,
            warmup_taken_s=network["warmup_taken_s"],
        )
        for network, share in zip(networks, shares, strict=True)
    ]


def _block(said: TimedBlock) -> Block:
    """Its telemetry is of `linux.telemetry`, of `gpu_telemetry`, and `core_probe`: what the
    fastest probe so far of `agents.on_device.core.CoreProbe` took."""
    return Block(
        samples_s=tuple(said["samples_s"]),
        runs_per_sample=said["runs_per_sample"],
        telemetry={
            **linux.telemetry(said["before"], said["after"]),
            **gpu_telemetry(said["before"].get("gpu", {}), said["after"].get("gpu", {})),
            **({"core_probe": said["core_probe"]} if "core_probe" in said else {}),
        },
        shared=tuple(said.get("shared", ())),
    )


def gpu_telemetry(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What two readings of `agents.on_device.nvidia.Gpu` say: the state after the block, and
    `throttled`, flags of everything that held the clock down before it or after it."""
    states = {f"gpu_{name}": value for name, value in after.items() if name != "throttled"}
    flags = [int(reading["throttled"]) for reading in (before, after) if "throttled" in reading]
    return {**states, **({"throttled": float(flags[0] | flags[-1])} if flags else {})}


def _taken_s(network: TimedNetwork) -> float:
    blocks = (block["after"]["time_s"] - block["before"]["time_s"] for block in network["blocks"])
    return network["load_s"] + network["warmup_taken_s"] + max(0.0, sum(blocks))


def checked(jobs: Sequence[Job]) -> list[Artifact]:
    """The artifacts of all jobs, if their libraries are what was built. Raises BadArtifact."""
    artifacts = []
    for number, job in enumerate(jobs):
        with blaming(number):
            artifacts.append(_checked(job))
    return artifacts


def _checked(job: Job) -> Artifact:
    artifact = job.artifact
    if artifact is None:
        raise BadArtifact(f"{job.network.id} must be compiled to be measured here, got no artifact")
    try:
        found = hashlib.sha256(artifact.library.read_bytes()).hexdigest()
    except OSError as e:
        raise BadArtifact(f"{artifact.library} cannot be read: {e.strerror}") from e
    if found != artifact.sha256:
        raise BadArtifact(
            f"{artifact.library} has the SHA-256 {found[:16]}, built was {artifact.sha256[:16]}; "
            "delete it, and it is built again"
        )
    return artifact


def own_target(seen: Seen) -> Target:
    """What to compile for, of a host's facts. Raises DeviceUnfit where there is no target."""
    try:
        files = seen["files"]
        return cpu_target(seen["uname"][4], linux.cpu_flags(files), linux.arm_part(files))
    except ValueError as e:
        raise DeviceUnfit(str(e)) from e


def identity(
    seen: Seen, threads: int, cores: Collection[int], versions: Mapping[str, str]
) -> dict[str, str]:
    """What a latency on the CPUs of a host depends on. versions: of the runtime."""
    files = seen["files"]
    known = {
        "cpu": linux.cpu_model(files),
        "board": files.get("/proc/device-tree/model"),
        "microcode": linux.cpu_fields(files).get("microcode"),
        "governor": linux.governor(files, cores) or "not visible",
        "kernel": seen["uname"][2],
        "priority": seen.get("priority"),
        "large_pages": linux.large_pages(files),
        "threads": str(threads),
        "cores": linux.format_cpu_list(cores),
        **versions,
    }
    return {name: plain(value) for name, value in known.items() if value is not None}


def info(seen: Seen) -> dict[str, str]:
    """What is worth knowing of a host."""
    memory = linux.memory_bytes(seen["files"])
    known = {"python": seen["python"], "memory_bytes": memory}
    return {name: plain(str(value)) for name, value in known.items() if value is not None}
