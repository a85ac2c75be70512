"""Operators of ONNX files that once did not compile: built, and checked against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from farm.compile.build import build
from farm.spaces.onnx.files import import_file
from tests.onnx_models import model

node = helper.make_node

ONES = np.ones(8, np.float32)


RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def matrices() -> ModelProto:
    """Products of one matrix with many, of many with many, and of a few rows with a transposed."""
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Transpose", ["a"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["a", "t"], ["b"]),
        node("Reshape", ["b", "flat"], ["c"]),
        node("Gemm", ["c", "v", "u"], ["y"], transB=1),
    ]
    weights = {"w": normal(20, 35), "v": normal(7, 29), "u": normal(7), "flat": np.array([-1, 29])}
    return model(nodes, weights, (2, 29, 20))


def large_windows() -> ModelProto:
    """Windows of more taps than are written out: with pads, groups and a packed weight."""
    nodes = [
        node("Conv", ["x", "w"], ["a"], strides=[2, 3], pads=[4, 5, 3, 2]),
        node("Relu", ["a"], ["r"]),
        node("Conv", ["r", "v", "b"], ["y"], group=2, pads=[4, 4, 4, 4]),
    ]
    weights = {"w": normal(8, 3, 8, 8), "v": normal(6, 4, 9, 9), "b": normal(6)}
    return model(nodes, weights, (2, 3, 20, 19))


def recurrent() -> ModelProto:
    """Both ways, over several steps and sequences, with a state that no vector fills."""
    nodes = [
        node("LSTM", ["x", "w4", "r4", "b4"], ["l"], direction="bidirectional", hidden_size=13),
        node("GRU", ["x", "w3", "r3"], ["g"], direction="bidirectional", hidden_size=13),
        node(
            *("GRU", ["x", "w3", "r3", "b3"], ["", "h"]),
            direction="bidirectional",
            hidden_size=13,
            linear_before_reset=1,
        ),
        node("Add", ["l", "g"], ["a"]),
        node("Add", ["a", "h"], ["y"]),
    ]
    weights = {}
    for gates in (3, 4):
        weights[f"w{gates}"] = normal(2, gates * 13, 5)
        weights[f"r{gates}"] = normal(2, gates * 13, 13)
        weights[f"b{gates}"] = normal(2, 2 * gates * 13)
    return model(nodes, weights, (4, 3, 5))


def functions() -> ModelProto:
    """What is made of exponentials, on vectors and on what is left of them."""
    names = ["Sigmoid", "Tanh", "Erf", "Exp", "Gelu"]
    nodes = [node(name, ["x"], [name]) for name in names]
    return model([*nodes, node("Sum", names, ["y"])], {}, (3, 37), 20)


def group_norm() -> ModelProto:
    """Of opset 21, after a value that has to be inferred."""
    nodes = [
        node("Relu", ["x"], ["r"]),
        node("GroupNormalization", ["r", "s", "b"], ["y"], num_groups=2),
    ]
    output = helper.make_tensor_value_info("y", 1, (1, 8, 4, 4))
    return model(nodes, {"s": ONES, "b": ONES}, (1, 8, 4, 4), 21, outputs=[output])


CASES = {
    "CastLike": model(
        [node("CastLike", ["z", "x"], ["zc"]), node("Max", ["x", "zc"], ["y"])],
        {"z": np.float64(0)},
        (1, 8),
    ),
    "GroupNormalization": group_norm(),
    "matrices": matrices(),
    "second output": model(
        [node("LayerNormalization", ["x", "s"], ["n", "m"]), node("Add", ["n", "m"], ["y"])],
        {"s": ONES},
        (3, 8),
    ),
    "recurrent": recurrent(),
    "large windows": large_windows(),
    "functions": functions(),
    "unit axis": model(
        [
            node("Reshape", ["x", "s"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
            node("Relu", ["b"], ["y"]),
        ],
        {"s": np.array([3, 5, 1])},
        (3, 5),
    ),
    "logarithm": model(
        [node("Add", ["x", "e"], ["a"]), node("Log", ["a"], ["y"])],
        {"e": np.float32(1e-6)},
        (1, 80, 100),
    ),
    "PRelu": model([node("PRelu", ["x", "s"], ["y"])], {"s": ONES[:3]}, (2, 3), 13),
}


@pytest.mark.slow
@pytest.mark.parametrize("made", CASES.values(), ids=list(CASES))
def test_is_built_and_computes_the_same(tmp_path, store, host_target, made) -> None:
    onnx.save(made, tmp_path / "model.onnx")
    (data,) = import_file(tmp_path / "model.onnx").values()
    assert build(onnx.load_from_string(data), host_target, store).program.expected
