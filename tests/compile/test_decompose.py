"""Operations that TVM does not import, or computes otherwise: as simpler ones, for onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from farm.compile import oracle
from farm.compile.decompose import rewritten, written_out

make = helper.make_node

CORNERS = "align_corners"


def one(node: Any, shape: tuple[int, ...], opset: int, constants: Any = ()) -> ModelProto:
    """A model of one operation, with the output that onnxruntime says it has."""
    tensors = [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in dict(constants).items()]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", [source], [sink], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, computed(model).shape)
    model.graph.output[0].CopyFrom(sink)
    return model


def computed(model: ModelProto) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = {
        value.name: rng.normal(size=[d.dim_value for d in value.type.tensor_type.shape.dim])
        for value in model.graph.input
    }
    return oracle.run(model, {name: v.astype(np.float32) for name, v in values.items()})[0]


def resized(to: list[int], **attributes: Any) -> ModelProto:
    node = make("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    return one(node, (1, 2, 5, 7), 19, {"sizes": np.array([1, 2, *to])})


OURS = {
    "LpNormalization": one(make("LpNormalization", ["x"], ["y"], axis=1, p=1), (2, 3, 4), 17),
    "Clip": one(make("Clip", ["x"], ["y"]), (2, 3), 17),
    "Pow": one(make("Pow", ["x", "n"], ["y"]), (2, 3), 17, {"n": np.array([2, 3, 1])}),
    "DFT": one(make("DFT", ["x", "n"], ["y"], axis=1), (2, 6, 1), 17, {"n": np.array(8)}),
    "DFT, inverse": one(make("DFT", ["x"], ["y"], axis=1, inverse=1), (2, 6, 2), 17),
    "STFT": one(
        make("STFT", ["x", "step", "w"], ["y"]),
        (1, 32, 1),
        17,
        {"step": np.array(8), "w": np.hanning(16).astype(np.float32)},
    ),
    "Col2Im": one(
        make("Col2Im", ["x", "image", "block"], ["y"], strides=[2, 1], pads=[0, 1, 0, 1]),
        (1, 8, 10),
        18,
        {"image": np.array([5, 4]), "block": np.array([2, 2])},
    ),
    "Det": one(make("Det", ["x"], ["y"]), (2, 3, 3), 17),
    "ConvTranspose": one(
        make("ConvTranspose", ["x", "w"], ["y"], strides=[3, 2], output_shape=[10, 8]),
        (1, 1, 3, 3),
        17,
        {"w": np.ones((1, 2, 3, 3), np.float32)},
    ),
    "Resize, cubic": resized([9, 4], mode="cubic", exclude_outside=1),
    "Resize, antialias": resized([3, 4], mode="linear", antialias=1),
    "Resize, corners": resized(
        [8, 3], mode="linear", coordinate_transformation_mode="align_corners"
    ),
    "Resize, nearest": resized([11, 3], nearest_mode="ceil"),
}

FUNCTIONS = {
    "RMSNormalization": one(
        make("RMSNormalization", ["x", "s"], ["y"]), (2, 3, 4), 23, {"s": np.ones(4, np.float32)}
    ),
    "Attention": one(make("Attention", ["x", "x", "x"], ["y"], is_causal=1), (1, 2, 5, 4), 23),
    "Swish": one(make("HardSwish", ["x"], ["y"]), (2, 3), 17),
}


@pytest.mark.parametrize("model", OURS.values(), ids=list(OURS))
def test_parts_compute_the_same(model: ModelProto) -> None:
    parts = rewritten(model)

    assert {node.op_type for node in parts.graph.node} != {model.graph.node[0].op_type} or (
        model.graph.node[0].op_type in ("Pow", "ConvTranspose")
    )
    np.testing.assert_allclose(computed(parts), computed(model), rtol=0, atol=2e-5)


@pytest.mark.parametrize("model", FUNCTIONS.values(), ids=list(FUNCTIONS))
def test_definitions_compute_the_same_and_hold_no_shapes(model: ModelProto) -> None:
    parts = written_out(model, known=("Softmax",))

    assert parts is not None
    assert not {"Shape", "Constant"} & {node.op_type for node in parts.graph.node}
    np.testing.assert_allclose(computed(parts), computed(model), rtol=0, atol=2e-5)


def test_what_has_no_definition_stays() -> None:
    model = one(make("Sin", ["x"], ["y"]), (2, 3), 17)

    assert rewritten(model) is model
    assert written_out(model, known=()) is None
