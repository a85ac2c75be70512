"""What ONNX models cost, worked out by hand; the conformance suite compares whole networks."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from farm.core.values import Network
from farm.spaces.counts import Counts
from farm.spaces.counts import count as graph_count
from farm.spaces.fbnet import fbnet32
from farm.spaces.nb201.space import NB201
from farm.spaces.onnx.counts import count, depth
from farm.spaces.onnx.files import OnnxFiles, import_file
from farm.spaces.onnx.normal import normalise
from farm.spaces.onnx.read import read
from tests.onnx_models import cnn, model

node = helper.make_node


def normal(made: ModelProto, folder) -> ModelProto:
    onnx.save(made, folder / "model.onnx")
    return normalise(read(folder / "model.onnx"))


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def test_counts_of_a_convolutional_network(tmp_path) -> None:
    plane = 8 * 6 * 6
    assert count(normal(cnn(), tmp_path)) == Counts(
        macs_kxk=plane * 27,
        macs_depthwise=plane * 9,
        macs_linear=8 * 5,
        parameters=(8 * 27 + 16) + 16 + (8 * 9 + 16) + (5 * 8 + 5),
        kernels=4,
        # The image, two planes of each convolution, the sum, the pool, the linear layer.
        traffic_bytes=4 * (3 * 12 * 12 + plane + 2 * plane + plane + (plane + 8) + (8 + 5)),
    )
    assert depth(normal(cnn(), tmp_path)) == 4


def test_counts_of_attention(tmp_path) -> None:
    """Products of two activations count as well, and a softmax is a kernel."""
    made = model(
        [
            node("MatMul", ["x", "wq"], ["q"]),
            node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
            node("MatMul", ["q", "t"], ["a"]),
            node("Mul", ["a", "scale"], ["s"]),
            node("Softmax", ["s"], ["p"]),
            node("MatMul", ["p", "x"], ["v"]),
            node("Add", ["v", "x"], ["y"]),
        ],
        {"wq": ones(6, 6), "scale": np.float32(0.5)},
        (1, 10, 6),
    )
    tokens, scores = 60, 100
    assert count(normal(made, tmp_path)) == Counts(
        macs_linear=tokens * 6 + scores * 6 + tokens * 10,
        parameters=36,
        kernels=5,
        traffic_bytes=4
        * (
            2 * tokens
            + 2 * tokens
            + (2 * tokens + scores)
            + 2 * scores
            + (scores + 2 * tokens)
            + tokens
        ),
    )
    assert depth(normal(made, tmp_path)) == 4


def test_counts_of_a_decoder(tmp_path) -> None:
    """A transposed convolution, a gate by channel and a concatenation."""
    made = model(
        [
            node("ConvTranspose", ["x", "w"], ["u"], strides=[2, 2]),
            node("GlobalAveragePool", ["u"], ["g"]),
            node("Sigmoid", ["g"], ["h"]),
            node("Mul", ["u", "h"], ["m"]),
            node("Concat", ["m", "u"], ["y"], axis=1),
        ],
        {"w": ones(4, 3, 2, 2)},
    )
    before, after = 4 * 64, 3 * 256
    assert count(normal(made, tmp_path)) == Counts(
        macs_kxk=before * 3 * 4,
        parameters=48,
        kernels=3,
        traffic_bytes=4 * (before + after + (after + 3) + 3 + 4 * after),
    )


@pytest.mark.parametrize("space", [NB201(), fbnet32()], ids=lambda space: space.name)
def test_a_network_counts_the_same_when_it_comes_as_a_file(tmp_path, space) -> None:
    """The model of a search space, weights put in and taken out again.

    Without `none`: what a convolution makes of zeros is a constant of the file.
    """
    networks = [n for n in space.sample(30, np.random.default_rng(3)) if "none" not in n.code]
    for network in networks[:5]:
        exported = space.model(network)
        learnt = exported.graph.input[1:]
        for value in learnt:
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            exported.graph.initializer.append(numpy_helper.from_array(ones(*shape), value.name))
        del exported.graph.input[1:]
        path = tmp_path / "model.onnx"
        onnx.save(exported, path)
        files = OnnxFiles(import_file(path))
        (found,) = files.sample(1, np.random.default_rng(0))
        own = space.feature_names.index("macs")
        np.testing.assert_array_equal(
            files.features([found])[0], space.features([network])[0, own:]
        )
        assert count(files.model(found)) == graph_count(space.graph(network))
        assert Network.from_id(found.id) == found
