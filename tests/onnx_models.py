"""Small ONNX models as other programs write them, with trained weights in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]

OPSET = 17


def model(
    nodes: Sequence[NodeProto],
    initializers: Mapping[str, Array] | None = None,
    input_shape: Sequence[int | str] | None = (1, 4, 8, 8),
    opset: int = OPSET,
    **changes: Any,
) -> ModelProto:
    """A model from `x` to `y`. changes: other `inputs` or `outputs`, as value infos."""
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(value, name) for name, value in (initializers or {}).items()]
    inputs, outputs = changes.get("inputs", [source]), changes.get("outputs", [sink])
    graph = helper.make_graph(list(nodes), "exported", inputs, outputs, tensors)
    domains = {"", *(node.domain for node in nodes)}
    opsets = [helper.make_opsetid(domain, 1 if domain else opset) for domain in sorted(domains)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    # A file must say the rank of its output.
    inferred = onnx.shape_inference.infer_shapes(made, data_prop=True)
    for declared, found in zip(made.graph.output, inferred.graph.output, strict=True):
        declared.CopyFrom(found)
        declared.type.tensor_type.shape.SetInParent()
    return made


def batch_norm(name: str, channels: int, rng: np.random.Generator) -> dict[str, Array]:
    """Scale, shift, mean and variance, in the order of the operator's operands."""
    values = rng.normal(size=(3, channels)).astype(np.float32)
    variance = rng.uniform(0.5, 2, channels).astype(np.float32)
    return dict(zip([f"{name}.{part}" for part in "gbmv"], [*values, variance], strict=True))


def weights(channels: int = 8, seed: int = 0) -> dict[str, Array]:
    """What `cnn` has learnt."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape, scale=0.5).astype(np.float32)

    return {
        "conv.w": normal(channels, 3, 3, 3),
        **batch_norm("bn", channels, rng),
        **batch_norm("pre", channels, rng),
        "deep.w": normal(channels, 1, 3, 3),
        "deep.b": normal(channels),
        "fc.w": normal(5, channels),
        "fc.b": normal(5),
    }


def cnn(
    channels: int = 8,
    seed: int = 0,
    input_shape: Sequence[int | str] = (1, 3, 12, 12),
    strides: int = 2,
) -> ModelProto:
    """Batch norm after a convolution and on its own, a depthwise convolution, a residual sum, and
    a flattening that asks for the batch, as exporters of dynamic shapes write it."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "conv.w"], ["c"], "stem/Conv", strides=[strides] * 2, pads=[1] * 4),
        node("BatchNormalization", ["c", *[f"bn.{p}" for p in "gbmv"]], ["n"], epsilon=0.1),
        node("Relu", ["n"], ["r"]),
        node("BatchNormalization", ["r", *[f"pre.{p}" for p in "gbmv"]], ["p"], epsilon=0.1),
        node("Conv", ["p", "deep.w", "deep.b"], ["d"], group=channels, pads=[1] * 4),
        node("Add", ["d", "r"], ["s"]),
        node("GlobalAveragePool", ["s"], ["g"]),
        node("Shape", ["g"], ["g.shape"]),
        node("Gather", ["g.shape", "zero"], ["batch"], axis=0),
        node("Concat", ["batch", "rest"], ["flat.shape"], axis=0),
        node("Reshape", ["g", "flat.shape"], ["f"]),
        node("Gemm", ["f", "fc.w", "fc.b"], ["y"], transB=1),
    ]
    integers = {"zero": np.array([0]), "rest": np.array([-1])}
    return model(nodes, {**weights(channels, seed), **integers}, input_shape)


def inputs(made: ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's inputs, by name."""
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in made.graph.input
    }


def info(name: str, kind: int = TensorProto.FLOAT, shape: Any = (1, 4)) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def branching(asked: Sequence[NodeProto] = (), yes: Any = True) -> ModelProto:
    """An If whose condition `asked` computes from the input, or that is known: `yes`."""
    then = helper.make_graph([helper.make_node("Relu", ["x"], ["t"])], "then", [], [info("t")])
    other = helper.make_graph([helper.make_node("Abs", ["x"], ["e"])], "else", [], [info("e")])
    branch = helper.make_node("If", ["yes"], ["y"], "choose", then_branch=then, else_branch=other)
    known = {} if asked else {"yes": np.array(yes)}
    return model([*asked, branch], known, (1, 4), outputs=[info("y")])


POSITIVE = (
    helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
    helper.make_node("Cast", ["largest"], ["yes"], to=TensorProto.BOOL),
)


def sparse() -> ModelProto:
    made = model([helper.make_node("Mul", ["x", "w"], ["y"])], input_shape=(1, 4))
    made.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0]),
            helper.make_tensor("i", TensorProto.INT64, [1], [2]),
            [4],
        )
    )
    return made


def of_opset(version: int, nodes: Sequence[NodeProto]) -> ModelProto:
    """A model whose opset the checker may not know."""
    made = model(nodes)
    made.opset_import[0].version = version
    return made


