"""What a network must compute: seeded arguments, and onnxruntime's output for them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import shake_256
from typing import TYPE_CHECKING, Any

import numpy as np

from farm.core.errors import BuildError
from farm.core.values import Program, TensorSpec

if TYPE_CHECKING:
    import onnx

_BLOCK = 8191
"""Values before the seeded sequence repeats, as in the runner."""

_HALVES = (10, 16)
"""FLOAT16 and BFLOAT16, as `onnx.TensorProto.DataType` numbers them."""

_EXPECTED_VALUES = 16
RELATIVE_TOLERANCE = 1e-4
"""Of the largest output. Float32 sums of a few thousand terms, in another order, over 20 to 100
layers, differ by 1e-6 to 1e-5 of it; a wrong kernel differs by 1e-2 and more."""

_HALF_TOLERANCE = 5e-3
"""The same for networks with float16 or bfloat16 values, which round at 5e-4 and 4e-3."""


def tensor_specs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """Shape and fill bound of each argument, in order: the network's input, then the weights.

    Weights are uniform with variance 2 / fan-in (He et al. 2015, eq. 10),
    which keeps the scale of activations through any depth of ReLU layers; biases are as in PyTorch,
    1 / sqrt(fan-in). Raises BuildError for a dynamic shape or a type other than float32.
    """
    fan_in = _fan_in(model.graph)
    return tuple(
        TensorSpec(
            value.name, _static_shape(value), _bound(_static_shape(value), fan_in.get(value.name))
        )
        for value in model.graph.input
    )


def program(
    model: onnx.ModelProto, packed: Mapping[str, int] | None = None, seed: int = 0
) -> Program:
    """The program of a network: its arguments and the first values of onnxruntime's output.

    packed: weights (O, I, H, W) that the library takes as (O / b, I, H, W, b), and their b.
    """
    specs = packed_specs(model, packed or {})
    # A root or a logarithm needs a positive input, or else positive weights, too.
    for number in (0, 1, len(specs)):
        specs = tuple(replace(s, positive=i < number) for i, s in enumerate(specs))
        output = expected(model, specs, packed or {}, seed)
        if np.isfinite(output).all():
            break
    else:
        raise BuildError(_not_finite(model, _unpacked_arguments(specs, packed or {}, seed)))
    tolerance = float(np.abs(output).max()) * relative_tolerance(model)
    first = tuple(float(value) for value in output[:_EXPECTED_VALUES])
    return Program(inputs=specs, seed=seed, expected=first, tolerance=tolerance)


def packed_specs(model: onnx.ModelProto, packed: Mapping[str, int]) -> tuple[TensorSpec, ...]:
    """The arguments of a library whose weights are packed; packed: as in `program`."""
    return tuple(_packed(spec, packed.get(spec.name, 1)) for spec in tensor_specs(model))


def expected(
    model: onnx.ModelProto, specs: tuple[TensorSpec, ...], packed: Mapping[str, int], seed: int
) -> np.ndarray:
    """(size,) float32: onnxruntime's whole output for the seeded values of `specs`, flattened."""
    return run(model, _unpacked_arguments(specs, packed, seed)).ravel()


def _unpacked_arguments(
    specs: tuple[TensorSpec, ...], packed: Mapping[str, int], seed: int
) -> dict[str, np.ndarray]:
    """The seeded value of each argument in the shape that the ONNX model has."""
    values = arguments(specs, seed)
    return values | {name: _unpacked(values[name]) for name in packed}


