"""NVIDIA GPUs of the computer that the agent runs on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from agents.answers import Seen
from agents.cpu import CpuAgent, CpuOptions
from farm.core.checks import plain
from farm.core.errors import DeviceError
from farm.core.values import DeviceFacts, Target

_IDENTITY = ("name", "driver", "cuda", "persistence", "power_limit_w")
"""Of the facts of `agents.on_device.nvidia.Gpu`, what a latency depends on."""


class GpuOptions(CpuOptions):
    """index: of the GPU, in CUDA's order. threads, cores: of the host, which starts its kernels;
    target: what to compile for, by default the GPU's own architecture."""

    index: int = Field(0, ge=0)


class GpuAgent(CpuAgent):
    """Measures on a GPU of this host, timed by events on the GPU itself.

    Clocks, power and heat are observed and never changed: `nvidia-smi` locks them where their
    owner wants that. A batch size is part of how a device measures: `measure: {batch: 32}`.
    """

    options: ClassVar[type[BaseModel]] = GpuOptions
    _accelerator: ClassVar[str] = "cuda"

    def __init__(self, name: str, options: GpuOptions) -> None:
        super().__init__(name, options)
        self._index = options.index

    def _described(self, seen: Seen) -> DeviceFacts:
        facts, gpu = super()._described(seen), _gpu(seen, self._name)
        told = {name: plain(str(value)) for name, value in gpu.items()}
        own = {f"gpu_{name}": told[name] for name in _IDENTITY if name in told}
        more = {f"gpu_{name}": value for name, value in told.items() if name not in _IDENTITY}
        return replace(
            facts,
            target=self._options.target or gpu_target(told["capability"], seen["uname"][4]),
            identity={**facts.identity, **own, "gpu_index": str(self._index)},
            info={**facts.info, **more, "memory_bytes": told["memory_bytes"]},
        )

    def _ask(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        return super()._ask({**message, "gpu": self._index}, timeout_s)


def _gpu(seen: Seen, device: str) -> Mapping[str, object]:
    """What the runner says of the GPU. Raises DeviceError where that is not what is needed."""
    gpu = seen.get("gpu", {})
    capable = re.fullmatch(r"\d{2,3}", str(gpu.get("capability", "")))
    if not capable or type(gpu.get("memory_bytes")) is not int:
        raise DeviceError(
            f"{device} must say its GPU's `capability`, such as 90, and `memory_bytes`, got {gpu}"
        )
    return gpu


def gpu_target(capability: str, machine: str) -> Target:
    """What to compile for. capability: such as `90`; machine: the host's, as `uname -m` says."""
    host = {"kind": "llvm", "mtriple": f"{machine}-linux-gnu"}
    return {"kind": "cuda", "arch": f"sm_{capability}", "host": host}
