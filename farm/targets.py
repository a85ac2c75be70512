"""Compile targets of CPUs, derived from what the CPU reports. Pure: needs no TVM."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

# Feature levels of the x86-64 psABI, 3.1.1 "Processor Architecture", in Linux's names for the
# flags (/proc/cpuinfo): `pni` is SSE3, `abm` is LZCNT. Each level includes the ones before.
_X86_64_LEVELS = {
    "x86-64-v2": {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"},
    "x86-64-v3": {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"},
    "x86-64-v4": {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"},
}


def cpu_target(arch: str, flags: Collection[str]) -> dict[str, Any]:
    """The TVM target of a Linux CPU, the same for all CPUs that run the same code equally well.

    arch: as `uname -m` says; flags: as in /proc/cpuinfo (x86-64 only).
    On x86-64 it names the psABI level and not the microarchitecture, so that one build serves
    every machine of a level. Raises ValueError for another architecture.
    """
    if arch in ("x86_64", "amd64"):
        return _x86_64_target(set(flags))
    if arch in ("aarch64", "arm64"):
        return {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["+neon"]}
    raise ValueError(f"CPUs are x86_64 or aarch64, got {arch!r}; write the device's `target` down")


def _x86_64_target(flags: set[str]) -> dict[str, Any]:
    level = "x86-64"
    for name, needed in _X86_64_LEVELS.items():
        if not needed <= flags:
            break
        level = name
    target: dict[str, Any] = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": level}
    if level == "x86-64-v4":
        # LLVM tunes this level for CPUs that clock down under 512-bit code.
        target["mattr"] = ["-prefer-256-bit"]
    return target
