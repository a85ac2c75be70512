"""The networks that benchmarks compile, and this computer's target."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from agents.cpu_target import cpu_target
from farm.core.values import Network
from farm.spaces import space
from farm.spaces.onnx.export import to_onnx


def sample(name: str, count: int, seed: int) -> list[str]:
    """The ids of random networks of a space."""
    return [network.id for network in space(name).sample(count, np.random.default_rng(seed))]


def model_of(name: str) -> onnx.ModelProto:
    """The ONNX model of a network's id, weights as inputs."""
    network = Network.from_id(name)
    return to_onnx(space(network.space).graph(network))


def host_target() -> dict[str, Any]:
    """What this computer's CPU can do, as a target."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    return cpu_target(os.uname().machine, flags)
