"""The values that the farm passes around: frozen, checked when made, free of I/O. SI units."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

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
class DeviceFacts:
    """What an agent found.

    host: the machine whose cores the device uses (devices of one host take turns).
    cores: logical CPUs of `host` that must be free of the farm while the device measures,
        hardware siblings included; empty for a device that is not on a host of the farm.
    target: what to compile for, or None for a device that needs no artifact.
    identity: what a latency depends on; a change of any of these changes the fingerprint.
    info: worth keeping, but no part of the fingerprint.
    exact: whether the same network always takes the same time, as where instructions are counted
        or a table is read: one block says it all.
    space: the only search space whose networks it can measure, as a table can; None for any.
    """

    device: str
    host: str
    cores: tuple[int, ...]
    target: Target | None
    identity: Mapping[str, str]
    info: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False
    space: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that name (device, target, identity)."""
        return digest([self.device, self.target, dict(self.identity)])[:16]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor argument of a compiled network: seeded uniform values in [-bound, bound].

    dtype: as in numpy; only float32 so far. positive: values in [0, bound] instead.
    """

    name: str
    shape: tuple[int, ...]
    bound: float
    dtype: str = "float32"
    positive: bool = False


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

    @property
    def size_bytes(self) -> int:
        """Of all arguments, in memory."""
        return sum(4 * math.prod(tensor.shape) for tensor in self.inputs)

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
