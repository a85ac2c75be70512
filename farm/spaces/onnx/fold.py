"""What of a model is known before it runs: constants, aliases, branches that are no choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, ValueInfoProto, helper
from onnx.reference import ReferenceEvaluator

from farm.core.errors import NetworkSyntaxError
from farm.spaces.onnx.control import rename_reads, subgraphs, unrolled
from farm.spaces.onnx.draft import Array, Draft, ValueType, domain_of, infer
from farm.spaces.onnx.read import node_label

_ALIASES = {"Dropout", "Identity"}
"""Operators that do nothing at inference."""


def drop_aliases(draft: Draft) -> None:
    """Readers of an alias read what it stands for; of a constant's alias, a copy of their own.

    Exporters let equal weights share one initializer through aliases; they are still two weights.
    """
    stands_for: dict[str, str] = {}
    read = {name for node in draft.nodes for name in node.input}
    nodes = []
    for node in draft.nodes:
        rename_reads(node, lambda name: stands_for.get(name, name))
        if node.op_type not in _ALIASES or read.intersection(node.output[1:]):
            nodes.append(node)
        elif node.input[0] in draft.constants:
            draft.constants[node.output[0]] = draft.constants[node.input[0]]
        else:
            stands_for[node.output[0]] = node.input[0]
    draft.nodes = nodes
    draft.outputs = [stands_for.get(name, name) for name in draft.outputs]


def fold_constants(draft: Draft) -> None:
    """Computes what depends on no input. More shapes are known then, and so more to compute."""
    before: list[NodeProto] = []
    while len(before) != len(draft.nodes) or _unroll(draft):
        before = draft.nodes
        infer(draft)
        for node in draft.nodes:
            _name_type(draft, node)
        draft.nodes = [node for node in draft.nodes if not _becomes_constant(draft, node)]


def _unroll(draft: Draft) -> bool:
    """Writes out branches that are known to be taken, and loops of known length; whether any."""
    opset = max((o.version for o in draft.opsets if not domain_of(o.domain)), default=0)
    nodes: list[NodeProto] = []
    for node in draft.nodes:
        nodes += [node] if (found := unrolled(node, draft.constants, opset)) is None else found
    different = len(nodes) != len(draft.nodes) or any(
        a is not b for a, b in zip(nodes, draft.nodes, strict=True)
    )
    draft.nodes = nodes
    if different:
        drop_aliases(draft)
    return different


def _name_type(draft: Draft, node: NodeProto) -> None:
    """A cast to the type of another value is a cast to a type that has a name."""
    if node.op_type != "CastLike":
        return
    like = node.input[1]
    known = draft.constants.get(like)
    kind = draft.types.get(like, ValueType(0, None)).elem_type
    if known is not None:
        kind = helper.np_dtype_to_tensor_dtype(known.dtype)
    if kind:
        node.op_type = "Cast"
        del node.input[1:]
        node.attribute.append(helper.make_attribute("to", kind))


def _becomes_constant(draft: Draft, node: NodeProto) -> bool:
    shape = draft.types.get(node.input[0], ValueType(0, None)).shape if node.input else None
    if node.op_type == "Shape" and shape is not None:
        bounds = {a.name: a.i for a in node.attribute}
        part = shape[bounds.get("start", 0) : bounds.get("end", len(shape))]
        draft.constants[node.output[0]] = np.array(part, np.int64)
        return True
    operands = [name for name in node.input if name]
    if node.op_type == "DequantizeLinear":  # of weights, which stay integers
        return False
    if subgraphs(node):  # which read more than the operands; see `control`
        return False
    if not all(name in draft.constants for name in operands):
        return False
    # A source without operands is a constant, or random numbers.
    if not operands and node.op_type != "Constant":
        return False
    values = _evaluate(node, {name: draft.constants[name] for name in operands}, draft.opsets)
    draft.constants.update(zip(filter(None, node.output), values, strict=True))
    return True


def _evaluate(node: NodeProto, operands: Mapping[str, Array], opsets: Sequence[Any]) -> list[Array]:
    inputs = [ValueInfoProto(name=name) for name in operands]
    outputs = [ValueInfoProto(name=name) for name in node.output if name]
    model = helper.make_model(
        helper.make_graph([node], "constant", inputs, outputs), opset_imports=opsets
    )
    try:
        return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, dict(operands))]
    # The evaluator raises whatever the code of an operator happens to raise.
    except Exception as e:
        reason = " ".join(str(e).split())
        raise NetworkSyntaxError(f"{node_label(node)} cannot be computed: {reason}") from e


def drop_idle_casts(draft: Draft) -> None:
    """Casts to the type that a value has, as they are left of functions, are aliases."""
    for node in draft.nodes:
        kind = draft.types.get(node.input[0], ValueType(0, None)).elem_type if node.input else 0
        if node.op_type == "Cast" and kind and {a.name: a.i for a in node.attribute}["to"] == kind:
            node.op_type = "Identity"
            del node.attribute[:]
    drop_aliases(draft)
