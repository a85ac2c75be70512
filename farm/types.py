"""The values that the farm passes around: frozen, checked when made, free of I/O. SI units."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from farm import statistics

Target = str | Mapping[str, Any]
"""What TVM takes as a target: a tag such as `raspberry-pi/4b-aarch64`, or a target dict."""


def digest(value: Any) -> str:
    """SHA-256, in hex, of `value` as canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, order=True)
class Network:
    """A network of a search space; `code` is the space's own canonical text for it."""

    space: str
    code: str

    @property
    def id(self) -> str:
        return f"{self.space}/{self.code}"

    @classmethod
    def from_id(cls, text: str) -> Network:
        """The inverse of `id`. A space's name has no slash; a code may have."""
        space, _, code = text.partition("/")
        if not space or not code:
            raise ValueError(f"a network's id is SPACE/CODE, got {text!r}")
        return cls(space, code)


@dataclass(frozen=True)
class MeasureSpec:
    """How one network is measured on one device.

    warmup_s: the network runs for at least this long before anything counts.
    rounds: timed rounds; the statistic of record is the median of the rounds' minima.
    round_s: time inside timed samples in each round.
    min_samples: samples in a round, however slow the network is.
    sample_s: a sample repeats the network until it lasts at least this long, so that
        the timer's resolution and overhead stay far below the sample.
    pause_s: pause between two rounds, which spreads them over the host's moods.
    seed: of the weights and the input.
    timeout_s: limit for the whole measurement, loading included.
    """

    warmup_s: float = 0.2
    rounds: int = 5
    round_s: float = 0.1
    min_samples: int = 5
    sample_s: float = 1e-3
    pause_s: float = 0.02
    seed: int = 0
    timeout_s: float = 60.0

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name in ("warmup_s", "pause_s", "round_s", "sample_s", "timeout_s"):
            value = getattr(self, name)
            if not (value > 0 or (value == 0 and name in ("warmup_s", "pause_s"))):
                raise ValueError(f"`{name}` must be a positive number of seconds, got {value!r}")
        for name in ("rounds", "min_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class DeviceFacts:
    """What an agent found.

    host: the machine whose cores the device uses (devices of one host take turns).
    cores: logical CPUs of `host` that must be free of the farm while the device measures,
        hardware siblings included; empty for a device that is not on a host of the farm.
    target: what to compile for, or None for a device that needs no artifact.
    identity: what a latency depends on; a change of any of these changes the fingerprint.
    info: worth keeping, but no part of the fingerprint.
    """

    device: str
    host: str
    cores: tuple[int, ...]
    target: Target | None
    identity: Mapping[str, str]
    info: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that name (device, target, identity)."""
        return digest([self.device, self.target, dict(self.identity)])[:16]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor argument of a compiled network: seeded uniform values in [-bound, bound].

    dtype: as in numpy; only float32 so far.
    """

    name: str
    shape: tuple[int, ...]
    bound: float
    dtype: str = "float32"


@dataclass(frozen=True)
class Program:
    """What a runner must know to call a compiled network and to recognise its output.

    inputs: the arguments of `entry`, in order: the network's input first, then the weights.
    seed: the seed that `expected` was computed with.
    expected: the first values of the flattened output (16 at most), from onnxruntime.
    tolerance: largest absolute difference from `expected` that is still the same network.
    """

    inputs: tuple[TensorSpec, ...]
    seed: int
    expected: tuple[float, ...]
    tolerance: float
    entry: str = "main"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "inputs": [dict(vars(spec)) for spec in self.inputs]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Program:
        inputs = tuple(TensorSpec(**{**t, "shape": tuple(t["shape"])}) for t in value["inputs"])
        return cls(**{**value, "inputs": inputs, "expected": tuple(value["expected"])})


@dataclass(frozen=True)
class Artifact:
    """A compiled network: a shared library and its program, named by what it was built from.

    build_key: digest of the graph, the target and everything of the compiler that matters.
    library: where the bytes are on this host.
    sha256: of the library's bytes.
    build_s: CPU seconds that the build took.
    """

    build_key: str
    library: Path
    sha256: str
    size_bytes: int
    build_s: float
    program: Program


@dataclass(frozen=True)
class Measurement:
    """One network, measured once on one device, with everything that was seen.

    samples_s: a row of raw samples for each round, each in seconds for a single run.
    runs_per_sample: how often a sample ran the network.
    warmup_s: the raw warm-up samples.
    witness: readings around the measurement: `temp_c_before`, `clock_hz_after`, `load1_before`...
    device_s: how long the device was busy with it.
    measured_at: UTC, ISO 8601.
    """

    network: Network
    device: str
    fingerprint: str
    build_key: str | None
    spec: MeasureSpec
    samples_s: tuple[tuple[float, ...], ...]
    runs_per_sample: int
    warmup_s: tuple[float, ...]
    witness: Mapping[str, float]
    device_s: float
    measured_at: str

    @cached_property
    def latency_s(self) -> float:
        """The statistic of record: the median over rounds of each round's minimum."""
        return statistics.latency(self.samples_s)

    @cached_property
    def interval_s(self) -> tuple[float, float]:
        """A 95 % interval of `latency_s`."""
        return statistics.interval(self.samples_s)

    @property
    def verdict(self) -> str:
        """`ok`, or `noisy` where the interval is wider than `statistics.NOISY_HALF_WIDTH`."""
        low_s, high_s = self.interval_s
        half_width = (high_s - low_s) / 2 / self.latency_s
        return "ok" if half_width <= statistics.NOISY_HALF_WIDTH else "noisy"


@dataclass(frozen=True)
class Failure:
    """A measurement that did not come about. Never a sentinel number.

    kind: `kind` of the error in `farm.errors` that it stands for.
    """

    network: Network
    device: str
    kind: str
    message: str
    retryable: bool