def valueless(kind: int, dims: Sequence[int]) -> ModelProto:
    """A weight that has a shape and no values."""
    made = model([helper.make_node("Add", ["x", "w"], ["y"])], outputs=[info("y")])
    made.graph.initializer.append(TensorProto(name="w", data_type=kind, dims=dims))
    return made


REFUSED = {
    "empty input": (
        model([helper.make_node("Relu", ["x"], ["y"])], input_shape=(3, 0)),
        "input 'x' is 3,0, which is empty: axis 1 has size zero",
    ),
    "empty value": (
        model(
            [helper.make_node("Slice", ["x", "from", "to"], ["y"], "cut")],
            {"from": np.array([0]), "to": np.array([0])},
        ),
        "what node 'cut' (Slice) makes is 0,4,8,8, which is empty: a size is zero",
    ),
    "large input": (
        model([helper.make_node("Relu", ["x"], ["y"])], input_shape=(1, 10**9)),
        "'x' is 1,1000000000, which is 1000000000 elements; a tensor has 536870912 at most",
    ),
    "large constant": (
        model(
            [
                helper.make_node("ConstantOfShape", ["many"], ["c"]),
                helper.make_node("ReduceMax", ["c"], ["m"]),
                helper.make_node("Add", ["x", "m"], ["y"]),
            ],
            {"many": np.array([10**10])},
        ),
        "'c' is 10000000000, which is 10000000000 elements",
    ),
    "large weight": (
        valueless(TensorProto.FLOAT, (1, 10**10)),
        "'w' is 1,10000000000, which is 10000000000 elements",
    ),
    "integers without values": (
        valueless(TensorProto.INT64, (4,)),
        "'w' has no values; only float32 weights need none",
    ),
    "opset of the future": (
        of_opset(99, [helper.make_node("Relu", ["x"], ["y"])]),
        "its opset is 99, supported are 7 to 26, and onnx does not convert it to 26",
    ),
    "sequence": (
        model(
            [
                helper.make_node("SequenceEmpty", [], ["none"]),
                helper.make_node("SequenceInsert", ["none", "x"], ["one"]),
                helper.make_node("SequenceAt", ["one", "at"], ["y"]),
            ],
            {"at": np.array(0)},
        ),
        "the shape of what node 'none' (SequenceEmpty) makes is not known before it runs",
    ),
    "strings": (
        model([helper.make_node("Identity", ["x"], ["y"])], inputs=[info("x", TensorProto.STRING)]),
        "input 'x' is object; a device can fill bool, float16, float32",
    ),
    "no input": (
        model([helper.make_node("Relu", ["c"], ["y"])], {"c": np.zeros(3, np.float32)}, inputs=[]),
        "a network must have an input, and it has none",
    ),
    "no shape": (
        model([helper.make_node("Relu", ["x"], ["y"])], input_shape=None),
        "input 'x' has no shape; give it one with --shape, such as x=1x3x224x224",
    ),
    "open size": (
        cnn(input_shape=("n", 3, "height", "width")),
        "input 'x' is n,3,height,width, which leaves sizes open; "
        "fix them with --shape, such as height=128,width=128",
    ),
    "open shape": (
        model(
            [
                helper.make_node("NonZero", ["x"], ["n"], "find"),
                helper.make_node("Cast", ["n"], ["y"], to=1),
            ],
            input_shape=(1, 4),
        ),
        "the shape of what node 'find' (NonZero) makes is not known before it runs",
    ),
    "unknown operator": (
        model(
            [helper.make_node("Fancy", ["x"], ["y"], "odd", domain="my.ops")], outputs=[info("y")]
        ),
        "node 'odd' (my.ops.Fancy) is no operator of ONNX's own, and the farm does not know what",
    ),
    "unknown ONNX operator": (
        model([helper.make_node("Relou", ["x"], ["y"], "odd")], outputs=[info("y")]),
        "no valid ONNX model: No Op registered for Relou with domain_version of 17",
    ),
    "control flow": (branching(POSITIVE), "node 'choose' (If) branches or loops"),
    "training": (
        model(
            [
                helper.make_node(
                    "BatchNormalization", ["x", *"gbmv"], ["y", "", ""], "bn", training_mode=1
                )
            ],
            {name: np.ones(4, np.float32) for name in "gbmv"},
        ),
        "node 'bn' (BatchNormalization) is in training mode; export the network for inference",
    ),
    "sparse": (sparse(), "weights must be dense"),
    "no work": (
        model([helper.make_node("Identity", ["x"], ["y"])]),
        "nothing in the network depends on its inputs",
    ),
    "shapes that do not fit": (
        model(
            [helper.make_node("Conv", ["x", "w"], ["y"])],
            {"w": np.ones((2, 2), np.float32)},
            outputs=[info("y")],
        ),
        "its shapes do not fit",
    ),
    "a constant that cannot be": (
        model(
            [
                helper.make_node("Gather", ["c", "i"], ["r"], "bad"),
                helper.make_node("Add", ["x", "r"], ["y"]),
            ],
            {"c": np.ones(4, np.float32), "i": np.array([9])},
        ),
        "node 'bad' (Gather) cannot be computed: index 9 is out of bounds",
    ),
}
"""Models that the farm does not take, each with what it says."""
