"""One ONNX operation as several simpler ones that compute the same, for what TVM does not import.

Most are written out by the definition that ONNX itself gives of them (a function of simpler
operators), the rest by `farm.compile.definitions`. What depends on shapes and constants alone is
computed here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, defs, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from farm.compile.definitions import DEFINITIONS
from farm.compile.groups import Shape
from farm.compile.operator_parts import Operator

Array = NDArray[Any]


def rewritten(model: ModelProto) -> ModelProto:
    """The model of one operation by a definition of ours; as it is, where there is none."""
    (node,) = model.graph.node
    define = DEFINITIONS.get(node.op_type)
    operator = _operator(model, node)
    nodes = define(operator) if define else None
    if nodes is None:
        return model
    opset = [helper.make_opsetid("", max(operator.opset, _FULL_OPSET))]
    return _folded(_of_nodes(model, nodes, operator.made, opset))


def written_out(model: ModelProto, known: Collection[str]) -> ModelProto | None:
    """The model of one operation by ONNX's definition of it; None if it gives none.

    known: operators whose definition is not needed, should the definition have them in turn.
    """
    (node,) = model.graph.node
    if not _has_definition(model, node):
        return None
    written: set[str] = set()
    names = {str(node.op_type)}
    while names:
        model = _folded(_inlined(model, names))
        written |= names
        parts = [n for n in model.graph.node if n.op_type not in written.union(known)]
        names = {str(part.op_type) for part in parts if _has_definition(model, part)}
    return model


_FULL_OPSET = 18
"""Definitions of ours are in operators of this opset, in which reductions have their axes as
an operand."""


def _operator(model: ModelProto, node: NodeProto) -> Operator:
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values = {value.name: value.type.tensor_type for value in (*graph.input, *graph.output)}
    shapes = {n: tuple(d.dim_value for d in t.shape.dim) for n, t in values.items()}
    kinds = {name: kind.elem_type for name, kind in values.items()}
    for name, value in constants.items():
        shapes[name], kinds[name] = value.shape, helper.np_dtype_to_tensor_dtype(value.dtype)
    return Operator(
        node=node,
        attributes={a.name: helper.get_attribute_value(a) for a in node.attribute},
        shapes=shapes,
        kinds=kinds,
        constants=constants,
        output=graph.output[0].name,
        opset=_opset(model),
    )


def _opset(model: ModelProto) -> int:
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def _of_nodes(
    model: ModelProto, nodes: Sequence[NodeProto], made: Mapping[str, Array], opset: Any
) -> ModelProto:
    graph = model.graph
    tensors = [*graph.initializer, *(numpy_helper.from_array(v, n) for n, v in made.items())]
    written = helper.make_graph(nodes, graph.name, graph.input, graph.output, tensors)
    return helper.make_model(written, opset_imports=opset, ir_version=model.ir_version)


def _has_definition(model: ModelProto, node: NodeProto) -> bool:
    schema: Any = defs.get_schema(node.op_type, _opset(model), node.domain)
    return True in (schema.has_function, schema.has_context_dependent_function)


def _inlined(model: ModelProto, names: Collection[str]) -> ModelProto:
    typed = shape_inference.infer_shapes(model, data_prop=True)
    known = {value.name for value in typed.graph.input}
    typed.graph.value_info.extend(  # what a definition depends on may be a constant
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in typed.graph.initializer
        if tensor.name not in known
    )
    selected = [("", name) for name in names]
    made = onnx.inliner.inline_selected_functions(typed, selected, inline_schema_functions=True)
    del made.graph.value_info[:]
    return made


# Folding


@dataclass
class _Fold:
    """nodes: what is left. constants: what is known. names: what an alias stands for."""

    model: ModelProto
    constants: dict[str, Array]
    nodes: list[NodeProto] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def add(self, node: NodeProto, shapes: Mapping[str, Shape], kinds: Mapping[str, int]) -> None:
        node.input[:] = [self.names.get(name, name) for name in node.input]
        if node.op_type == "Concat":
            filled = [name for name in node.input if 0 not in shapes.get(name, ())]
            node.input[:] = filled or node.input
        operands = [name for name in node.input if name]
        outputs = {value.name for value in self.model.graph.output}
        if node.op_type in ("Shape", "Size") and node.input[0] in shapes:
            self._compute(node, {node.input[0]: np.zeros(shapes[node.input[0]], np.bool_)})
        elif all(name in self.constants for name in operands):
            self._compute(node, {name: self.constants[name] for name in operands})
        elif node.op_type == "Split" and self._is_whole(node, shapes):
            pass
        elif _does_nothing(node, kinds) and node.output[0] not in outputs:
            self.names[node.output[0]] = node.input[0]
        else:
            self.nodes.append(node)

    def _is_whole(self, node: NodeProto, shapes: Mapping[str, Shape]) -> bool:
        """Whether one part of a division is all there is, and the others are empty."""
        parts = [name for name in node.output if 0 not in shapes.get(name, ())]
        if len(parts) != 1 or len(node.output) == 1:
            return False
        self.names[parts[0]] = node.input[0]
        return True

    def _compute(self, node: NodeProto, operands: Mapping[str, Array]) -> None:
        names = [name for name in node.output if name]
        graph = helper.make_graph(
            [node],
            "constant",
            [onnx.ValueInfoProto(name=name) for name in operands],
            [onnx.ValueInfoProto(name=name) for name in names],
        )
        alone = helper.make_model(graph, opset_imports=self.model.opset_import)
        values = ReferenceEvaluator(alone).run(None, dict(operands))
        self.constants |= {n: np.asarray(v) for n, v in zip(names, values, strict=True)}


def _does_nothing(node: NodeProto, kinds: Mapping[str, int]) -> bool:
    kind = kinds.get(node.input[0]) if node.input else None
    if node.op_type == "CastLike":
        return kind is not None and kind == kinds.get(node.input[1])
    if node.op_type == "Cast":
        return any(a.name == "to" and a.i == kind for a in node.attribute)
    return str(node.op_type) == "Identity"


def _folded(model: ModelProto) -> ModelProto:
    """The model without what depends on shapes and constants alone."""
    before = -1
    while before != len(model.graph.node):
        before = len(model.graph.node)
        model = _folded_once(model)
    return shape_inference.infer_shapes(model, data_prop=True)


def _folded_once(model: ModelProto) -> ModelProto:
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    values = {v.name: v.type.tensor_type for v in (*graph.input, *graph.value_info, *graph.output)}
    shapes = {
        name: tuple(dim.dim_value for dim in kind.shape.dim)
        for name, kind in values.items()
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim)
    }
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    shapes |= {name: value.shape for name, value in constants.items()}
    kinds = {name: kind.elem_type for name, kind in values.items()}
    kinds |= {n: helper.np_dtype_to_tensor_dtype(v.dtype) for n, v in constants.items()}
    fold = _Fold(model, constants)
    for node in model.graph.node:
        fold.add(node, shapes, kinds)
    nodes = _needed(fold.nodes, {value.name for value in model.graph.output})
    read = {name for node in nodes for name in node.input}
    kept = {name: value for name, value in fold.constants.items() if name in read}
    bare = ModelProto()
    bare.CopyFrom(model)
    del bare.graph.initializer[:]
    return _of_nodes(bare, nodes, kept, model.opset_import)


def _needed(nodes: Sequence[NodeProto], wanted: set[str]) -> list[NodeProto]:
    kept: list[NodeProto] = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]
