"""A kernel by itself: what it is called, and the network of one kernel that any agent can time.

    Network(KERNEL, name_of(kernel))

The name says what it computes and nothing of how; the schedule of a target, and the compiler, are
in the build key.

The network calls the kernel `CALLS` times in a row, each with weights of its own: as in a network,
activations are in the cache, weights come from behind those of other calls, and entering the
virtual machine is paid for once. Of 40 NAS-Bench-201 networks the sum of such times was off by .3 %
in the median, of times of single calls by 1.4 %.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from math import prod
from typing import TYPE_CHECKING, Any

from farm.compile import target as targets
from farm.compile.artifacts import ArtifactStore
from farm.compile.compiler import compiler, process_cpu_s
from farm.compile.fuse import Call, Plan
from farm.compile.groups import Group, Operation, Schedule, Shape, from_json
from farm.compile.kernel_cache import KernelCache, kernel_key
from farm.compile.linking import link
from farm.core.errors import BuildError
from farm.core.values import KERNEL, Artifact, Network, Program, Target, TensorSpec, digest

if TYPE_CHECKING:
    import onnx

Kernel = Group | Operation

ONCE = "-once"
"""At the end of a code: the kernel is called a single time. What that takes longer is the entry."""

CALLS = 8

_FLOAT = 1
"""`onnx.TensorProto.FLOAT`, without importing onnx."""

_VERSION = 1
"""Of how a kernel is called; goes up with what changes its latency."""

_MOST_WEIGHT_BYTES = 64 << 20
"""Of all calls together: far more than a cache, and little beside a device's memory."""


def name_of(kernel: Kernel) -> str:
    """16 hex digits for what a kernel computes, whatever its schedule."""
    if isinstance(kernel, Operation):
        return sha256(kernel.model).hexdigest()[:16]
    return sha256(replace(kernel, schedule=None).signature.encode()).hexdigest()[:16]


def network_of(kernel: Kernel, once: bool = False) -> Network:
    """The kernel as something that can be asked for, measured and stored."""
    return Network(KERNEL, name_of(kernel) + (ONCE if once else ""))


def kernel_code(network: Network) -> str:
    """The name of the kernel that a network of one kernel calls."""
    return network.code.removesuffix(ONCE)


def is_once(network: Network) -> bool:
    """Whether a network of one kernel calls it a single time."""
    return network.code.endswith(ONCE)


def calls_in(kernel: Kernel) -> int:
    """How often its network calls a kernel."""
    weights = [4 * prod(shapes_of(kernel)[0][i]) for i in _weights(kernel)]
    return max(1, min(CALLS, _MOST_WEIGHT_BYTES // max(1, sum(weights))))


def definition(kernel: Kernel) -> str:
    """Text that `defined` reads: what a store keeps of a kernel."""
    plain = replace(kernel, schedule=None) if isinstance(kernel, Group) else kernel
    return json.dumps(plain.to_json())


def defined(text: str | bytes) -> Kernel:
    """The inverse of `definition`."""
    return from_json(json.loads(text))


def calls_of(model: onnx.ModelProto) -> list[Kernel]:
    """The kernels that a network calls, in order. Compiles nothing. Raises BuildError."""
    from farm.compile import fuse, graph
    from farm.compile.prepare import prepared

    return [call.kernel for call in fuse.plan(graph.read(prepared(model))).calls]


def scheduled(kernel: Kernel, target: Target) -> Kernel:
    """The kernel with the schedule that a target has for it, if it has one."""
    schedules = schedules_of(target)
    if isinstance(kernel, Operation) or not schedules or name_of(kernel) not in schedules:
        return kernel
    return replace(kernel, schedule=Schedule(*schedules[name_of(kernel)]))


def schedules_of(target: Target) -> Mapping[str, Sequence[int]]:
    """The schedules of a target, by the names of their kernels."""
    return {} if isinstance(target, str) else target.get(targets.SCHEDULES, {})


def key(kernel: Kernel, target: Target, once: bool = False) -> str:
    """64 hex digits that name the artifact of a kernel for a target, as it is written there."""
    written = kernel_key(scheduled(kernel, target), targets.canonical(targets.untuned(target)))
    return digest(["alone", _VERSION, 1 if once else CALLS, written])


def artifact(
    kernel: Kernel,
    target: Target,
    store: ArtifactStore,
    kernels: KernelCache,
    once: bool = False,
) -> Artifact:
    """The network of a kernel, or of a single call of it. Nothing says what it must compute.

    Raises BuildError, StoreFull.
    """
    own = key(kernel, target, once)
    stored = store.get(own)
    if stored is not None:
        return stored
    _refuse(kernel)
    triple = compiler().target(target).triple
    began_s = process_cpu_s(compiler().pid)
    plan = _plan(scheduled(kernel, target), 1 if once else calls_in(kernel))
    library = link(plan, target, triple, kernels)
    inputs = tuple(TensorSpec(name, plan.shapes[name], 1.0) for name in plan.inputs)
    build_s = process_cpu_s(compiler().pid) - began_s
    return store.put(own, library, Program(inputs, 0, ()), build_s)


def _plan(kernel: Kernel, calls: int) -> Plan:
    """So many calls with the same activations, each with weights of its own."""
    operands, output = shapes_of(kernel)
    weights = _weights(kernel)
    shapes: dict[str, Shape] = {}
    made = []
    for call in range(calls):
        names = [f"x{i}" if i not in weights else f"w{i}_{call}" for i in range(len(operands))]
        shapes |= zip(names, operands, strict=True)
        made.append(Call(kernel, tuple(names), f"y{call}"))
    inputs = tuple(shapes)
    shapes |= {call.output: output for call in made}
    return Plan(inputs, tuple(made), (made[-1].output,), shapes, {}, {}, {})


def _weights(kernel: Kernel) -> Sequence[int]:
    """Which operands are large and of one call only. Those of other operations are not told apart
    from activations, and taken for these."""
    return (1,) if isinstance(kernel, Group) and kernel.main in ("Conv", "Gemm") else ()


def shapes_of(kernel: Kernel) -> tuple[Sequence[Shape], Shape]:
    """Of the operands and the output."""
    if isinstance(kernel, Group):
        return kernel.operands, kernel.output
    *operands, output = [
        tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in _values(kernel)
    ]
    return operands, output


def _refuse(kernel: Kernel) -> None:
    """Raises BuildError for a kernel with other types than float32."""
    if isinstance(kernel, Operation) and any(
        value.type.tensor_type.elem_type != _FLOAT for value in _values(kernel)
    ):
        raise BuildError(f"{kernel.name} is not all float32, and cannot be timed alone")


def _values(operation: Operation) -> list[Any]:
    """What ONNX says of the operands and the output."""
    import onnx

    graph = onnx.load_from_string(operation.model).graph
    return [*graph.input, *graph.output]
