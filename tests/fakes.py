"""A device that is not there, for tests of everything above the agents. Knows nothing of pytest.

In cluster.yaml its kind is `tests.fakes:FakeAgent`.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from farm.errors import (
    BadArtifact,
    DeviceError,
    DeviceLost,
    MeasureTimeout,
    NetworkCrashed,
    WrongOutput,
    blaming,
)
from farm.types import Block, DeviceFacts, Job, MeasureSpec, Network, Session, Target

_ERRORS: dict[str, type[DeviceError]] = {
    "artifact": BadArtifact,
    "crash": NetworkCrashed,
    "hang": MeasureTimeout,
    "lost": DeviceLost,
    "wrong_output": WrongOutput,
}


class FakeOptions(BaseModel):
    """A made-up device.

    latency_s: scale of its latencies; noise: relative, one-sided, as a busy host's is.
    seed: devices with the same seed have the same latencies up to `latency_s`.
    slow_start_s, slow_s: how long its start and each measurement really take.
    target: None for a device that needs no artifact.
    fault: what goes wrong, with the networks of `fault_codes` (None: with all), and for so many
        times (None: always).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    latency_s: float = 1e-3
    noise: float = 0.01
    seed: int = 0
    slow_start_s: float = 0.0
    slow_s: float = 0.0
    host: str = "fake-host"
    cores: Annotated[tuple[int, ...], Field(strict=False)] = ()
    target: Target | None = None
    fault: Literal["artifact", "crash", "hang", "lost", "wrong_output"] | None = None
    fault_codes: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    fault_times: int | None = None


def fake_latency_s(code: str, options: FakeOptions) -> float:
    """The latency of a network: additive in the words of its code, so that it can be learnt."""
    words = re.findall(r"\w+", code)
    return options.latency_s * (1 + sum(_cost(word, options.seed) for word in words))


def _cost(word: str, seed: int) -> float:
    """In [0, 1)."""
    return hashlib.sha256(f"{seed}/{word}".encode()).digest()[0] / 256


class FakeAgent:
    """See `FakeOptions`."""

    options: ClassVar[type[BaseModel]] = FakeOptions

    def __init__(self, name: str, options: FakeOptions) -> None:
        self._name = name
        self._options = options
        self._started = False
        self._struck = 0

    def __enter__(self) -> Self:
        if self._started:
            raise RuntimeError(f"{self._name} is started already; leave its `with` block first")
        time.sleep(self._options.slow_start_s)
        self._started = True
        return self

    def __exit__(self, *_: object) -> None:
        self._started = False

    def facts(self) -> DeviceFacts:
        """See `agents.Agent.facts`."""
        self._must_be_started()
        options = self._options
        identity = {"seed": str(options.seed), "latency_s": str(options.latency_s)}
        return DeviceFacts(self._name, options.host, options.cores, options.target, identity)

    def session(self, jobs: Sequence[Job], spec: MeasureSpec, number: int) -> list[Session]:
        """See `agents.Agent.session`."""
        self._must_be_started()
        sessions = []
        for index, job in enumerate(jobs):
            with blaming(index):
                sessions.append(self._session(job, spec, number))
        return sessions

    def _session(self, job: Job, spec: MeasureSpec, number: int) -> Session:
        self._strike(job.network, spec)
        if self._options.target is not None and job.artifact is None:
            raise BadArtifact(f"{job.network.id} must be compiled to be measured here")
        started_s = time.monotonic()
        time.sleep(self._options.slow_s)
        seeds = (self._options.seed, self._name, job.network.id, spec.seed, number)
        rng = random.Random("/".join(map(str, seeds)))
        witness = {"started_s": started_s, "ended_s": time.monotonic()}
        rounds = [self._samples(job.network, spec.min_samples, rng) for _ in range(spec.rounds)]
        return Session(
            warmup_s=self._samples(job.network, 1, rng),
            blocks=tuple(Block(samples_s, 1, witness) for samples_s in rounds),
            device_s=self._options.slow_s + sum(map(sum, rounds)),
        )

    def _must_be_started(self) -> None:
        if not self._started:
            raise RuntimeError(f"{self._name} is not started; use it in a `with` block")

    def _strike(self, network: Network, spec: MeasureSpec) -> None:
        fault, codes = self._options.fault, self._options.fault_codes
        spared = codes is not None and network.code not in codes
        if fault is None or spared or self._struck == self._options.fault_times:
            return
        self._struck += 1
        time.sleep(spec.timeout_s if fault == "hang" else 0)
        raise _ERRORS[fault](f"{network.id}: {fault}, as the test wants it")

    def _samples(self, network: Network, count: int, rng: random.Random) -> tuple[float, ...]:
        latency_s = fake_latency_s(network.code, self._options)
        return tuple(
            latency_s * (1 + self._options.noise * abs(rng.gauss(0, 1))) for _ in range(count)
        )
