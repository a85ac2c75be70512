"""Models for another batch size compute the same for each image."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from farm.compile.oracle import arguments, run, tensor_specs
from farm.core.errors import BuildError
from farm.spaces import space
from farm.spaces.batch import given_inputs, has_open_batch, with_batch
from tests.onnx_models import cnn, inputs, model

CELL = "|none~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
EMPTY = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
SHUFFLED = "0123456780123456780123"


@pytest.mark.parametrize(
    ("name", "code"), [("nb201", CELL), ("nb201", EMPTY), ("fbnet32", SHUFFLED)]
)
def test_every_image_is_computed_as_it_is_alone(name, code):
    searched = space(name)
    one = searched.model(searched.parse(code))
    batched = with_batch(one, 3)
    values = arguments(tensor_specs(batched), seed=0)
    images = values[batched.graph.input[0].name]
    assert images.shape == (3, 3, 32, 32)
    (together,) = run(batched, values)
    assert together.shape[0] == 3
    for image, output in zip(images, together, strict=True):
        (alone,) = run(one, {**values, one.graph.input[0].name: image[None]})
        np.testing.assert_allclose(output, alone[0], rtol=1e-4, atol=1e-4)


def test_the_weights_are_the_same():
    searched = space("nb201")
    one = searched.model(searched.parse(CELL))
    batched = with_batch(one, 8)
    assert list(batched.graph.input)[1:] == list(one.graph.input)[1:]
    assert one.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1, "it was changed"
    assert with_batch(one, 1) is one
    assert with_batch(batched, 8) is batched


def mixing(first: int | str) -> onnx.ModelProto:
    """A network whose weights have a row for each of four images."""
    nodes = [
        helper.make_node("MatMul", ["w", "x"], ["m"]),
        helper.make_node("ReduceMean", ["m"], ["y"], keepdims=0),
    ]
    return model(nodes, {"w": np.ones((4, 4), np.float32)}, (first, 5))


def test_a_fixed_batch_stays_whatever_the_device_has(normal):
    fixed = normal(mixing(4))
    assert not has_open_batch(fixed)
    for batch in (1, 4, 8):
        assert with_batch(fixed, batch) is fixed
        assert given_inputs(fixed, batch)[0].shape == (4, 5)


def test_a_batch_that_the_user_gave_stays(normal):
    given = normal(cnn(input_shape=("n", 3, 12, 12)), "4,3,12,12")
    assert given_inputs(given, 8)[0].shape == inputs(given)["input"] == (4, 3, 12, 12)


def test_an_open_batch_is_the_device_s(normal):
    opened = normal(cnn(input_shape=("n", 3, 12, 12)))
    assert given_inputs(opened, 8)[0].shape == (8, 3, 12, 12)
    assert inputs(with_batch(opened, 8))["input"] == (8, 3, 12, 12)


def test_an_output_may_have_no_axis_for_the_images(normal):
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)]
    batched = with_batch(normal(model(nodes, input_shape=("n", 7))), 3)
    (output,) = batched.graph.output
    assert (list(output.type.tensor_type.shape.dim), inputs(batched)) == ([], {"input": (3, 7)})


def test_a_model_that_mixes_its_images_is_refused(normal):
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["turned", "w"], ["y"]),
    ]
    opened = normal(model(nodes, {"w": np.ones((1, 5), np.float32)}, ("n", 4)))
    with pytest.raises(BuildError, match="does not take a batch of 8: "):
        with_batch(opened, 8)
