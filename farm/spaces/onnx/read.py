"""Reads an ONNX file and fixes its inputs' shapes; says what the farm cannot measure, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from farm.core.arguments import TYPES, dtype_name
from farm.core.errors import NetworkSyntaxError
from farm.spaces.batch import open_batch
from farm.spaces.onnx.export import IR_VERSION, OPSET
from farm.spaces.onnx.shapes import Static, refuse_large, static_shapes
from farm.spaces.sizes import AS_DECLARED, Sizes

_MODEL_BYTES = 1 << 31
"""What protobuf can read; a file, and a model with weights that lie beside it."""

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"

_OPSETS = range(7, 27)
"""Versions of ONNX's operators that onnxruntime 1.31 takes."""

_WRITTEN_OUT = {"DynamicQuantizeLinear": 11, "GroupNormalization": 21}
"""Operators that are replaced by their definition, with the opset from which on they have one: onnx
does not infer the shape of the one, and the other makes three values of the same work."""


def read(path: Path, sizes: Sizes = AS_DECLARED) -> ModelProto:
    """The model of a file, checked, with its external data and static inputs.

    sizes: of inputs that the file leaves open. Without them an open first axis stays open (see
        `spaces.batch`). They fix what is open and cannot change what is not.
    Raises NetworkSyntaxError, which does not name the file.
    """
    model = _load(path)
    sources = _inputs(model)
    fixed = [
        _fixed(source, static)
        for source, static in zip(sources, static_shapes(sources, sizes), strict=True)
    ]
    del model.graph.input[:]
    model.graph.input.extend(fixed)
    model = _checked(model)
    for node in model.graph.node:
        _refuse_training(node)
    return _written_out(model)


def _fixed(source: ValueInfoProto, static: Static) -> ValueInfoProto:
    kind = source.type.tensor_type.elem_type
    fixed = onnx.helper.make_tensor_value_info(source.name, kind, static.shape)
    if static.open:
        open_batch(fixed.type.tensor_type.shape.dim[0])
    return fixed


def node_label(node: NodeProto) -> str:
    """How errors name a node: by its name, else by what it makes, with its operator."""
    # What is no text comes as bytes.
    operator = ".".join(str(part) for part in (node.domain, node.op_type) if part)
    return f"node {(node.name or ''.join(map(str, node.output[:1])))!r} ({operator})"


def _load(path: Path) -> ModelProto:
    try:
        _refuse_size(path.stat().st_size)
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise NetworkSyntaxError(
                    "it is a Git LFS pointer, not the file itself; run `git lfs pull`"
                )
        model = onnx.load(path, load_external_data=False)
        _refuse_size(sum(map(_declared_bytes, _tensors(model.graph.initializer, model.graph.node))))
        onnx.load_external_data_for_model(model, str(path.parent))
    except OSError as e:
        raise NetworkSyntaxError(f"it cannot be read: {e.strerror}") from e
    # ValidationError, ValueError: of external data that is missing or cut off.
    except (DecodeError, onnx.checker.ValidationError, ValueError) as e:
        raise _invalid(e) from e
    # What an empty file parses to.
    if not model.graph.node:
        raise NetworkSyntaxError("it is no valid ONNX model: it has no operations")
    if 0 < model.ir_version < 4:  # where initializers must be inputs: here they are not
        model.ir_version = IR_VERSION
    for tensor in model.graph.initializer:
        _fill_valueless(tensor)
    return _of_known_opset(model)


def _refuse_size(size_bytes: int) -> None:
    if size_bytes >= _MODEL_BYTES:
        raise NetworkSyntaxError(
            f"it has {size_bytes} bytes, but a model with its weights has less than "
            f"{_MODEL_BYTES}, as onnx reads no more; export a smaller part of it"
        )


