"""Every kind of kernel, in many shapes: all its outputs are those of onnxruntime.

A dense layer after each reads every value, so that the few outputs that a build compares depend
on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, shape_inference

from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build
from farm.compile.fuse import plan
from farm.compile.graph import read
from farm.compile.groups import Group, Operation
from farm.compile.kernel_cache import KernelCache
from farm.compile.prepare import prepared

node = helper.make_node
Shape = tuple[int, ...]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> KernelCache:
    return KernelCache(tmp_path_factory.mktemp("kernels"))


def model(
    nodes: Sequence[NodeProto], weights: dict[str, Shape], shape: Shape = (1, 8, 9, 9)
) -> onnx.ModelProto:
    """A model from `x` to `y`, followed by a dense layer that reads all of `y`."""
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    values += [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in weights.items()]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(list(nodes), "network", values, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = shape_inference.infer_shapes(made, data_prop=True)
    size = prod(d.dim_value for d in made.graph.output[0].type.tensor_type.shape.dim)
    made.graph.node.extend(
        [node("Flatten", ["y"], ["flat"], axis=0), node("Gemm", ["flat", "dense"], ["out"])]
    )
    made.graph.input.append(helper.make_tensor_value_info("dense", TensorProto.FLOAT, [size, 16]))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 16]))
    return made


def conv(
    shape: Shape, channels: int, kernel: int, stride: int = 1, groups: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """A convolution with bias, between ReLUs of which one joins it at its input."""
    pads = attributes.pop("pads", [kernel // 2] * 4)
    nodes = [
        node("Relu", ["x"], ["r"]),
        node(
            "Conv",
            ["r", "w", "b"],
            ["c"],
            pads=pads,
            strides=[stride] * 2,
            group=groups,
            **attributes,
        ),
        node("Relu", ["c"], ["y"]),
    ]
    weights = {"w": (channels, shape[1] // groups, kernel, kernel), "b": (channels,)}
    return model(nodes, weights, shape)


CONVOLUTIONS = {
    "many tiles": conv((1, 16, 20, 20), 36, 3),
    "channels that no block divides": conv((1, 5, 9, 7), 11, 3),
    "fewer pixels than lanes": conv((1, 8, 3, 3), 8, 3),
    "one pixel": conv((1, 24, 1, 1), 10, 1),
    "1x1": conv((1, 40, 7, 7), 24, 1),
    "1x1 of stride 2": conv((1, 8, 9, 9), 12, 1, stride=2),
    "3x3 of stride 2": conv((1, 6, 16, 16), 12, 3, stride=2),
    "5x5 of stride 3": conv((1, 4, 17, 17), 8, 5, stride=3),
    "dilated": conv((1, 4, 12, 12), 8, 3, pads=[2] * 4, dilations=[2, 2]),
    "dilated, of stride 2": conv((1, 4, 12, 12), 8, 3, stride=2, pads=[2] * 4, dilations=[3, 2]),
    "pads that differ": conv((1, 4, 10, 12), 8, 3, pads=[0, 1, 2, 3]),
    "grouped": conv((1, 12, 10, 10), 24, 3, groups=3),
    "grouped 1x1": conv((1, 12, 10, 10), 18, 1, groups=2),
    "several images": conv((3, 4, 8, 8), 8, 3),
    "depthwise": conv((1, 10, 18, 20), 10, 3, groups=10),
    "depthwise of stride 2": conv((1, 6, 13, 13), 6, 5, stride=2, groups=6),
    "depthwise, narrow": conv((2, 7, 5, 3), 7, 3, groups=7),
    "depthwise, dilated": conv((1, 4, 12, 12), 4, 3, groups=4, pads=[2] * 4, dilations=[2, 2]),
    "depthwise with a multiplier": conv((1, 6, 8, 8), 12, 3, groups=6),
    "one-dimensional": model([node("Conv", ["x", "w"], ["y"])], {"w": (4, 3, 5)}, (1, 3, 20)),
    "padded by its name": model(
        [node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": (4, 8, 3, 3)},
    ),
}

POOL = {"kernel_shape": [3, 3], "pads": [1] * 4}
OTHERS = {
    "pool": model([node("AveragePool", ["x"], ["y"], **POOL)], {}, (1, 5, 16, 18)),
    "pool of stride 2": model([node("AveragePool", ["x"], ["y"], strides=[2, 2], **POOL)], {}),
    "pool that counts padding": model(
        [node("AveragePool", ["x"], ["y"], count_include_pad=1, **POOL)], {}
    ),
    "maximum pool": model([node("MaxPool", ["x"], ["y"], **POOL)], {}, (1, 4, 16, 16)),
    "mean": model([node("GlobalAveragePool", ["x"], ["y"])], {}, (2, 9, 7, 7)),
    "dense": model([node("Gemm", ["x", "w", "b"], ["y"])], {"w": (50, 70), "b": (70,)}, (3, 50)),
    "dense, transposed": model(
        [node("Gemm", ["x", "w", "b"], ["y"], transB=1)], {"w": (70, 50), "b": (70,)}, (3, 50)
    ),
    "scale and shift": model(
        [node("Mul", ["x", "s"], ["m"]), node("Sub", ["t", "m"], ["y"])],
        {"s": (8, 1, 1), "t": (8, 1, 1)},
    ),
    "sum of branches": model(
        [
            node("Conv", ["x", "w"], ["a"]),
            node("Relu", ["x"], ["r"]),
            node("Add", ["a", "r"], ["s"]),
            node("Add", ["x", "s"], ["y"]),
        ],
        {"w": (8, 8, 1, 1)},
    ),
    "a value that is read twice": model(
        [
            node("Conv", ["x", "w"], ["c"]),
            node("Relu", ["c"], ["r"]),
            node("Sub", ["r", "c"], ["y"]),
        ],
        {"w": (8, 8, 1, 1)},
    ),
    "split and joined": model(
        [
            node("Constant", [], ["sizes"], value_ints=[3, 5]),
            node("Split", ["x", "sizes"], ["a", "b"], axis=1),
            node("Concat", ["b", "a"], ["y"], axis=1),
        ],
        {},
    ),
    "integers and truth values between": model(
        [
            node("ArgMax", ["x"], ["i"], axis=1),
            node("Cast", ["i"], ["f"], to=1),
            node("Constant", [], ["three"], value_float=3.0),
            node("Greater", ["f", "three"], ["g"]),
            node("Where", ["g", "x", "f"], ["y"]),
        ],
        {},
    ),
    "squeeze and excitation": model(
        [
            node("GlobalAveragePool", ["x"], ["g"]),
            node("Conv", ["g", "w", "b"], ["c"]),
            node("HardSigmoid", ["c"], ["h"]),
            node("Mul", ["x", "h"], ["y"]),
        ],
        {"w": (8, 8, 1, 1), "b": (8,)},
    ),
    "attention": model(
        [
            node("MatMul", ["x", "q"], ["a"]),
            node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
            node("MatMul", ["a", "t"], ["d"]),
            node("Softmax", ["d"], ["p"], axis=-1),
            node("MatMul", ["p", "x"], ["o"]),
            node("LayerNormalization", ["o", "s", "b"], ["y"]),
        ],
        {"q": (16, 16), "s": (16,), "b": (16,)},
        (1, 10, 16),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CONVOLUTIONS, *OTHERS])
def test_outputs_equal_onnxruntime(
    case: str, host_target: dict[str, Any], store: ArtifactStore, kernels: KernelCache
) -> None:
    artifact = build((CONVOLUTIONS | OTHERS)[case], host_target, store, kernels)
    assert max(map(abs, artifact.program.expected)) > 100 * artifact.program.outputs[0].tolerance


@pytest.mark.slow
@pytest.mark.parametrize("level", ["x86-64", "x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("case", ["many tiles", "3x3 of stride 2", "depthwise", "1x1"])
def test_narrower_vectors(
    level: str,
    case: str,
    host_target: dict[str, Any],
    store: ArtifactStore,
    kernels: KernelCache,
) -> None:
    if host_target.get("mcpu", "") < level:
        pytest.skip(f"this computer is no {level}")
    build(CONVOLUTIONS[case], {**host_target, "mcpu": level, "mattr": []}, store, kernels)


def groups(case: str) -> list[str]:
    """What the kernels of a model compute."""
    calls = plan(read(prepared((CONVOLUTIONS | OTHERS)[case]))).calls
    return [
        "+".join([c.kernel.main, *(s.op for s in c.kernel.steps)])
        for c in calls
        if isinstance(c.kernel, Group)
    ]


def test_fusion() -> None:
    assert groups("3x3 of stride 2") == ["Conv+Add+Relu", "Gemm"]
    assert groups("sum of branches") == ["Copy+Relu", "Conv+Add+Add", "Gemm"]
    assert groups("a value that is read twice") == ["Conv", "Copy+Relu+Sub", "Gemm"]
    assert groups("scale and shift") == ["Copy+Mul+Sub", "Gemm"]


def test_equal_operations_share_a_kernel(
    host_target: dict[str, Any], store: ArtifactStore, tmp_path: Path
) -> None:
    """Whatever their values and nodes are called."""
    nodes = [node("Erf", ["x"], ["a"], name="one"), node("Erf", ["a"], ["y"], name="two")]
    calls = plan(read(prepared(model(nodes, {})))).calls
    operations = [call.kernel for call in calls if isinstance(call.kernel, Operation)]
    assert len({operation.model for operation in operations}) == 1
    assert [operation.name for operation in operations] == ["Erf 'one'", "Erf 'two'"]
    kernels = KernelCache(tmp_path / "kernels")
    build(model(nodes, {}), host_target, store, kernels)
    assert len(list(kernels.root.glob("??/*/kernel.o"))) == 2  # and the dense layer's
