"""The values that the farm passes around: frozen, checked when made, free of I/O. SI units."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from farm.core.checks import must_be_count, must_be_text

Target = str | Mapping[str, Any]
"""What TVM takes as a target: a tag such as `raspberry-pi/4b-aarch64`, or a target dict."""


def digest(value: Any) -> str:
    """SHA-256, in hex, of `value` as canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


MOST_CPUS = 8192
"""Logical CPUs that a Linux kernel may have (NR_CPUS)."""

KERNEL = "kernel"
"""In place of a search space, of networks that are one kernel (`farm.compile.alone`)."""


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

    def __post_init__(self) -> None:
        for name in ("device", "host"):
            must_be_text(name, getattr(self, name))
        for core in self.cores:
            must_be_count("cores", core, 0, MOST_CPUS - 1)
        if not isinstance(self.target, (str, Mapping, type(None))):
            raise ValueError(f"`target` must be a text or a mapping, got {self.target!r}")
        for values in (self.identity, self.info):
            for key, value in values.items():
                must_be_text("identity", key)
                must_be_text(key, value)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that name (device, target, identity)."""
        return digest([self.device, self.target, dict(self.identity)])[:16]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "fingerprint": self.fingerprint}


@dataclass(frozen=True)
class GivenInput:
    """What a network is measured with: an input by the name that its file has for it.

    shape: `batch` in place of a size where devices differ in it.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {','.join(map(str, self.shape)) or 'a scalar'}"

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "type": self.dtype, "shape": list(self.shape)}


@dataclass(frozen=True)
class TensorSpec:
    """A tensor argument of a compiled network: seeded uniform values in [-bound, bound].

    dtype: as in numpy; integers end below `bound`. positive: values in [0, bound] instead.
    """

    name: str
    shape: tuple[int, ...]
    bound: float
    dtype: str = "float32"
    positive: bool = False


@dataclass(frozen=True)
class OutputSpec:
    """What a compiled network must compute.

    expected: values of the flattened output, evenly spread over it (16 at most), from onnxruntime.
    tolerance: largest absolute difference from them that is still the same network.
    """

    expected: tuple[float, ...]
    tolerance: float


@dataclass(frozen=True)
class Program:
    """What a runner must know to call a compiled network and to recognise its outputs.

    inputs: the arguments of `entry`, in order: the network's own first, then the weights.
    seed: the seed that `outputs` were computed with; without any, nothing is compared.
    """

    inputs: tuple[TensorSpec, ...]
    seed: int
    outputs: tuple[OutputSpec, ...]
    entry: str = "main"

    @property
    def expected(self) -> tuple[float, ...]:
        """The expected values of all outputs, one output after the other."""
        return tuple(value for output in self.outputs for value in output.expected)

    @property
    def size_bytes(self) -> int:
        """Of all arguments, in memory."""
        return sum(_item_bytes(t.dtype) * math.prod(t.shape) for t in self.inputs)

    def to_json(self) -> dict[str, Any]:
        inputs = [dict(vars(spec)) for spec in self.inputs]
        return {**vars(self), "inputs": inputs, "outputs": [dict(vars(o)) for o in self.outputs]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Program:
        inputs = tuple(TensorSpec(**{**t, "shape": tuple(t["shape"])}) for t in value["inputs"])
        outputs = tuple(
            OutputSpec(tuple(output["expected"]), output["tolerance"])
            for output in value["outputs"]
        )
        return cls(**{**value, "inputs": inputs, "outputs": outputs})


def _item_bytes(dtype: str) -> int:
    """Of a type as NumPy calls it: `float16` has two, `bool` one."""
    return int("".join(filter(str.isdigit, dtype)) or 8) // 8


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


def percent(share: float) -> str:
    """A share for a person, to two digits: `0.48 %`, `12 %`, `240 %`."""
    number = 100 * share
    return f"{number:.0f} %" if abs(number) >= 10 else f"{number:.2g} %"


def share(text: str) -> float:
    """A relative number, written as `5%` or `0.05`. Raises ValueError for what is none."""
    number = text.strip().removesuffix("%").strip()
    try:
        return float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        raise ValueError(f"a share is written as 5% or 0.05, got {text!r}") from None
