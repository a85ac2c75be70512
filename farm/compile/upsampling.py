"""Transposed convolutions whose windows do not overlap, as convolutions of single pixels.

Each pixel becomes a block of pixels: a product with (I, O k l) weights, which are then put in their
places. A deployed network would have its weights in that order, and seeded ones are in any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from farm.core.arguments import weights


def as_convolutions(model: ModelProto) -> bool:
    """Rewrites what can be in a model with inferred shapes, whose inputs then fit; whether any."""
    graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    learnt = {value.name: value for value in weights(model)}
    uses = [name for node in graph.node for name in node.input]
    nodes: list[NodeProto] = []
    for node in graph.node:
        own = [name for name in node.input[1:] if name]
        if _fits(node, shapes) and all(n in learnt and uses.count(n) == 1 for n in own):
            nodes += _written(node, shapes, learnt)
        else:
            nodes.append(node)
    if len(nodes) == len(graph.node):
        return False
    del graph.node[:]
    graph.node.extend(nodes)
    return True


def _fits(node: NodeProto, shapes: Mapping[str, list[int]]) -> bool:
    if node.op_type != "ConvTranspose" or len(shapes.get(node.input[1], ())) != 4:
        return False
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    kernel = shapes[node.input[1]][2:]
    plain = not any(given.get("pads", ())) and not any(given.get("output_padding", ()))
    plain = plain and given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    single = given.get("group", 1) == 1 and set(given.get("dilations", (1,))) == {1}
    whole = list(given.get("strides", (1, 1))) == kernel and "output_shape" not in given
    return plain and single and whole and all(shapes[node.input[0]])


def _written(
    node: NodeProto, shapes: Mapping[str, list[int]], learnt: Mapping[str, Any]
) -> Iterator[NodeProto]:
    x, weight, *bias = node.input
    (inputs, outputs, *kernel), (batch, _, height, width) = shapes[weight], shapes[x]
    block, made = prod(kernel), node.output[0]
    _reshape(learnt[weight], [outputs * block, inputs, 1, 1])
    for name in filter(None, bias):
        _reshape(learnt[name], [outputs * block])
    yield helper.make_node("Conv", list(node.input), [f"{made}/blocks"], node.name)
    split = [batch, outputs, *kernel, height, width]
    whole = [batch, outputs, height * kernel[0], width * kernel[1]]
    yield _constant(f"{made}/split", split)
    yield helper.make_node("Reshape", [f"{made}/blocks", f"{made}/split"], [f"{made}/parts"])
    order = [0, 1, 4, 2, 5, 3]
    yield helper.make_node("Transpose", [f"{made}/parts"], [f"{made}/placed"], perm=order)
    yield _constant(f"{made}/whole", whole)
    yield helper.make_node("Reshape", [f"{made}/placed", f"{made}/whole"], [made])


def _reshape(value: Any, shape: list[int]) -> None:
    kind = value.type.tensor_type.elem_type
    value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shape))


def _constant(name: str, sizes: list[int]) -> NodeProto:
    value = numpy_helper.from_array(np.array(sizes, np.int64))
    return helper.make_node("Constant", [], [name], value=value)
