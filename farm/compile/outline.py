"""What a network comes to before anything is built: its kernels, and the memory that it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from farm.compile import fuse, graph
from farm.compile.groups import Group
from farm.compile.memory import Lifetime, assign_slots, spans
from farm.compile.prepare import prepared
from farm.core.arguments import own_inputs

if TYPE_CHECKING:
    import onnx

    from farm.compile.fuse import Plan


@dataclass(frozen=True)
class Outline:
    """operators: how many there are of each. by_tvm: how many of those TVM's own rules compile; the
    others become kernels of this package, or steps of one. calls: of kernels, in a run.

    weights_bytes, activations_bytes: of a run, inputs and outputs included; what TVM's kernels keep
    to themselves is not.
    """

    operators: Mapping[str, int]
    by_tvm: Mapping[str, int]
    calls: int
    weights_bytes: int
    activations_bytes: int


_HANDED_ON = (
    *("Cast", "Concat", "Expand", "Gather", "Identity", "Pad", "ReduceMean", "Shape", "Slice"),
    *("Split", "Tile", "Transpose", "Where"),
)
"""Operators that move values, or sum rows, which TVM's rules do as fast as memory allows."""


def remarks(seen: Outline) -> tuple[str, ...]:
    """What a person should know of the kernels, in a sentence each."""
    slow = {n: count for n, count in seen.by_tvm.items() if n not in _HANDED_ON}
    if not slow:
        return ()
    names = ", ".join(f"{name} ({count})" for name, count in slow.items())
    return (
        f"TVM's general rules, not kernels of the farm's own, compile {names} of its "
        f"{seen.calls} kernel calls: these can be several times slower than they need be",
    )


def outline(model: onnx.ModelProto) -> Outline:
    """model: as for `build`. Raises BuildError for what no target can have."""
    ready = prepared(model)
    plan = fuse.plan(graph.read(ready))
    by_tvm = [call.kernel for call in plan.calls if not isinstance(call.kernel, Group)]
    operators = Counter(n.op_type for n in ready.graph.node if n.op_type != "Constant")
    own = len(own_inputs(ready))
    inputs = [_size_bytes(plan, name) for name in plan.inputs]
    return Outline(
        operators=dict(sorted(operators.items())),
        by_tvm=dict(sorted(Counter(kernel.name.partition(" ")[0] for kernel in by_tvm).items())),
        calls=len(plan.calls),
        weights_bytes=sum(inputs[own:]),
        activations_bytes=sum(inputs[:own]) + sum(_slots(plan)),
    )


def _slots(plan: Plan) -> list[int]:
    """Sizes of the memory that values take in turns."""
    read = ((*call.operands, call.output) for call in plan.calls)
    named = spans((plan.views.get(name, name) for name in names) for names in read)
    inner = [name for name in named if name not in plan.inputs]
    return assign_slots([Lifetime(_size_bytes(plan, name), *named[name]) for name in inner])[1]


def _size_bytes(plan: Plan, name: str) -> int:
    dtype = np.dtype(plan.dtypes.get(name, fuse.FLOAT))
    return int(prod(plan.shapes[name]) * dtype.itemsize)
