"""The reference output, and the arguments that it is computed for."""

from __future__ import annotations

import numpy as np
import pytest

from agents.on_device.loading import seeded_values
from farm.compile import oracle
from farm.core.errors import BuildError
from tests.compile.conftest import conv_model


@pytest.mark.parametrize(("count", "bound"), [(1, 1.0), (100, 0.3), (8191, 1e-20), (20000, 0.0417)])
def test_arguments_are_those_of_a_device(count: int, bound: float) -> None:
    for seed, index in ((0, 0), (3, 141)):
        expected = np.array(seeded_values(seed, index, count, bound), np.float32)
        np.testing.assert_array_equal(oracle.seeded(seed, index, count, bound), expected)


def test_bounds_follow_the_fan_in() -> None:
    image, weight, bias = oracle.tensor_specs(conv_model(channels=4))
    assert image.bound == 1.0
    assert weight.bound == pytest.approx((6 / 27) ** 0.5)
    assert bias.bound == pytest.approx((1 / 27) ** 0.5)


def test_the_program_expects_what_onnxruntime_computes() -> None:
    model = conv_model()
    program = oracle.program(model, seed=5)
    output = oracle.run(model, oracle.arguments(program.inputs, seed=5)).ravel()
    assert program.expected == tuple(map(float, output[:16]))
    assert program.tolerance == pytest.approx(1e-4 * float(np.abs(output).max()))
    assert oracle.program(model, seed=6).expected != program.expected


def test_a_dynamic_shape_is_refused() -> None:
    model = conv_model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(BuildError, match="'input' has a dynamic shape"):
        oracle.program(model)
