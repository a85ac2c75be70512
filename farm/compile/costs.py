"""What a kernel costs, counted from what it computes: features that its time is predicted by."""

from __future__ import annotations

from math import log1p, prod

from farm.compile.alone import Kernel, shapes_of
from farm.compile.groups import Group, Shape, work

MAINS = ("Conv", "AveragePool", "GlobalAveragePool", "Gemm", "Copy", "Fill")

FEATURES = (
    *("log_work", "log_read", "log_written", "log_weights", "log_pixels", "log_channels"),
    *("log_inputs", "log_intensity", "window", "stride", "log_groups", "steps", "block"),
    *("is_depthwise", "adds"),
    *(f"is_{name}" for name in MAINS),
)


def features(kernel: Kernel) -> list[float]:
    """A number for each of `FEATURES`."""
    operands, output = shapes_of(kernel)
    read, written = sum(map(prod, operands)), prod(output)
    done = work_of(kernel)
    if not isinstance(kernel, Group):
        zeros = [0.0] * (len(FEATURES) - 8)
        sizes = (done, read, written, 0, _pixels(output), _channels(output), 0)
        return [*map(log1p, sizes), log1p(done / (read + written)), *zeros]
    weights = prod(operands[1]) if kernel.main in ("Conv", "Gemm") else 0
    inputs = _channels(operands[0]) if operands else 0
    window = kernel.window
    sizes = (done, read, written, weights, _pixels(output), _channels(output), inputs)
    return [
        *map(log1p, sizes),
        log1p(done / (read + written)),
        float(max(window.kernel)) if window else 0.0,
        float(max(window.stride)) if window else 0.0,
        log1p(kernel.groups),
        float(len(kernel.steps)),
        float(kernel.weight_block),
        float(kernel.groups > 1 and kernel.groups == inputs),
        float(sum(step.op == "Add" and step.spread == "full" for step in kernel.steps)),
        *(float(kernel.main == name) for name in MAINS),
    ]


def work_of(kernel: Kernel) -> int:
    """About how many multiply-adds, or values that are moved, a kernel takes."""
    if isinstance(kernel, Group):
        return work(kernel)
    operands, output = shapes_of(kernel)
    return sum(map(prod, operands), start=prod(output))


def _pixels(shape: Shape) -> int:
    return prod(shape[2:]) if len(shape) > 2 else 1


def _channels(shape: Shape) -> int:
    return shape[1] if len(shape) > 1 else 1
