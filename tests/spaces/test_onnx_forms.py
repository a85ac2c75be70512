"""One computation, written in several ways, is one computation with the same kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper

from farm.compile import fuse, graph
from farm.compile.prepare import prepared
from farm.spaces.onnx.files import code_of
from farm.spaces.onnx.normal import normalise
from farm.spaces.onnx.read import read
from tests.onnx_models import cnn, model

node = helper.make_node


def kernels(made: ModelProto) -> list[Any]:
    """What is compiled of a model in normal form; the keys of kernels are digests of these."""
    return [call.kernel for call in fuse.plan(graph.read(prepared(made))).calls]


def as_written(made: ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.SerializeToString(), options)
    output: np.ndarray = session.run(None, {session.get_inputs()[0].name: x})[0]
    return output


def windowed(operator: str, side: int, kernel: int, **attributes: Any) -> ModelProto:
    sizes = {"kernel_shape": [kernel] * 2} | attributes
    if operator.endswith("Pool"):
        made = node(operator, ["x"], ["y"], **sizes)
        return model([made], input_shape=(1, 4, side, side + 1))
    weight = np.random.default_rng(0).normal(size=(4, 4, kernel, kernel)).astype(np.float32)
    made = node(operator, ["x", "w"], ["y"], **sizes)
    return model([made], {"w": weight}, (1, 4, side, side + 1))


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose", "AveragePool", "MaxPool"])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    side=st.integers(5, 9),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    mode=st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"]),
)
def test_automatic_pads_are_the_pads_that_they_stand_for(
    normal, operator, side, kernel, stride, mode
) -> None:
    # onnxruntime takes no other pools, and there is no pad for other transposed convolutions.
    assume(operator == "Conv" or kernel >= stride)
    automatic = windowed(operator, side, kernel, strides=[stride] * 2, auto_pad=mode)
    found = normal(automatic)
    (written,) = (n for n in found.graph.node if n.op_type == operator)
    attributes = {a.name: helper.get_attribute_value(a) for a in written.attribute}
    assert "auto_pad" not in attributes
    pads = {"pads": attributes["pads"]} if "pads" in attributes else {}
    explicit = windowed(operator, side, kernel, strides=[stride] * 2, **pads)
    assert kernels(normal(explicit)) == kernels(found)
    x = np.random.default_rng(1).normal(size=(1, 4, side, side + 1)).astype(np.float32)
    np.testing.assert_allclose(as_written(explicit, x), as_written(automatic, x), atol=1e-6)


def as_nodes(made: ModelProto) -> ModelProto:
    """Every initializer as a node that makes it."""
    copy = ModelProto()
    copy.CopyFrom(made)
    constants = [
        node("Constant", [], [t.name], value=numpy_helper.from_array(numpy_helper.to_array(t)))
        for t in made.graph.initializer
    ]
    nodes = [*constants, *made.graph.node]
    del copy.graph.initializer[:], copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def of_ir_3(made: ModelProto) -> ModelProto:
    """As exporters wrote it until 2019: initializers are inputs, too."""
    copy = ModelProto()
    copy.CopyFrom(made)
    copy.ir_version, copy.opset_import[0].version = 3, 8
    for tensor in copy.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        copy.graph.input.insert(0, value)
    onnx.checker.check_model(copy)
    return copy


@pytest.mark.parametrize("change", [as_nodes, of_ir_3])
@pytest.mark.parametrize("strides", [1, 2])
def test_where_weights_are_written_does_not_matter(normal, change, strides) -> None:
    made, changed = normal(cnn(strides=strides)), normal(change(cnn(strides=strides)))
    assert kernels(changed) == kernels(made)
    if change is as_nodes:
        assert code_of(changed) == code_of(made)


@pytest.mark.slow
def test_the_light_models_of_the_onnx_package_are_read() -> None:
    """All nine are of IR version 3."""
    files = sorted(Path(onnx.__path__[0], "backend/test/data/light").glob("*.onnx"))
    assert len(files) == 9
    for file in files:
        made = normalise(read(file))
        assert made.graph.input[0].type.tensor_type.shape.dim[2].dim_value == 224
        assert kernels(made)
