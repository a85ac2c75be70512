"""Integer operators are written as the float ones that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper

from tests.onnx_models import info, model

INT8, UINT8, INT32, FLOAT = (
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.INT32,
    TensorProto.FLOAT,
)
IMAGE, WEIGHT = (1, 3, 6, 6), (4, 3, 3, 3)
STEPS: dict[str, Any] = {
    "s": np.float32(0.05),
    "z": np.uint8(120),
    "t": np.float32(0.02),
    "o": np.int8(0),
    "r": np.float32(0.4),
    "m": np.uint8(100),
    "bias": np.array([50, -90, 3, 700], np.int32),
}
CONV = {"pads": [1, 1, 1, 1]}
MS = {"domain": "com.microsoft"}

OPERATORS: dict[str, tuple[str, str, dict[str, Any], list[Any], int]] = {
    "QLinearConv": ("a s z b t o r m bias", "y", CONV, [IMAGE, WEIGHT], UINT8),
    "QLinearMatMul": ("a s z b t o r m", "y", {}, [(5, 8), (8, 7)], UINT8),
    "ConvInteger": ("a b z", "y", CONV, [IMAGE, WEIGHT], INT32),
    "MatMulInteger": ("a b z o", "y", {}, [(5, 8), (8, 7)], INT32),
    "QLinearAdd": ("a s z b s z r m", "y", MS, [(2, 8), (2, 8)], UINT8),
    "QLinearMul": ("a s z b s z r m", "y", MS, [(2, 8), (2, 8)], UINT8),
    "QLinearConcat": ("r m a s z b s z", "y", {**MS, "axis": 1}, [(2, 8), (2, 3)], UINT8),
    "QLinearSigmoid": ("a s z r m", "y", MS, [(2, 8)], UINT8),
    "QLinearLeakyRelu": ("a s z r m", "y", {**MS, "alpha": 0.1}, [(2, 8)], UINT8),
    "QLinearGlobalAveragePool": ("a s z r m", "y", MS, [IMAGE], UINT8),
    "QGemm": ("a s z b t o bias r m", "y", {**MS, "alpha": 1.0}, [(5, 8), (8, 4)], UINT8),
}


def quantised(operator: str) -> ModelProto:
    read, made, attributes, shapes, kind = OPERATORS[operator]
    node = helper.make_node(operator, read.split(), [made], "it", **attributes)
    signed = "t o" in read or operator in ("ConvInteger", "MatMulInteger")
    kinds = [UINT8, INT8 if signed else UINT8]
    inputs = [info(n, k, s) for n, k, s in zip("ab", kinds, shapes, strict=False)]
    used = {name: value for name, value in STEPS.items() if name in read.split()}
    result = model([node], used, inputs=inputs, outputs=[info(made, kind, None)])
    result.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return result


def run(made: ModelProto, values: list[np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(made.SerializeToString())
    names = [given.name for given in session.get_inputs()]
    # The float bias of an integer one is a weight of the normal form.
    bias = STEPS["bias"] * STEPS["s"] * STEPS["t"]
    values = [*values, bias.astype(np.float32)][: len(names)]
    output: np.ndarray = session.run(None, dict(zip(names, values, strict=True)))[0]
    return output


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_integer_operator_computes_the_same_within_a_step(normal, operator) -> None:
    made = quantised(operator)
    found = normal(made)
    assert not {node.op_type for node in found.graph.node} & OPERATORS.keys()
    rng = np.random.default_rng(0)
    kinds = {UINT8: np.uint8, INT8: np.int8}
    values = [
        rng.integers(*((0, 256) if kind == UINT8 else (-64, 64)), shape).astype(kinds[kind])
        for kind, shape in (
            (g.type.tensor_type.elem_type, [d.dim_value for d in g.type.tensor_type.shape.dim])
            for g in made.graph.input
        )
    ]
    expected, output = run(made, values), run(found, values)
    assert output.dtype == expected.dtype
    assert np.unique(expected).size > 1
    assert np.abs(output.astype(int) - expected.astype(int)).max() <= 1


def test_a_quantised_weight_stays_one(normal) -> None:
    weight = {"w": np.ones(WEIGHT, np.int8), "s": np.float32(0.1), "o": np.int8(0)}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "o"], ["f"]),
        helper.make_node("Conv", ["x", "f"], ["y"]),
    ]
    found = normal(model(nodes, weight, IMAGE))
    kinds = [value.type.tensor_type.elem_type for value in found.graph.input]
    assert kinds == [FLOAT, INT8]


def test_the_definition_of_dynamic_steps_is_written_out_once(normal) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    made = model(nodes, {}, (2, 8))
    found = normal(made)
    assert "DynamicQuantizeLinear" not in {node.op_type for node in found.graph.node}
    x = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    np.testing.assert_allclose(run(found, [x]), run(made, [x]), atol=0.03)
