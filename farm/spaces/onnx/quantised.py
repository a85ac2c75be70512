"""Integer operators as the float ones that they stand for, between steps of quantisation.

A quantised network is measured as it is told in ONNX's quantise-and-dequantise form: its weights
and activations are rounded to the steps of their integers, and summed as float32. TVM's rules for
CPUs have no integer products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper

from farm.core.errors import NetworkSyntaxError
from farm.spaces.onnx.draft import Draft, domain_of
from farm.spaces.onnx.read import node_label

_Writer = Callable[[Draft, NodeProto], Iterator[NodeProto]]

STEPS = ("DequantizeLinear", "QuantizeLinear")
"""Operators of which every quantised network has some, once it is written so."""


def write_as_floats(draft: Draft) -> None:
    """Writes integer convolutions, products and what lies between them as float operators."""
    nodes: list[NodeProto] = []
    for node in draft.nodes:
        write = _WRITERS.get((domain_of(node.domain), node.op_type))
        nodes += [node] if write is None else write(draft, node)
    draft.nodes = nodes


def _q_linear(operator: str, operands: int) -> _Writer:
    """Of an operator of so many operands, each with its scale and zero point, and then those of the
    output. A convolution also has a bias, of int32."""

    def write(draft: Draft, node: NodeProto) -> Iterator[NodeProto]:
        read = [list(node.input[3 * i : 3 * i + 3]) for i in range(operands)]
        steps = list(node.input[3 * operands : 3 * operands + 2])
        values, writing = _dequantised(node, read, 0 if operator == "Conv" else None)
        yield from writing
        if bias := [name for name in node.input[3 * operands + 2 :] if name]:
            values.append(_bias(draft, node, bias[0], read))
        yield _like(node, operator, values, f"{_label(node)}/y")
        yield _quantise(node, [f"{_label(node)}/y", *steps])

    return write


def _q_linear_concat(_: Draft, node: NodeProto) -> Iterator[NodeProto]:
    steps, others = list(node.input[:2]), list(node.input[2:])
    read = [others[i : i + 3] for i in range(0, len(others), 3)]
    values, writing = _dequantised(node, read)
    yield from writing
    yield _like(node, "Concat", values, f"{_label(node)}/y")
    yield _quantise(node, [f"{_label(node)}/y", *steps])


def _q_gemm(draft: Draft, node: NodeProto) -> Iterator[NodeProto]:
    """With a bias of int32, or none; without steps for the output it is a float."""
    read = [list(node.input[:3]), list(node.input[3:6])]
    bias = next(iter(node.input[6:7]), "")
    steps = [name for name in node.input[7:] if name]
    values, writing = _dequantised(node, read)
    yield from writing
    if bias:
        values.append(_bias(draft, node, bias, read))
    made = f"{_label(node)}/y" if steps else node.output[0]
    yield _like(node, "Gemm", values, made)
    if steps:
        yield _quantise(node, [made, *steps])


def _dequantised(
    node: NodeProto, read: Sequence[list[str]], axis: int | None = None
) -> tuple[list[str], list[NodeProto]]:
    """The float values of quantised ones, each with its scale and zero point, and what makes them.

    axis: along which the second has a scale for each part.
    """
    made = [f"{_label(node)}/{number}" for number in range(len(read))]
    axes = [{} if axis is None or number != 1 else {"axis": axis} for number in range(len(read))]
    nodes = [
        helper.make_node("DequantizeLinear", operand, [name], name, **chosen)
        for operand, name, chosen in zip(read, made, axes, strict=True)
    ]
    return made, nodes


def _bias(draft: Draft, node: NodeProto, bias: str, read: Sequence[list[str]]) -> str:
    """The float bias of a sum of products, whose step is the product of theirs."""
    if not draft.constants.keys() >= {bias, read[0][1], read[1][1]}:
        raise NetworkSyntaxError(
            f"{node_label(node)} has a bias, or scales, that are computed as it runs; "
            "quantise the network with fixed ones"
        )
    scale = draft.constants[read[0][1]] * draft.constants[read[1][1]]
    name = f"{_label(node)}/bias"
    draft.constants[name] = (draft.constants[bias] * scale).astype(np.float32)
    return name


def _integer(operator: str) -> _Writer:
    """Of an operator on integers less their zero points, whose sums are int32."""

    def write(_: Draft, node: NodeProto) -> Iterator[NodeProto]:
        label = _label(node)
        operands, zeros = list(node.input[:2]), [*node.input[2:], "", ""]
        for number, (name, zero) in enumerate(zip(operands, zeros, strict=False)):
            made = f"{label}/{number}"
            yield helper.make_node("Cast", [name], [made], made, to=TensorProto.FLOAT)
            if zero:
                yield helper.make_node("Cast", [zero], [f"{made}/zero"], to=TensorProto.FLOAT)
                less = f"{made}/less"
                yield helper.make_node("Sub", [made, f"{made}/zero"], [less], less)
            operands[number] = f"{made}/less" if zero else made
        yield _like(node, operator, operands, f"{label}/y")
        to = TensorProto.INT32
        yield helper.make_node("Cast", [f"{label}/y"], list(node.output), f"{label}/sums", to=to)

    return write


_ORT = "com.microsoft"
"""The domain of operators of onnxruntime's, of which its quantiser uses some."""

_WRITERS: Mapping[tuple[str, str], _Writer] = {
    ("", "ConvInteger"): _integer("Conv"),
    ("", "MatMulInteger"): _integer("MatMul"),
    ("", "QLinearConv"): _q_linear("Conv", 2),
    ("", "QLinearMatMul"): _q_linear("MatMul", 2),
    (_ORT, "QGemm"): _q_gemm,
    (_ORT, "QLinearAdd"): _q_linear("Add", 2),
    (_ORT, "QLinearAveragePool"): _q_linear("AveragePool", 1),
    (_ORT, "QLinearConcat"): _q_linear_concat,
    (_ORT, "QLinearGlobalAveragePool"): _q_linear("GlobalAveragePool", 1),
    (_ORT, "QLinearLeakyRelu"): _q_linear("LeakyRelu", 1),
    (_ORT, "QLinearMul"): _q_linear("Mul", 2),
    (_ORT, "QLinearSigmoid"): _q_linear("Sigmoid", 1),
}


def _label(node: NodeProto) -> str:
    return str(node.name or node.output[0])


def _like(node: NodeProto, operator: str, inputs: list[str], output: str) -> NodeProto:
    """The float operator, with the attributes of the integer one."""
    made = helper.make_node(operator, inputs, [output], _label(node))
    # Where channels come first, as in all of ONNX, onnxruntime says so.
    made.attribute.extend(a for a in node.attribute if a.name != "channels_last")
    return made


def _quantise(node: NodeProto, inputs: list[str]) -> NodeProto:
    return helper.make_node("QuantizeLinear", inputs, list(node.output), f"{_label(node)}/steps")
