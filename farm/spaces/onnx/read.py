"""Reads an ONNX file and fixes its input's shape; says what the farm cannot measure, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from farm.core.errors import NetworkSyntaxError
from farm.spaces.batch import open_batch
from farm.spaces.codes import quoted
from farm.spaces.onnx.export import IR_VERSION, OPSET
from farm.spaces.ops import Shape

LARGEST = 1 << 29
"""Elements of a tensor: 2 GB of float32, as much as a file may hold and a device of ours has."""

_FILE_BYTES = 1 << 31
"""What protobuf can read."""

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"

_OPSETS = range(7, 27)
"""Versions of ONNX's operators that onnxruntime 1.31 takes."""

_SHAPELESS, _SHAPELESS_FROM = {"GroupNormalization"}, 21
"""Operators whose shape onnx does not infer from an opset on, though they have a definition."""

_INPUT_SHAPE = re.compile(r"(?:(?P<name>.+)=)?(?P<dims>[1-9]\d*(?:[x,][1-9]\d*)*)")


def read(path: Path, input_shape: str | None = None) -> ModelProto:
    """The model of a file, checked, with its external data and a static input.

    input_shape: `1,3,224,224` or `NAME=1x3x224x224`. Without it a dynamic first axis is open (see
        `spaces.batch`); other dynamic sizes need it. It fixes what is dynamic and cannot change
        what is not.
    Raises NetworkSyntaxError, which does not name the file.
    """
    model = _load(path)
    source = _input(model)
    shape = _static(source, input_shape)
    refuse_large(source.name, shape)
    fixed = onnx.helper.make_tensor_value_info(source.name, TensorProto.FLOAT, shape)
    if input_shape is None and _is_open(source):
        open_batch(fixed.type.tensor_type.shape.dim[0])
    del model.graph.input[:]
    model.graph.input.append(fixed)
    model = _checked(model)
    for node in model.graph.node:
        _check(node)
    return _without_shapeless(model)


def node_label(node: NodeProto) -> str:
    """How errors name a node: by its name, else by what it makes, with its operator."""
    operator = ".".join(filter(None, [node.domain, node.op_type]))
    return f"node {(node.name or ''.join(node.output[:1]))!r} ({operator})"


def _load(path: Path) -> ModelProto:
    try:
        size = path.stat().st_size
        if size >= _FILE_BYTES:
            raise NetworkSyntaxError(
                f"it has {size} bytes, but an ONNX file has less than {_FILE_BYTES}; "
                "export it with its weights in a file beside it"
            )
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise NetworkSyntaxError(
                    "it is a Git LFS pointer, not the file itself; run `git lfs pull`"
                )
        model = onnx.load(path)
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


def refuse_large(name: str, shape: Sequence[int]) -> None:
    """Raises NetworkSyntaxError for a tensor that no device can hold."""
    if prod(shape) > LARGEST:
        raise NetworkSyntaxError(
            f"{name!r} is {_text(tuple(shape))}, which is {prod(shape)} elements; "
            f"a tensor has {LARGEST} at most"
        )


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
    except (RuntimeError, ValueError) as e:
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


def _without_shapeless(model: ModelProto) -> ModelProto:
    """The model with operators written out by their definition of which onnx infers no shape."""
    shapeless = {n.op_type for n in model.graph.node} & _SHAPELESS
    if not shapeless or _opset(model) < _SHAPELESS_FROM:
        return model
    typed = onnx.shape_inference.infer_shapes(model, data_prop=True)
    typed.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
    )
    names = [("", name) for name in shapeless]
    try:
        made = onnx.inliner.inline_selected_functions(typed, names, inline_schema_functions=True)
    # Of a type that is not known, and of protobuf.
    except (RuntimeError, ValueError) as e:
        raise _invalid(e) from e
    del made.graph.value_info[:]
    return made


def _invalid(error: Exception) -> NetworkSyntaxError:
    return NetworkSyntaxError(f"it is no valid ONNX model: {' '.join(str(error).split())}")


