"""Transposed convolutions without overlap are convolutions of single pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from farm.compile import oracle
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build
from farm.compile.prepare import prepared
from tests.onnx_models import model


def transposed(bias: bool = True, **attributes: Any) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(6, 5, 2, 3)).astype(np.float32)}
    if bias:
        weights["b"] = rng.normal(size=5).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", *weights], ["y"], "up", **attributes)
    return model([node], weights, (2, 6, 4, 3))


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_same_with_its_weights_in_another_order(normal: Any, bias: bool) -> None:
    made = normal(transposed(bias, strides=[2, 3]))
    ready = prepared(made)
    assert [n.op_type for n in ready.graph.node if n.op_type != "Constant"] == [
        *("Conv", "Reshape", "Transpose", "Reshape")
    ]
    values = oracle.arguments(oracle.tensor_specs(made), seed=0)
    x, weight, *rest = values
    ordered = values[weight].transpose(1, 2, 3, 0).reshape(30, 6, 1, 1)
    others = {name: np.repeat(values[name], 6) for name in rest}
    (expected,) = oracle.run(made, values)
    (found,) = oracle.run(ready, {x: values[x], weight: ordered, **others})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "attributes",
    [{"strides": [1, 1]}, {"strides": [2, 3], "pads": [0, 1, 0, 1]}, {"strides": [2, 2]}],
)
def test_what_overlaps_or_is_cut_stays_as_it_is(normal: Any, attributes: Any) -> None:
    ready = prepared(normal(transposed(**attributes)))
    assert [node.op_type for node in ready.graph.node] == ["ConvTranspose"]


def test_it_is_built_and_right(
    normal: Any, host_target: dict[str, Any], store: ArtifactStore
) -> None:
    program = build(normal(transposed(strides=[2, 3])), host_target, store).program
    assert [spec.shape for spec in program.inputs] == [(2, 6, 4, 3), (30, 6, 1, 1), (30,)]
