"""The reference output, and the arguments that it is computed for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from agents.on_device.loading import compared, seeded_bytes, seeded_values
from farm.compile import oracle
from farm.core.arguments import TYPES
from farm.core.errors import BuildError
from farm.core.values import TensorSpec
from tests.compile.conftest import conv_model
from tests.onnx_models import info, model


@pytest.mark.parametrize(("count", "bound"), [(1, 1.0), (100, 0.3), (8191, 1e-20), (20000, 0.0417)])
def test_arguments_are_those_of_a_device(count: int, bound: float) -> None:
    for seed, index in ((0, 0), (3, 141)):
        for positive in (False, True):
            expected = np.array(seeded_values(seed, index, count, bound, positive), np.float32)
            spec = TensorSpec("x", (count,), bound, positive=positive)
            found = oracle.seeded(seed, index, spec)
            np.testing.assert_array_equal(found, expected)
            assert (found > 0).all() == positive or count == 1


@pytest.mark.parametrize("dtype", TYPES)
def test_arguments_of_every_type_are_those_of_a_device(dtype: str) -> None:
    for count, positive in ((5, True), (8191, False), (20000, True)):
        spec = TensorSpec("x", (count,), 1.0 if dtype.startswith("float") else 2, dtype, positive)
        given = {**vars(spec), "shape": [count]}
        if dtype.startswith(("uint", "bool")) and not positive:
            continue  # there are no others
        expected = np.frombuffer(bytes(seeded_bytes(given, 3, 7)), dtype)
        np.testing.assert_array_equal(oracle.seeded(3, 7, spec), expected)
        if not dtype.startswith("float"):
            assert set(expected.tolist()) == ({0, 1} if positive else {-2, -1, 0, 1})


def test_bounds_follow_the_fan_in() -> None:
    image, weight, bias = oracle.tensor_specs(conv_model(channels=4))
    assert image.bound == 1.0
    assert weight.bound == pytest.approx((6 / 27) ** 0.5)
    assert bias.bound == pytest.approx((1 / 27) ** 0.5)


def test_the_program_expects_what_onnxruntime_computes() -> None:
    made = conv_model()
    program = oracle.program(made, seed=5)
    (output,) = oracle.run(made, oracle.arguments(program.inputs, seed=5))
    assert program.expected == tuple(compared(output.ravel().tolist()))
    assert program.outputs[0].tolerance == pytest.approx(1e-4 * float(np.abs(output).max()))
    assert oracle.program(made, seed=6).expected != program.expected


def test_a_dynamic_shape_is_refused() -> None:
    made = conv_model()
    made.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(BuildError, match="'input' has a dynamic shape"):
        oracle.program(made)


def unary(*operators: str) -> onnx.ModelProto:
    names = ["x", *operators]
    nodes = [
        helper.make_node(o, [x], [o], f"the/{o}") for x, o in zip(names, operators, strict=False)
    ]
    return model(nodes, outputs=[info(operators[-1])])


def test_a_logarithm_has_a_positive_input() -> None:
    program = oracle.program(unary("Sqrt", "Log"))
    assert [tensor.positive for tensor in program.inputs] == [True]
    assert not oracle.program(unary("Relu")).inputs[0].positive


def test_what_is_not_finite_whatever_it_is_given_is_named() -> None:
    with pytest.raises(BuildError, match="Log 'the/Log' computes NaN or infinity, also of"):
        oracle.program(unary("Neg", "Log"))


def test_onnxruntime_s_words_come_without_its_sources() -> None:
    made = unary("Relu")
    made.opset_import[0].version = 28
    with pytest.raises(BuildError, match="onnxruntime does not run it: ") as caught:
        oracle.program(made)
    assert "/onnxruntime_src/" not in str(caught.value)
