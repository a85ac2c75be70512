"""Compile targets: checked against TVM and LLVM before any work, and named canonically."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from farm.core.errors import TargetError
from farm.core.values import Target


@dataclass(frozen=True)
class Isa:
    """What of an instruction set decides how a kernel is written.

    lanes: float32 values in a vector. registers: vector registers.
    threads: whether a kernel may share its loops between threads.
    """

    lanes: int
    registers: int
    threads: bool = True


_NEEDED_FEATURES = {"x86_64": ("64bit", "sse2"), "aarch64": ("fp-armv8", "neon")}
"""What code for an architecture takes for granted; LLVM dies without, or passes no floats."""

_USED_FEATURES = (
    *("avx", "bmi", "f16c", "fma", "lzcnt", "movbe", "popcnt", "sse", "ssse", "xop"),
    *("bf16", "complxnum", "fullfp16", "lse", "rdm", "sme", "sve"),
)
"""How features begin whose instructions LLVM puts into code without being asked to."""


def isa(target: Any) -> Isa:
    """The instruction set of a resolved CPU target."""
    features = _features(target)
    if "avx512f" in features:
        return Isa(lanes=16, registers=32)
    if "avx" in features:
        return Isa(lanes=8, registers=16)
    return Isa(lanes=4, registers=32 if "neon" in features else 16)


SCHEDULES = "schedules"
"""The key of a target dict under which tuned schedules are (`farm.compile.tuning`)."""


def untuned(target: Target) -> Target:
    """The target without tuned schedules, as TVM knows it."""
    if isinstance(target, str) or SCHEDULES not in target:
        return target
    rest = {name: value for name, value in target.items() if name != SCHEDULES}
    return str(rest["tag"]) if rest.keys() == {"tag"} else rest


def canonical(target: Target) -> str:
    """The text that stands for `target` in keys: a tag as it is, a dict as sorted JSON.

    Imports no TVM, and so refuses nothing that only TVM can judge; `resolve` does.
    """
    if isinstance(target, str):
        return target
    return json.dumps(_with_triple(target), sort_keys=True, separators=(",", ":"), default=str)


def resolve(target: Target) -> Any:
    """The `tvm.target.Target` of a tag or target dict. Raises TargetError."""
    from tvm.target import Target as TvmTarget

    target = untuned(target)
    if isinstance(target, str):
        _check_tag(target)
        return TvmTarget(target)
    options = _with_triple(target)
    if options.get("kind") == "llvm":
        _check_cpu(options)
    try:
        return TvmTarget(options)
    except (ValueError, TypeError) as error:
        reason = str(error).partition(" Target creation")[0].rstrip(".")
        raise TargetError(f"TVM refuses the target {canonical(target)}: {reason}") from error


def runs_here(target: Any) -> bool:
    """Whether this host can run the code of a resolved target, as far as LLVM knows this host."""
    triple = str(target.attrs.get("mtriple", ""))
    if target.kind.name != "llvm" or triple.split("-")[0] != platform.machine():
        return False
    used = {name for name in _features(target) if name.startswith(_USED_FEATURES)}
    return used <= _host_features()


def _with_triple(target: Mapping[str, Any]) -> dict[str, Any]:
    """TVM's own default is the triple of the machine that its wheel was built on."""
    triple = {"mtriple": f"{platform.machine()}-linux-gnu"}
    return {**(triple if target.get("kind") == "llvm" else {}), **target}


def _check_tag(tag: str) -> None:
    from tvm.target import list_tags

    tags = sorted(list_tags())
    if tag not in tags:
        raise TargetError(f"no target tag {tag!r}; {_offer(tag, tags)}; or write a target dict")


def _check_cpu(options: Mapping[str, Any]) -> None:
    """LLVM itself only warns of an unknown triple, CPU or feature, and goes on with a default."""
    from tvm.target import codegen

    triple, cpu = str(options["mtriple"]), str(options.get("mcpu", "generic"))
    architectures = [str(name) for name in codegen.llvm_get_targets()]
    architecture = triple.split("-")[0]
    if architecture.removesuffix("l") not in [*architectures, "armv7", "armv8"]:
        raise TargetError(f"no triple {triple!r}; {_offer(architecture, architectures)}")
    known = _known_cpus(triple)
    if cpu not in known | {"generic"}:
        raise TargetError(f"LLVM knows no CPU {cpu!r} for {triple}; {_offer(cpu, known)}")
    features = [str(feature) for feature in options.get("mattr", ())]
    for feature in features:
        _check_feature(feature, triple)
        if feature[0] == "+" and f"-{feature[1:]}" in features:
            raise TargetError(f"`mattr` both asks for {feature[1:]!r} and forbids it; drop one")
    _check_needed(options, architecture)


def _check_needed(options: Mapping[str, Any], architecture: str) -> None:
    from tvm.target import Target as TvmTarget

    needed = _NEEDED_FEATURES.get(architecture, ())
    chosen = {
        name: options[name] for name in ("kind", "mtriple", "mcpu", "mattr") if name in options
    }
    lacking = [name for name in needed if name not in _features(TvmTarget(chosen))]
    if lacking:
        raise TargetError(
            f"code for {architecture} needs {' and '.join(lacking)}, which "
            f"{canonical(options)} does not have; choose another `mcpu`, or drop it from `mattr`"
        )


def _features(target: Any) -> frozenset[str]:
    from tvm.target import codegen

    return frozenset(str(name) for name in codegen.llvm_get_cpu_features(target))


@cache
def _host_features() -> frozenset[str]:
    from tvm.target import Target as TvmTarget
    from tvm.target import codegen

    triple, cpu = f"{platform.machine()}-linux-gnu", str(codegen.llvm_get_system_cpu())
    return _features(TvmTarget({"kind": "llvm", "mtriple": triple, "mcpu": cpu}))


def _check_feature(feature: str, triple: str) -> None:
    if feature[:1] not in ("+", "-"):
        raise TargetError(f"`mattr` takes '+NAME' or '-NAME', got {feature!r}")
    known = _known_features(triple)
    if feature[1:] not in known:
        offer = _offer(feature[1:], known)
        raise TargetError(f"LLVM knows no feature {feature[1:]!r} for {triple}; {offer}")


@cache
def _known_cpus(triple: str) -> frozenset[str]:
    from tvm.target import Target as TvmTarget
    from tvm.target import codegen

    names = codegen.llvm_get_cpu_archlist(TvmTarget({"kind": "llvm", "mtriple": triple}))
    return frozenset(str(name) for name in names)


@cache
def _known_features(triple: str) -> frozenset[str]:
    """Every feature that some CPU of the architecture has: LLVM lists them only by CPU."""
    from tvm.target import Target as TvmTarget

    options = [{"kind": "llvm", "mtriple": triple, "mcpu": cpu} for cpu in _known_cpus(triple)]
    return frozenset().union(*(_features(TvmTarget(option)) for option in options))


def _offer(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"near it: {', '.join(near)}" if near else "nothing that TVM knows is near it"
