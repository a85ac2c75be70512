"""Control flow that is no choice: branches whose condition is known, loops of known length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, helper, numpy_helper

Array = NDArray[Any]

MOST_ROUNDS = 1000
"""A longer loop is not unrolled."""


_AXES_ARE_READ = 13
"""From this opset on Unsqueeze reads its axes; before, they are an attribute."""


def unrolled(node: NodeProto, constants: dict[str, Array], opset: int) -> list[NodeProto] | None:
    """The nodes that an If or a Loop comes to; None for one that runs on values of the input.

    constants: what is known; constants of the branch or the body are added. opset: of all nodes.
    """
    if node.op_type == "If" and _single(node.input[0], constants):
        chosen = "then_branch" if constants[node.input[0]].item() else "else_branch"
        graph = next(a.g for a in node.attribute if a.name == chosen)
        return list(_inlined(graph, f"{node.output[0]}/", {}, list(node.output), constants))
    if node.op_type == "Loop":
        return _rounds(node, constants, opset)
    return None


def rename_reads(node: NodeProto, new: Callable[[str], str]) -> None:
    """Read values under new names, in branches and bodies as well."""
    node.input[:] = [new(name) for name in node.input]
    for graph in subgraphs(node):
        own = {value.name for value in (*graph.input, *graph.initializer)}
        own.update(name for inner in graph.node for name in inner.output)
        outside = _unless(own, new)
        for inner in graph.node:
            rename_reads(inner, outside)
        for value in graph.output:
            value.name = outside(value.name)


def _unless(own: set[str], new: Callable[[str], str]) -> Callable[[str], str]:
    return lambda name: name if name in own else new(name)


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """The branches or bodies of a node."""
    found = [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]
    return found + [g for a in node.attribute if a.type == AttributeProto.GRAPHS for g in a.graphs]


def _inlined(
    graph: GraphProto,
    prefix: str,
    given: Mapping[str, str],
    outputs: Sequence[str],
    constants: dict[str, Array],
) -> Iterator[NodeProto]:
    """The nodes of a subgraph under names of their own. given: names of its inputs outside."""
    names = dict(given)
    for tensor in graph.initializer:
        names[tensor.name] = f"{prefix}{tensor.name}"
        constants[names[tensor.name]] = numpy_helper.to_array(tensor)
    names |= {n: f"{prefix}{n}" for node in graph.node for n in node.output if n}
    for node in graph.node:
        copied = NodeProto()
        copied.CopyFrom(node)
        rename_reads(copied, lambda name: names.get(name, name))
        copied.output[:] = [names.get(name, name) for name in node.output]
        yield copied
    for value, name in zip(graph.output, outputs, strict=True):
        if name:
            yield helper.make_node("Identity", [names.get(value.name, value.name)], [name])


def _rounds(node: NodeProto, constants: dict[str, Array], opset: int) -> list[NodeProto] | None:
    """A loop, round after round."""
    count, condition, *carried = node.input
    if not _single(count, constants) or (condition and not _single(condition, constants)):
        return None
    rounds = int(constants[count].item())
    if condition and not constants[condition].item():
        rounds = 0
    body = next(a.g for a in node.attribute if a.name == "body")
    if rounds > MOST_ROUNDS or not _goes_on(body):
        return None
    nodes: list[NodeProto] = []
    scanned: list[list[str]] = [[] for _ in body.output[1 + len(carried) :]]
    for number in range(rounds):
        own = f"{node.output[0]}/{number}"
        constants |= {f"{own} number": np.array(number, np.int64), f"{own} goes on": np.array(True)}
        inputs = [value.name for value in body.input]
        given = dict(zip(inputs, (f"{own} number", f"{own} goes on", *carried), strict=True))
        made = [f"{own} output {i}" for i in range(len(body.output))]
        nodes += _inlined(body, f"{own}/", given, made, constants)
        carried = made[1 : 1 + len(carried)]
        for collected, name in zip(scanned, made[1 + len(carried) :], strict=True):
            collected.append(name)
    for name, output in zip(carried, node.output, strict=False):
        nodes.append(helper.make_node("Identity", [name], [output]))
    for collected, output in zip(scanned, node.output[len(carried) :], strict=False):
        if not collected:
            return None
        nodes += _stacked(collected, output, constants, opset)
    return nodes


def _stacked(
    names: Sequence[str], output: str, constants: dict[str, Array], opset: int
) -> Iterator[NodeProto]:
    """What each round made, along a new first axis."""
    constants[f"{output}/axis"] = np.array([0])
    rows = [f"{name}/row" for name in names]
    for name, row in zip(names, rows, strict=True):
        if opset < _AXES_ARE_READ:
            yield helper.make_node("Unsqueeze", [name], [row], axes=[0])
        else:
            yield helper.make_node("Unsqueeze", [name, f"{output}/axis"], [row])
    yield helper.make_node("Concat", rows, [output], axis=0)


def _single(name: str, constants: Mapping[str, Array]) -> bool:
    """Whether a value is known, and a single one."""
    return name in constants and constants[name].size == 1


def _goes_on(body: GraphProto) -> bool:
    """Whether the condition of every round is the one before, or always true."""
    name = body.output[0].name
    makers = {made: node for node in body.node for made in node.output}
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    if name == body.input[1].name:
        return True
    tensors = {tensor.name: tensor for tensor in body.initializer}
    if name in makers and makers[name].op_type == "Constant":
        tensors[name] = makers[name].attribute[0].t
    return name in tensors and bool(numpy_helper.to_array(tensors[name]).item())
