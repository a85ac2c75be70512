"""What a network must compute: seeded arguments, and onnxruntime's output for them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import shake_256
from typing import TYPE_CHECKING

import numpy as np

from farm.compile.seeding import tensor_specs
from farm.core.arguments import own_inputs
from farm.core.errors import BuildError
from farm.core.values import OutputSpec, Program, TensorSpec

if TYPE_CHECKING:
    import onnx

_BLOCK = 8191
"""Values before the seeded sequence repeats, as in the runner."""

_HALVES = (10, 16)
"""FLOAT16 and BFLOAT16, as `onnx.TensorProto.DataType` numbers them."""

_COMPARED = 16
"""Values of each output that are compared, evenly spread over it, as in the runner."""

RELATIVE_TOLERANCE = 1e-4
"""Of the largest output. Float32 sums of a few thousand terms, in another order, over 20 to 100
layers, differ by 1e-6 to 1e-5 of it; a wrong kernel differs by 1e-2 and more."""

_HALF_TOLERANCE = 5e-3
"""The same for networks with float16 or bfloat16 values, which round at 5e-4 and 4e-3."""

_QUANTISED_TOLERANCE = 5e-2
"""The same for quantised networks: where a sum lies between two steps, rounding may choose either,
and each layer hands its steps on to the next."""

_QUANTISES = ("DynamicQuantizeLinear", "QLinear", "QuantizeLinear")
"""How the names of operators begin that round to steps."""


def program(
    model: onnx.ModelProto, packed: Mapping[str, int] | None = None, seed: int = 0
) -> Program:
    """The program of a network: its arguments and what onnxruntime computes, in part.

    packed: weights (O, I, H, W) that the library takes as (O / b, I, H, W, b), and their b.
    Raises BuildError for a network whose outputs are not finite, or that onnxruntime refuses.
    """
    specs = packed_specs(model, packed or {})
    # A root or a logarithm needs positive inputs, or else positive weights, too.
    for number in (0, len(own_inputs(model)), len(specs)):
        specs = tuple(
            replace(s, positive=i < number) if s.dtype.startswith("float") else s
            for i, s in enumerate(specs)
        )
        outputs = expected(model, specs, packed or {}, seed)
        if all(np.isfinite(output).all() for output in outputs):
            break
    else:
        raise BuildError(_not_finite(model, _unpacked_arguments(specs, packed or {}, seed)))
    relative = relative_tolerance(model)
    return Program(specs, seed, tuple(_output_spec(output, relative) for output in outputs))


def _output_spec(output: np.ndarray, relative: float) -> OutputSpec:
    count = min(len(output), _COMPARED)
    some = tuple(float(value) for value in output[np.arange(count) * len(output) // count])
    largest = float(np.abs(output.astype(np.float64)).max())
    if output.dtype.kind == "f":
        return OutputSpec(some, largest * relative)
    # Whole numbers are right or wrong, but for the steps of a quantised network.
    steps = max(1.0, largest * relative) if relative == _QUANTISED_TOLERANCE else 0.0
    return OutputSpec(some, steps)


def packed_specs(model: onnx.ModelProto, packed: Mapping[str, int]) -> tuple[TensorSpec, ...]:
    """The arguments of a library whose weights are packed; packed: as in `program`."""
    return tuple(_packed(spec, packed.get(spec.name, 1)) for spec in tensor_specs(model))


def expected(
    model: onnx.ModelProto, specs: tuple[TensorSpec, ...], packed: Mapping[str, int], seed: int
) -> list[np.ndarray]:
    """onnxruntime's whole outputs for the seeded values of `specs`, each flattened."""
    return [output.ravel() for output in run(model, _unpacked_arguments(specs, packed, seed))]


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
    for node, output in zip(makers.values(), run(watched, values), strict=True):
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            return (
                f"{node.op_type} {node.name or node.output[0]!r} computes NaN or infinity, "
                "also of positive inputs and weights"
            )
    return f"onnxruntime computes NaN or infinity for {model.graph.name!r}"


def relative_tolerance(model: onnx.ModelProto) -> float:
    """How far an output may be off, as a share of the largest one."""
    if any(node.op_type.startswith(_QUANTISES) for node in model.graph.node):
        return _QUANTISED_TOLERANCE
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    kinds = {value.type.tensor_type.elem_type for value in values}
    return _HALF_TOLERANCE if kinds & set(_HALVES) else RELATIVE_TOLERANCE


def run(model: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """onnxruntime's outputs for arguments by name, computed with one thread.

    Raises BuildError for what onnxruntime does not take.
    """
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
    """The seeded value of each argument by its name, exactly as a device fills them."""
    return {
        spec.name: seeded(seed, index, spec).reshape(spec.shape) for index, spec in enumerate(specs)
    }


def seeded(seed: int, index: int, spec: TensorSpec) -> np.ndarray:
    """What `agents.on_device.loading.seeded_bytes` gives, flattened, a dozen times faster.

    The runner cannot use NumPy; a test holds the two together.
    """
    count = math.prod(spec.shape)
    random_bytes = shake_256(f"{seed}/{index}".encode()).digest(2 * min(count, _BLOCK))
    grid = np.frombuffer(random_bytes, "<u2")
    if spec.dtype.startswith("float"):
        wide = grid.astype(np.float64)
        uniform = (2 * wide + 1) / 131072 if spec.positive else (2 * wide - 65535) / 65536
        # A device makes float32 of any values first.
        values = (uniform * spec.bound).astype(np.float32).astype(spec.dtype)
    else:
        low, width = (0, 1) if spec.positive else (-1, 2)
        bound = int(spec.bound)
        values = (low * bound + (grid.astype(np.int64) * width * bound >> 16)).astype(spec.dtype)
    return np.resize(values, count)


def _packed(spec: TensorSpec, block: int) -> TensorSpec:
    if block == 1:
        return spec
    channels, *rest = spec.shape
    return replace(spec, shape=(channels // block, *rest, block))


def _unpacked(weight: np.ndarray) -> np.ndarray:
    """(O / b, I, H, W, b) -> (O, I, H, W)."""
    _, *rest, _ = weight.shape
    return np.moveaxis(weight, -1, 1).reshape(-1, *rest)
