"""Models for another batch size compute the same for each image."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from farm.compile.oracle import arguments, run, tensor_specs
from farm.core.errors import BuildError
from farm.spaces import space
from farm.spaces.batch import with_batch

CELL = "|none~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
EMPTY = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
SHUFFLED = "0123456780123456780123"


@pytest.mark.parametrize(
    ("name", "code"), [("nb201", CELL), ("nb201", EMPTY), ("fbnet32", SHUFFLED)]
)
def test_every_image_is_computed_as_it_is_alone(name, code):
    searched = space(name)
    model = searched.model(searched.parse(code))
    batched = with_batch(model, 3)
    values = arguments(tensor_specs(batched), seed=0)
    images = values[batched.graph.input[0].name]
    assert images.shape == (3, 3, 32, 32)
    together = run(batched, values)
    assert together.shape[0] == 3
    for image, output in zip(images, together, strict=True):
        alone = run(model, {**values, model.graph.input[0].name: image[None]})
        np.testing.assert_allclose(output, alone[0], rtol=1e-4, atol=1e-4)


def test_the_weights_are_the_same():
    searched = space("nb201")
    model = searched.model(searched.parse(CELL))
    batched = with_batch(model, 8)
    assert list(batched.graph.input)[1:] == list(model.graph.input)[1:]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1, "it was changed"
    assert with_batch(model, 1) is model
    assert with_batch(batched, 8) is batched


MIXING = {
    "sums over its images": (
        [
            helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["turned", "w"], ["y"]),
        ],
        (1, 5),
        (4, 5),
    ),
    "has a weight for each": (
        [helper.make_node("Concat", ["x", "w"], ["y"], axis=0)],
        (1, 4),
        (2, 4),
    ),
}


@pytest.mark.parametrize("how", MIXING)
def test_a_model_that_mixes_its_images_is_refused(how):
    nodes, weight, output = MIXING[how]
    shapes = {"x": (1, 4), "w": weight, "y": output}
    typed = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    graph = helper.make_graph(nodes, "mixing", typed[:2], typed[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    with pytest.raises(BuildError, match="does not take a batch of 8: "):
        with_batch(model, 8)