def _tensors(weights: Iterable[TensorProto], nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    """All values of a graph: its weights, its constants, and those of the graphs within it."""
    yield from weights
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from attribute.tensors
        if attribute.HasField("t"):
            yield attribute.t
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield from _tensors(graph.initializer, graph.node)


def _declared_bytes(tensor: TensorProto) -> int:
    """What the values of a tensor take, wherever they are."""
    if tensor.data_type not in TensorProto.DataType.values() or not tensor.data_type:
        raise NetworkSyntaxError(f"{tensor.name!r} has a type that ONNX does not know")
    refuse_large(tensor.name, tensor.dims)
    item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(prod(tensor.dims) * item.itemsize)


def _fill_valueless(tensor: TensorProto) -> None:
    """Give a weight that has a shape and no values ones: devices fill weights with seeded values.

    Raises NetworkSyntaxError for what is no float32, as integers say what to do.
    """
    size = prod(tensor.dims)
    fields = {field.name for field, _ in tensor.ListFields()}
    if not size or any(name.endswith("_data") for name in fields):
        return
    refuse_large(tensor.name, tensor.dims)
    if tensor.data_type != TensorProto.FLOAT:
        raise NetworkSyntaxError(f"{tensor.name!r} has no values; only float32 weights need none")
    tensor.raw_data = np.ones(size, np.float32).tobytes()


def _opset(model: ModelProto) -> int:
    """The version of ONNX's own operators; 0 where none is used."""
    versions = [int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return versions[0] if versions else 0


def _of_known_opset(model: ModelProto) -> ModelProto:
    """The model in operators that onnxruntime knows."""
    version = _opset(model)
    if not version or version in _OPSETS:
        return model
    supported = f"supported are {_OPSETS[0]} to {_OPSETS[-1]}"
    target = OPSET if version < _OPSETS[0] else _OPSETS[-1]
    model = _checked(model)
    try:
        return onnx.version_converter.convert_version(model, target)
    # Whatever the converter of an operator raises; ValueError: of protobuf, for 2 GB and more.
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as e:
        raise NetworkSyntaxError(
            f"its opset is {version}, {supported}, and onnx does not convert it to {target}: "
            f"{' '.join(str(e).split())}; export it anew"
        ) from e


def _checked(model: ModelProto) -> ModelProto:
    """The model without functions of its own."""
    try:
        onnx.checker.check_model(model)
        return onnx.inliner.inline_local_functions(model) if model.functions else model
    # ValueError: of protobuf, for a model of 2 GB and more.
    except (onnx.checker.ValidationError, ValueError) as e:
        raise _invalid(e) from e


def _written_out(model: ModelProto) -> ModelProto:
    """The model with the definitions of the operators of `_WRITTEN_OUT`."""
    used, opset = {n.op_type for n in model.graph.node if not n.domain}, _opset(model)
    replaced = sorted(op for op in used & _WRITTEN_OUT.keys() if opset >= _WRITTEN_OUT[op])
    if not replaced:
        return model
    names = [("", name) for name in replaced]
    try:
        typed = onnx.shape_inference.infer_shapes(model, data_prop=True)
        typed.graph.value_info.extend(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in model.graph.initializer
        )
        made = onnx.inliner.inline_selected_functions(typed, names, inline_schema_functions=True)
    # Of types that are not known or differ, and of protobuf.
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as e:
        raise _invalid(e) from e
    del made.graph.value_info[:]
    return made


def _invalid(error: Exception) -> NetworkSyntaxError:
    return NetworkSyntaxError(f"it is no valid ONNX model: {' '.join(str(error).split())}")


def _refuse_training(node: NodeProto) -> None:
    if {a.name: a.i for a in node.attribute}.get("training_mode", 0):
        raise NetworkSyntaxError(
            f"{node_label(node)} is in training mode; export the network for inference"
        )


def _inputs(model: ModelProto) -> list[ValueInfoProto]:
    """The network's own. Until IR version 4, initializers were listed among the inputs as well."""
    if model.graph.sparse_initializer:
        raise NetworkSyntaxError("weights must be dense, but some are sparse; export them dense")
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialized]
    if not inputs:
        raise NetworkSyntaxError(
            "a network must have an input, and it has none; export it with its input open"
        )
    for value in inputs:
        _refuse_type(value)
    return inputs


def _refuse_type(value: ValueInfoProto) -> None:
    kind = value.type.tensor_type.elem_type
    name = dtype_name(kind) if value.type.HasField("tensor_type") else "no tensor"
    if name not in TYPES:
        raise NetworkSyntaxError(
            f"input {value.name!r} is {name}; a device can fill {', '.join(TYPES)}"
        )
