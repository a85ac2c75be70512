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

# Part numbers of Arm's own cores (Linux, arch/arm64/include/asm/cputype.h), by LLVM's names. Those
# with SVE are left out: a hypervisor may hide it, and LLVM would use it.
_ARM_CORES = {
    "0xd03": "cortex-a53",  # Raspberry Pi 3
    "0xd04": "cortex-a35",
    "0xd05": "cortex-a55",
    "0xd07": "cortex-a57",
    "0xd08": "cortex-a72",  # Raspberry Pi 4
    "0xd09": "cortex-a73",
    "0xd0a": "cortex-a75",
    "0xd0b": "cortex-a76",  # Raspberry Pi 5
    "0xd0c": "neoverse-n1",
    "0xd0d": "cortex-a77",
    "0xd41": "cortex-a78",
}


def cpu_target(arch: str, flags: Collection[str], part: str | None = None) -> dict[str, Any]:
    """The TVM target of a Linux CPU, the same for all CPUs that run the same code equally well.

    arch: as `uname -m` says; flags: as in /proc/cpuinfo (x86-64 only); part: number of one of
    Arm's own cores.
    On x86-64 it names the psABI level and not the microarchitecture, so that one build serves
    every machine of a level. Raises ValueError for another architecture.
    """
    if arch in ("x86_64", "amd64"):
        return _x86_64_target(set(flags))
    if arch in ("aarch64", "arm64"):
        core = {"mcpu": _ARM_CORES[part]} if part in _ARM_CORES else {}
        return {"kind": "llvm", "mtriple": "aarch64-linux-gnu", **core, "mattr": ["+neon"]}
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
