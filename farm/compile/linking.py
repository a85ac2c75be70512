"""From a plan to a library: its kernels from the cache or built, its program, the linker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm.compile import linker
from farm.compile import target as targets
from farm.compile.compiler import compiler
from farm.compile.groups import Group, Operation
from farm.compile.kernel_cache import KernelCache, StoredKernel, kernel_key
from farm.compile.listing import listing
from farm.core.errors import BuildError
from farm.core.values import Target

if TYPE_CHECKING:
    from farm.compile.fuse import Plan


_ATTEMPTS = 3
"""A kernel that was just built can be evicted, or found damaged, before it is read."""


def link(plan: Plan, target: Target, triple: str, kernels: KernelCache) -> bytes:
    """The library of a plan; kernels that the cache lacks are built. BuildError, StoreFull."""
    distinct = dict.fromkeys(call.kernel for call in plan.calls)
    found = {kernel: _kernel(kernel, target, kernels) for kernel in distinct}
    program = compiler().program(listing(plan, [found[call.kernel] for call in plan.calls]))
    return linker.link([kernel.path for kernel in found.values()], program, triple)


def _kernel(kernel: Group | Operation, target: Target, kernels: KernelCache) -> StoredKernel:
    target = targets.untuned(target)
    key = kernel_key(kernel, targets.canonical(target))
    for _ in range(_ATTEMPTS):
        stored = kernels.get(key)
        if stored is not None:
            return stored
        compiler().kernel(kernel, key, target, kernels.root)
    raise BuildError(f"kernels vanish from {kernels.root} as fast as they are built")
