"""The normal form of an ONNX model: the work of the network, without its weights' values.

- What depends on no input is computed now: shapes, axes, transposed weights.
- Weights are inputs after the network's own, in node order; devices fill them with seeded values.
  Other constants keep their value: shapes, single numbers, and operands that not every value
  suits, such as a divisor.
- Automatic pads are written out.
- Batch norm is folded into the layer before it, else it is a scale and a shift, as in
  `export`. Its variance, which a seeded value would make negative, is gone with that.
- Names say only what a node is and where it stands, but nodes keep theirs, for messages.

Two exports of one network have one normal form if they write down the same operations: trained or
not, folded or not. A fixed batch and one that is left to devices are two networks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from farm.core.arguments import TYPES, dtype_name, input_name
from farm.core.errors import NetworkSyntaxError
from farm.spaces.onnx.control import subgraphs
from farm.spaces.onnx.draft import Array, Draft, ValueType, domain_of, draft_of, infer
from farm.spaces.onnx.export import IR_VERSION
from farm.spaces.onnx.fold import drop_aliases, drop_idle_casts, fold_constants
from farm.spaces.onnx.pads import write_pads
from farm.spaces.onnx.quantised import write_as_floats
from farm.spaces.onnx.read import node_label

_LAYERS = {"Conv", "ConvTranspose", "Gemm"}
"""What batch norm is folded into: layers whose third operand is a bias."""

_PARAMETRIC = {
    *_LAYERS,
    "GRU",
    "GroupNormalization",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "PRelu",
    "RNN",
}
"""Operators whose operands after the first are weights, if they are known."""

_ARITHMETIC = {"Add", "Concat", "Einsum", "MatMul", "Mul", "Sub"}
"""Operators of which any operand can be a weight, unless it is a single number."""

_TABLES = {"Gather"}
"""Operators that choose from a table of weights, their first operand."""

_OF_INTEGERS = {"Cast", "DequantizeLinear"}
"""Operators whose first operand is a weight of a quantised network, if it is known."""


def normalise(model: ModelProto) -> ModelProto:
    """The normal form of a checked model with static inputs (`read.read`).

    The model is used up. Raises NetworkSyntaxError for a network whose operations depend on values,
    and for one that computes nothing.
    """
    draft = draft_of(model)
    drop_aliases(draft)
    fold_constants(draft)
    write_as_floats(draft)
    fold_constants(draft)
    drop_idle_casts(draft)
    for node in draft.nodes:
        write_pads(node, draft.shape_of)
    _fold_batch_norms(draft)
    _drop_unread(draft)
    infer(draft)
    _check(draft)
    return _write(draft)


def _fold_batch_norms(draft: Draft) -> None:
    readers = Counter([name for node in draft.nodes for name in node.input] + draft.outputs)
    makers = {node.output[0]: node for node in draft.nodes if node.output}
    nodes = []
    for node in draft.nodes:
        if node.op_type != "BatchNormalization" or not _is_known(draft, node):
            nodes.append(node)
            continue
        maker = makers.get(node.input[0])
        if maker is not None and maker.op_type in _LAYERS and readers[node.input[0]] == 1:
            maker.output[0] = node.output[0]
            # Its value does not matter, as devices fill it; its shape is right.
            maker.input[2:] = list(maker.input[2:]) or [node.input[2]]
        else:
            nodes += _scale_and_shift(draft, node)
    draft.nodes = nodes


def _is_known(draft: Draft, node: NodeProto) -> bool:
    known = all(name in draft.constants for name in node.input[1:])
    return known and draft.shape_of(node.input[0]) is not None


def _scale_and_shift(draft: Draft, node: NodeProto) -> Iterator[NodeProto]:
    """Batch norm as y = scale * x + shift; scale and shift: (C, 1, ..., 1)."""
    x, *parameters = node.input
    gamma, beta, mean, variance = (draft.constants[name] for name in parameters)
    epsilon = {a.name: a.f for a in node.attribute}.get("epsilon", 1e-5)
    shape = (-1, *[1] * (len(draft.shape_of(x) or ()) - 2))
    kind = gamma.dtype
    with np.errstate(all="ignore"):  # only shapes count, and those of a damaged file are right
        scale = (gamma / np.sqrt(variance + epsilon)).reshape(shape).astype(kind)
    shift = (beta.reshape(shape) - mean.reshape(shape) * scale).astype(kind)
    out = node.output[0]
    draft.constants |= {f"{out}/scale": scale, f"{out}/shift": shift}
    name = node.name or out
    yield helper.make_node("Mul", [x, f"{out}/scale"], [f"{out}/scaled"], f"{name}/scale")
    yield helper.make_node("Add", [f"{out}/scaled", f"{out}/shift"], [out], f"{name}/shift")


def _drop_unread(draft: Draft) -> None:
    # What is known beforehand, or handed over once already, is no work.
    draft.outputs = [n for n in dict.fromkeys(draft.outputs) if n not in draft.constants]
    read, nodes = set(draft.outputs), []
    for node in reversed(draft.nodes):
        if read.intersection(node.output):
            read.update(node.input)
            nodes.append(node)
    draft.nodes = nodes[::-1]
    draft.constants = {name: draft.constants[name] for name in draft.constants if name in read}


def _check(draft: Draft) -> None:
    """Refuses networks whose work depends on values, and those with no work at all."""
    if not draft.nodes:
        raise NetworkSyntaxError("nothing in the network depends on its inputs")
    for node in draft.nodes:
        _refuse_branches(node)
        for name in filter(None, node.output):
            shape = draft.types.get(name, ValueType(0, None)).shape
            if shape is not None and 0 in shape:
                text = ",".join(map(str, shape))
                raise NetworkSyntaxError(
                    f"what {node_label(node)} makes is {text}, which is empty: a size is zero"
                )
            if shape is None and domain_of(node.domain):
                raise NetworkSyntaxError(
                    f"{node_label(node)} is no operator of ONNX's own, and the farm does not know "
                    "what it computes; export the network without it"
                )
            if shape is None:
                raise NetworkSyntaxError(
                    f"the shape of what {node_label(node)} makes is not known before it runs; "
                    "only networks of static shapes and known operators can be compiled"
                )
    for name in draft.outputs:
        if name not in draft.types:
            raise NetworkSyntaxError(f"no node makes the output {name!r}; export the network anew")
        kind = dtype_name(draft.types[name].elem_type)
        if kind not in TYPES:
            raise NetworkSyntaxError(
                f"the output {name!r} is {kind}; outputs are of {', '.join(TYPES)}"
            )


def _refuse_branches(node: NodeProto) -> None:
    if subgraphs(node):
        raise NetworkSyntaxError(
            f"a network must run the same operations for every input, but {node_label(node)} "
            "branches or loops by what it is given; export it without control flow"
        )


@dataclass
class _Writer:
    """Nodes under new names. names, weights: the new name of each value, of each weight."""

    draft: Draft
    names: dict[str, str]
    weights: dict[str, str] = field(default_factory=dict)
    nodes: list[NodeProto] = field(default_factory=list)

    def add(self, node: NodeProto, label: str) -> None:
        operands = [
            self.names[source] if source in self.names else self._known(node, position, label)
            for position, source in enumerate(node.input)
        ]
        made = [f"{label}.{i}" if i else label for i in range(len(node.output))]
        self.names |= {old: new for old, new in zip(node.output, made, strict=True) if old}
        self.nodes.append(_renamed(node, operands, [self.names[old] for old in node.output]))

    def _known(self, node: NodeProto, position: int, label: str) -> str:
        """The name of a weight, or of a constant that no other node reads."""
        source, name = node.input[position], f"{label}_{position}"
        value = self.draft.constants[source]
        if _is_weight(node, position, value):
            if not value.size:
                raise NetworkSyntaxError(
                    f"the weight {source!r} of {node_label(node)} is empty: a size is zero"
                )
            return self.weights.setdefault(source, name)
        self.nodes.append(_constant(name, value))
        return name


def _write(draft: Draft) -> ModelProto:
    """The model under new names; `value_info` is left to whoever needs it."""
    for number, name in enumerate(draft.outputs):
        if name in {source.name for source in draft.sources}:
            draft.outputs[number] = f"{name}/copy"
            draft.nodes.append(helper.make_node("Identity", [name], [draft.outputs[number]]))
            draft.types = {**draft.types, f"{name}/copy": draft.types[name]}
    names = {source.name: input_name(number) for number, source in enumerate(draft.sources)}
    writer = _Writer(draft, {**names, "": ""})
    for number, node in enumerate(draft.nodes):
        writer.add(node, f"{node.op_type.lower()}{number}")
    for source in draft.sources:
        source.doc_string, source.name = source.name, names[source.name]
    inputs = list(draft.sources)
    for old, new in writer.weights.items():
        value = draft.constants[old]
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        inputs.append(helper.make_tensor_value_info(new, kind, value.shape))
    outputs = [
        helper.make_tensor_value_info(writer.names[name], found.elem_type, found.shape)
        for name, found in ((name, draft.types[name]) for name in draft.outputs)
    ]
    return helper.make_model(
        helper.make_graph(writer.nodes, "network", inputs, outputs),
        opset_imports=_used_opsets(draft),
        ir_version=IR_VERSION,
        producer_name="latency-farm",
    )


def _constant(name: str, value: Array) -> NodeProto:
    """A node: an initializer would become an input of the compiled network."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _is_weight(node: NodeProto, position: int, value: Array) -> bool:
    if domain_of(node.domain):
        return False
    if value.dtype in (np.int8, np.uint8, np.int32):
        return value.size > 1 and position == 0 and node.op_type in _OF_INTEGERS
    if value.dtype not in (np.float32, np.float16):
        return False
    if node.op_type in _TABLES:
        return position == 0 and value.size > 1
    parametric = node.op_type in _PARAMETRIC and position > 0
    return parametric or (node.op_type in _ARITHMETIC and value.size > 1)


def _renamed(node: NodeProto, inputs: Sequence[str], outputs: Sequence[str]) -> NodeProto:
    """attributes: by name, as exporters write them in different orders."""
    attributes = sorted(node.attribute, key=lambda attribute: str(attribute.name))
    domain = domain_of(node.domain)
    renamed = helper.make_node(node.op_type, inputs, outputs, node.name, domain=domain)
    renamed.attribute.extend(attributes)
    return renamed


def _used_opsets(draft: Draft) -> list[Any]:
    used = {domain_of(node.domain) for node in draft.nodes}
    versions = sorted((domain_of(opset.domain), opset.version) for opset in draft.opsets)
    return [helper.make_opsetid(*version) for version in versions if version[0] in used]
