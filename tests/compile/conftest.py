"""Small ONNX models, and the target of this computer."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from agents.cpu_target import cpu_target
from farm.compile.artifacts import ArtifactStore


def conv_model(channels: int = 4, size: int = 8) -> onnx.ModelProto:
    """One 3x3 convolution with bias and ReLU."""
    conv = helper.make_node("Conv", ["input", "weight", "bias"], ["sum"], pads=[1, 1, 1, 1])
    relu = helper.make_node("Relu", ["sum"], ["output"])
    shapes = {
        "input": [1, 3, size, size],
        "weight": [channels, 3, 3, 3],
        "bias": [channels],
        "output": [1, channels, size, size],
    }
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    graph = helper.make_graph([conv, relu], "conv", values[:3], values[3:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="session")
def host_target() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    return cpu_target(platform.machine(), flags)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")
