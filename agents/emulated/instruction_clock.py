"""A CPU whose clock counts instructions and cache misses: exact, and the same on every host."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.emulated import guest
from agents.emulated.exact import ExactAgent
from agents.emulated.profiles import PROFILES, Counts, Profile, seconds
from agents.pipes import result_of
from agents.runner_protocol import checked
from agents.runtime.bundle import bundle, bundle_versions
from farm.core.errors import blaming
from farm.core.values import Artifact, Target
from farm.measurement.record import Block, Job, Session
from farm.measurement.spec import MeasureSpec

START_S = 120.0
"""For QEMU and Python to start, on a host that does much else."""


class InstructionClockOptions(BaseModel):
    """profile: one of `PROFILES`, or a CPU of one's own, described as a `Profile`.
    core: the host's logical CPU that the emulation keeps busy; the last one by default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    profile: Literal["cortex-a53", "cortex-a72", "cortex-a76"] | Profile = "cortex-a72"
    core: int | None = Field(None, ge=0)


class InstructionClockAgent(ExactAgent):
    """Runs the same artifact and runtime as an arm64 device, under QEMU, one thread."""

    options: ClassVar[type[BaseModel]] = InstructionClockOptions

    def __init__(self, name: str, options: InstructionClockOptions) -> None:
        super().__init__(name, options.core)
        named = options.profile
        self._profile = named if isinstance(named, Profile) else PROFILES[named]

    def _target(self) -> Target:
        return self._profile.target

    def _identity(self) -> dict[str, str]:
        return {
            "profile": self._profile.model_dump_json(),
            **guest.versions(),
            **bundle_versions(bundle("aarch64", guest.PYTHON)),
        }

    def session(self, jobs: Sequence[Job], spec: MeasureSpec, number: int) -> list[Session]:  # noqa: ARG002
        """See `farm.measurement.agent.Agent.session`. One run is exact, so that a block is one
        sample."""
        self._must_be_started()
        sessions = []
        for index, artifact in enumerate(checked(jobs)):
            with blaming(index):
                sessions.append(self._session(artifact, spec))
        return sessions

    def _session(self, artifact: Artifact, spec: MeasureSpec) -> Session:
        started_s = time.monotonic()
        counts = self._count(artifact, spec)
        latency_s = seconds(counts, self._profile)
        block = Block((latency_s,), 1, _telemetry(counts))
        return Session((latency_s,), (block,) * spec.rounds, time.monotonic() - started_s)

    def _count(self, artifact: Artifact, spec: MeasureSpec) -> Counts:
        request: dict[str, Any] = {
            "op": "count",
            "networks": [{"library": guest.NETWORK, "program": artifact.program.to_json()}],
            "cores": self._cores,
            "seed": spec.seed,
            "timeout_s": spec.timeout_s,
        }
        with guest.counting(self._profile, artifact.library) as pipe:
            result = result_of(pipe.request(request, spec.timeout_s + START_S))
        return Counts.from_words(result["counts"], len(self._profile.caches))


def _telemetry(counts: Counts) -> dict[str, float]:
    misses = {f"l{level}_misses": n for level, n in enumerate(counts.misses, start=1)}
    return {"instructions": counts.instructions, "accesses": counts.accesses, **misses}
