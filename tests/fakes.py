"""A device that is not there, for tests of everything above the agents. Knows nothing of pytest.

In cluster.yaml its kind is `tests.fakes:FakeAgent`.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.started import StartedAgent
from farm.core.errors import (
    BadArtifact,
    DeviceError,
    DeviceLost,
    MeasureTimeout,
    NetworkCrashed,
    WrongOutput,
    blaming,
)
from farm.core.values import DeviceFacts, Network, Target
from farm.measurement.record import Block, Job, Session
from farm.measurement.spec import MeasureSpec

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
    off: while there is such a file, it cannot be reached.
    target: None for a device that needs no artifact.
    fault: what goes wrong, with the networks of `fault_codes` (None: with all), and for so many
        times (None: always).
    disturb: what comes over the device once it has held `disturb_after` sessions, for
        `disturb_sessions` of them (None: for good). `throttle`: its clock and it are slower by a
        quarter, and it shows that; `slow`: by three tenths, and it shows nothing; `drift`: by
        another hundredth each session, and it shows nothing; `flip`: every few sessions it changes
        between two clocks that are a fifth apart; `spike`: in each third block it waits for its
        core and takes three times as long; `busy`: it waits in all, and takes up to twice as long;
        `freeze`: no answer;
        `lie`: it claims longer samples than there was time for; `jump`: its clock is set.
    governor_after: sessions after which its governor, a part of its fingerprint, is `powersave`:
        all networks take `powersave` times as long, and heavy ones more, up to a factor of
        1 + `powersave_uneven`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    latency_s: float = 1e-3
    noise: float = 0.01
    seed: int = 0
    slow_start_s: float = 0.0
    slow_s: float = 0.0
    off: str | None = None
    host: str = "fake-host"
    cores: Annotated[tuple[int, ...], Field(strict=False)] = ()
    target: Target | None = None
    fault: Literal["artifact", "crash", "hang", "lost", "wrong_output"] | None = None
    fault_codes: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    fault_times: int | None = None
    disturb: (
        Literal["throttle", "slow", "drift", "flip", "spike", "busy", "freeze", "lie", "jump"]
        | None
    ) = None
    disturb_after: int = 0
    disturb_sessions: int | None = None
    governor_after: int | None = None
    powersave: float = 1.0
    powersave_uneven: float = 0.0


def fake_latency_s(code: str, options: FakeOptions) -> float:
    """The latency of a network: additive in the words of its code, so that it can be learnt."""
    words = re.findall(r"\w+", code)
    return options.latency_s * (1 + sum(_cost(word, options.seed) for word in words))


def _cost(word: str, seed: int) -> float:
    """In [0, 1)."""
    return hashlib.sha256(f"{seed}/{word}".encode()).digest()[0] / 256


class FakeAgent(StartedAgent):
    """See `FakeOptions`."""

    options: ClassVar[type[BaseModel]] = FakeOptions

    def __init__(self, name: str, options: FakeOptions) -> None:
        super().__init__(name)
        self._options = options
        self._struck = 0
        self._sessions = 0

    def _start(self) -> None:
        time.sleep(self._options.slow_start_s)
        if self._options.off is not None and Path(self._options.off).exists():
            raise DeviceLost(f"{self._name} cannot be reached")

    def facts(self) -> DeviceFacts:
        """See `farm.measurement.agent.Agent.facts`."""
        self._must_be_started()
        options = self._options
        identity = {"seed": str(options.seed), "latency_s": str(options.latency_s)}
        identity |= {"governor": "powersave"} if self._saving else {}
        return DeviceFacts(self._name, options.host, options.cores, options.target, identity)

    def session(self, jobs: Sequence[Job], spec: MeasureSpec, number: int) -> list[Session]:
        """See `farm.measurement.agent.Agent.session`."""
        self._must_be_started()
        self._sessions += 1
        if self._disturbed("freeze"):
            time.sleep(spec.timeout_s)
            raise MeasureTimeout(f"no answer within {spec.timeout_s:g} s")
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
        span = {"started_s": started_s, "ended_s": time.monotonic()}
        rounds = [self._samples(job.network, spec.min_samples, rng) for _ in range(spec.rounds)]
        blocks = tuple(self._block(index, samples, span) for index, samples in enumerate(rounds))
        return Session(
            warmup_s=self._samples(job.network, 1, rng),
            blocks=blocks,
            device_s=self._options.slow_s + sum(sum(block.samples_s) for block in blocks),
        )

    def _block(self, index: int, samples_s: tuple[float, ...], span: dict[str, float]) -> Block:
        """With what the device shows of it."""
        busy = self._disturbed("busy")
        spike = busy or (self._disturbed("spike") and index % 3 == 0)
        moment = random.Random(f"{self._sessions}/{index}").random()
        times = 1.05 + moment if busy else 3.0 if spike else 1.5 if self._disturbed("lie") else 1.0
        claimed_s = tuple(sample_s * times for sample_s in samples_s)
        elapsed_s = sum(samples_s) + 0.002 if not spike else 2 * sum(claimed_s)
        telemetry = {
            "elapsed_s": sum(samples_s) / 2 if self._disturbed("lie") else elapsed_s,
            "utc_elapsed_s": elapsed_s + (3600 if self._disturbed("jump") else 0),
            "waited_s": elapsed_s / 2 if spike else 0.0,
            "involuntary_switches": len(samples_s) if spike else 0,
            "clock_probe_s": 4e-5 * (self._clock if self._shows_its_clock else 1.0),
        }
        return Block(claimed_s, 1, {**span, **telemetry})

    def _disturbed(self, how: str) -> bool:
        first, count = self._options.disturb_after, self._options.disturb_sessions
        past = self._sessions - first
        lasting = past > 0 and (count is None or past <= count)
        return lasting and self._options.disturb == how

    @property
    def _saving(self) -> bool:
        after = self._options.governor_after
        return after is not None and self._sessions >= after

    @property
    def _shows_its_clock(self) -> bool:
        return self._disturbed("throttle") or self._disturbed("flip")

    @property
    def _clock(self) -> float:
        """How many times as slow as at its best the clock is now."""
        if self._disturbed("flip"):
            return 1.2 if (self._sessions // 7) % 2 else 1.0
        return 1.25

    def _slowness(self, latency_s: float) -> float:
        """How many times as long as at its best a network takes now."""
        if self._shows_its_clock:
            return self._clock
        if self._disturbed("slow"):
            return 1.3
        if self._disturbed("drift"):
            return 1 + 0.01 * (self._sessions - self._options.disturb_after)
        if self._saving:
            heavy = latency_s / (8 * self._options.latency_s)
            return self._options.powersave * (1 + self._options.powersave_uneven * heavy)
        return 1.0

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
        latency_s *= self._slowness(latency_s)
        return tuple(
            latency_s * (1 + self._options.noise * abs(rng.gauss(0, 1))) for _ in range(count)
        )