def _not_finite(model: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> str:
    """What first computes NaN or infinity, in words."""
    from onnx import ModelProto, ValueInfoProto

    watched = ModelProto()
    watched.CopyFrom(model)
    makers = {name: node for node in model.graph.node for name in node.output if name}
    del watched.graph.output[:]
    watched.graph.output.extend(ValueInfoProto(name=name) for name in makers)
    for node, output in zip(makers.values(), _outputs(watched, values), strict=True):
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            return (
                f"{node.op_type} {node.name or node.output[0]!r} computes NaN or infinity, "
                "also of positive inputs and weights"
            )
    return f"onnxruntime computes NaN or infinity for {model.graph.name!r}"


def relative_tolerance(model: onnx.ModelProto) -> float:
    """How far an output may be off, as a share of the largest one."""
    kinds = {value.type.tensor_type.elem_type for value in model.graph.value_info}
    return _HALF_TOLERANCE if kinds & set(_HALVES) else RELATIVE_TOLERANCE


def run(model: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """onnxruntime's first output for arguments by name, computed with one thread."""
    return _outputs(model, values)[0]


def _outputs(model: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs. Raises BuildError for what onnxruntime does not take."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        outputs: list[np.ndarray] = session.run(None, dict(values))
    # onnxruntime's errors have no class in common.
    except Exception as error:
        raise BuildError(f"onnxruntime does not run it: {_in_short(error)}") from error
    return outputs


def _in_short(error: Exception) -> str:
    """What onnxruntime says, without where in its sources it says so."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return re.sub(r"/onnxruntime_src/\S+ .*?\) (?=[A-Z])", "", text)


def arguments(specs: tuple[TensorSpec, ...], seed: int) -> dict[str, np.ndarray]:
    """The seeded value of each argument by its name, float32, exactly as a device fills them."""
    return {
        spec.name: seeded(seed, index, math.prod(spec.shape), spec.bound, spec.positive).reshape(
            spec.shape
        )
        for index, spec in enumerate(specs)
    }


def seeded(seed: int, index: int, count: int, bound: float, positive: bool = False) -> np.ndarray:
    """What `agents.on_device.loading.seeded_values` gives, (count,) float32, a dozen times faster.

    The runner cannot use NumPy; a test holds the two together.
    """
    random_bytes = shake_256(f"{seed}/{index}".encode()).digest(2 * min(count, _BLOCK))
    grid = np.frombuffer(random_bytes, "<u2").astype(np.float64)
    uniform = (2 * grid + 1) / 131072 if positive else (2 * grid - 65535) / 65536
    return np.resize((uniform * bound).astype(np.float32), count)


def _packed(spec: TensorSpec, block: int) -> TensorSpec:
    if block == 1:
        return spec
    channels, *rest = spec.shape
    return replace(spec, shape=(channels // block, *rest, block))


def _unpacked(weight: np.ndarray) -> np.ndarray:
    """(O / b, I, H, W, b) -> (O, I, H, W)."""
    _, *rest, _ = weight.shape
    return np.moveaxis(weight, -1, 1).reshape(-1, *rest)


def _static_shape(value: Any) -> tuple[int, ...]:
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value for dim in tensor.shape.dim)
    if not all(shape):
        raise BuildError(f"input {value.name!r} has a dynamic shape; fix its size in the ONNX file")
    if tensor.elem_type != 1:
        raise BuildError(
            f"input {value.name!r} must be float32 (1), got ONNX type {tensor.elem_type}"
        )
    return shape


def _bound(shape: tuple[int, ...], fan_in: int | None) -> float:
    if fan_in is None:
        return 1.0
    return math.sqrt(1 / fan_in) if len(shape) == 1 else math.sqrt(6 / fan_in)


def _fan_in(graph: Any) -> dict[str, int]:
    """Terms in each output's sum, for the weight and the bias of every layer that sums."""
    shapes = {value.name: _static_shape(value) for value in graph.input}
    fan_in: dict[str, int] = {}
    for node in graph.node:
        terms = _summed_terms(node, shapes)
        if terms is not None:
            fan_in.update(dict.fromkeys(node.input[1:], terms))
    return fan_in


def _summed_terms(node: Any, shapes: dict[str, tuple[int, ...]]) -> int | None:
    if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in shapes:
        return None
    shape = shapes[node.input[1]]
    if node.op_type == "Conv":
        return math.prod(shape[1:])
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return shape[-1] if transposed else shape[-2]
