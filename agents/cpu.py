"""CPUs of the computer that the agent runs on."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agents import linux
from agents.bundle import bundle_versions, host_bundle
from agents.pipes import Pipe, local_runner, result_of
from farm.errors import BadArtifact, DeviceLost, DeviceUnfit
from farm.targets import cpu_target
from farm.types import Artifact, DeviceFacts, Measurement, MeasureSpec, Network, Target

FACTS_TIMEOUT_S = 60.0
"""For a runner to start and to look at its host: a second, and much more on a host that swaps."""

MARGIN_S = 10.0
"""A runner keeps a request's time limit itself; one that is so much later is lost."""

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


class CpuAgent:
    """Measures on CPUs of this host, in a runner that is a child process."""

    options: ClassVar[type[BaseModel]] = CpuOptions

    def __init__(self, name: str, options: CpuOptions) -> None:
        self._name = name
        self._options = options
        self._started = False
        self._cores: tuple[int, ...] = ()
        self._pipe: Pipe | None = None
        self._facts: DeviceFacts | None = None

    def __enter__(self) -> Self:
        if self._started:
            raise RuntimeError(f"{self._name} is started already; leave its `with` block first")
        # TVM may have pinned this process since, and the farm may have widened its cores.
        self._cores = choose_cores(self._options, _CORES_AT_IMPORT | os.sched_getaffinity(0))
        self._started = True
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_runner()
        self._started = False

    def facts(self) -> DeviceFacts:
        """See `agents.Agent.facts`."""
        seen = self._ask({"op": "facts", "read": linux.FACT_FILES}, FACTS_TIMEOUT_S)
        self._facts = DeviceFacts(
            device=self._name,
            host=seen["uname"][1],
            cores=linux.with_siblings(seen["files"], self._cores),
            target=self._options.target or _own_target(seen),
            identity=_identity(seen, self._options.threads, self._cores),
            info=_info(seen),
        )
        return self._facts

    def measure(
        self, network: Network, artifact: Artifact | None, spec: MeasureSpec
    ) -> Measurement:
        """See `agents.Agent.measure`."""
        facts = self._facts or self.facts()
        artifact = _checked(artifact, network)
        started_s = time.monotonic()
        result = self._ask(self._request(artifact, spec), spec.timeout_s)
        return Measurement(
            network=network,
            device=self._name,
            fingerprint=facts.fingerprint,
            build_key=artifact.build_key,
            spec=spec,
            samples_s=tuple(map(tuple, result["samples_s"])),
            runs_per_sample=result["runs_per_sample"],
            warmup_s=tuple(result["warmup_s"]),
            witness=_witness(result, self._cores),
            device_s=time.monotonic() - started_s,
            measured_at=datetime.now(UTC).isoformat(),
        )

    def _request(self, artifact: Artifact, spec: MeasureSpec) -> dict[str, Any]:
        return {
            "op": "measure",
            "library": str(artifact.library.absolute()),
            "program": artifact.program.to_json(),
            "threads": self._options.threads,
            "cores": self._cores,
            "seed": spec.seed,
            "spec": asdict(spec),
            "read": linux.witness_files(self._cores),
        }

    def _ask(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The runner's result; a runner that was lost is started again for the next request."""
        try:
            message = {**message, "timeout_s": timeout_s}
            return result_of(self._runner().request(message, timeout_s + MARGIN_S))
        except DeviceLost:
            self._stop_runner()
            raise

    def _runner(self) -> Pipe:
        if not self._started:
            raise RuntimeError(f"{self._name} is not started; use it in a `with` block")
        if self._pipe is None:
            self._pipe = local_runner()
        return self._pipe

    def _stop_runner(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def _own_target(seen: Mapping[str, Any]) -> Target:
    try:
        return cpu_target(seen["uname"][4], linux.cpu_flags(seen["files"]))
    except ValueError as e:
        raise DeviceUnfit(str(e)) from e


def _identity(seen: Mapping[str, Any], threads: int, cores: Sequence[int]) -> dict[str, str]:
    files = seen["files"]
    known = {
        "cpu": linux.cpu_model(files),
        "board": files.get("/proc/device-tree/model"),
        "microcode": linux.cpu_fields(files).get("microcode"),
        "governor": linux.governor(files, cores) or "not visible",
        "kernel": seen["uname"][2],
        "threads": str(threads),
        "cores": linux.format_cpu_list(cores),
        **bundle_versions(host_bundle()),
    }
    return {name: value for name, value in known.items() if value is not None}


def _info(seen: Mapping[str, Any]) -> dict[str, str]:
    memory = linux.memory_bytes(seen["files"])
    known = {"python": seen["python"], "memory_bytes": memory}
    return {name: str(value) for name, value in known.items() if value is not None}


def _witness(result: Mapping[str, Any], cores: Collection[int]) -> dict[str, float]:
    before, after = result["before"], result["after"]
    switches = after["involuntary_switches"] - before["involuntary_switches"]
    host = linux.witness(before["files"], after["files"], cores)
    return {"involuntary_switches": switches, **host}


def _checked(artifact: Artifact | None, network: Network) -> Artifact:
    """The artifact, if its library is what was built. Raises BadArtifact."""
    if artifact is None:
        raise BadArtifact(f"{network.id} must be compiled to be measured here, got no artifact")
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