def _check(node: NodeProto) -> None:
    """Refuses what has no static form."""
    kinds = {attribute.type for attribute in node.attribute}
    if kinds & {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}:
        raise NetworkSyntaxError(
            f"a network must run the same operations for every input, but {node_label(node)} "
            "branches or loops; export it without control flow"
        )
    training = {a.name: a.i for a in node.attribute}.get("training_mode", 0)
    if training:
        raise NetworkSyntaxError(
            f"{node_label(node)} is in training mode; export the network for inference"
        )


def _input(model: ModelProto) -> ValueInfoProto:
    """The only input. Until IR version 4, initializers were listed among the inputs as well."""
    if model.graph.sparse_initializer:
        raise NetworkSyntaxError("weights must be dense, but some are sparse; export them dense")
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialized]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise NetworkSyntaxError(
            f"a network must have one input, got {len(inputs)}: {names}; "
            "export it with its other inputs as constants"
        )
    kind = inputs[0].type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        name = TensorProto.DataType.Name(kind).lower()
        raise NetworkSyntaxError(
            f"the input must be float32, but {inputs[0].name!r} is {name}; export it in float32"
        )
    return inputs[0]


def _static(source: ValueInfoProto, input_shape: str | None) -> Shape:
    """The input's shape, with every size known."""
    declared = _declared(source)
    if declared is not None and 0 in declared:
        raise NetworkSyntaxError(
            f"input {source.name!r} is {_text(declared)}, which is empty: axis "
            f"{declared.index(0)} has size zero"
        )
    if input_shape is not None:
        return _merged(source.name, declared, _parse(input_shape, source.name))
    if declared is None:
        raise NetworkSyntaxError(
            f"input {source.name!r} has no shape; "
            "give it one with --input-shape, such as 1,3,224,224"
        )
    sizes = [1 if axis == 0 and isinstance(n, str) else n for axis, n in enumerate(declared)]
    if any(isinstance(n, str) for n in sizes):
        raise NetworkSyntaxError(
            f"input {source.name!r} is {_text(declared)}, which leaves sizes open; "
            f"fix them with --input-shape, such as {_example(declared)}"
        )
    return tuple(int(n) for n in sizes)


def _is_open(source: ValueInfoProto) -> bool:
    """Whether the file leaves the size of the first axis open."""
    return isinstance(next(iter(_declared(source) or ()), None), str)


def _declared(source: ValueInfoProto) -> tuple[int | str, ...] | None:
    """Sizes of the input's axes, a name or `?` where one is dynamic; None if there is no shape."""
    kind = source.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or "?"
        for d in kind.shape.dim
    )


def _merged(name: str, declared: tuple[int | str, ...] | None, wanted: Shape) -> Shape:
    fits = declared is None or (
        len(declared) == len(wanted)
        and all(isinstance(n, str) or n == m for n, m in zip(declared, wanted, strict=True))
    )
    if not fits:
        raise NetworkSyntaxError(
            f"--input-shape {_text(wanted)} does not fit input {name!r}, which is "
            f"{_text(declared or ())}; only sizes that are open can be chosen"
        )
    return wanted


def _parse(text: str, name: str) -> Shape:
    found = _INPUT_SHAPE.fullmatch(text.replace(" ", ""))
    if found is None:
        raise NetworkSyntaxError(
            f"--input-shape is such as 1,3,224,224 or {name}=1x3x224x224, got {quoted(text)}"
        )
    if found["name"] not in (None, name):
        raise NetworkSyntaxError(
            f"--input-shape names the input {found['name']!r}, but it is {name!r}"
        )
    return tuple(int(n) for n in re.split("[x,]", found["dims"]))


def _text(shape: tuple[int | str, ...]) -> str:
    return ",".join(map(str, shape)) or "a scalar"


def _example(declared: tuple[int | str, ...]) -> str:
    """The shape with a size for what is open: 1 for the batch, 224 for the rest."""
    sizes = [n if isinstance(n, int) else 224 if axis else 1 for axis, n in enumerate(declared)]
    return ",".join(map(str, sizes))
