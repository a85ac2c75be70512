"""What the farm needs and whether it is here. Looks, and changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from farm.compile.linker import find_linker
from farm.core.errors import FarmError
from farm.core.extras import EXTRAS, install_command
from farm.execution.attempts import make_agent
from farm.inventory.config import Device, FarmConfig, load
from farm.store import Lease, Store

_NAME = "latency-farm"

_DISK_BYTES = 2 * 1024**3
"""A search space of 10,000 networks is a few gigabytes of artifacts; half of that is a warning."""


@dataclass(frozen=True)
class Check:
    """state: `ok`, `note` (works, could be better) or `missing` (something will not work)."""

    state: str
    what: str
    found: str
    todo: str = ""


def examine(config: Path, store: Path | None) -> list[Check]:
    """Everything there is to look at, in the order in which it should be mended."""
    checks = [_python(), *_packages(), *_extras(), _compiler(), _linker(), _cores(), _governor()]
    try:
        loaded = load(config)
    except FarmError as e:
        todo = "mend the line that is named"
        return [*checks, Check("missing", str(config), str(e), todo)]
    checks.append(Check("ok", str(config), f"{len(loaded.devices)} devices"))
    folder = store or loaded.store
    return [*checks, *_devices(loaded, folder), _store(folder), _disk(folder)]


def _python() -> Check:
    found = sys.version.split()[0]
    state = "ok" if sys.version_info >= (3, 11) else "missing"
    return Check(state, "Python", found, "" if state == "ok" else "use Python 3.11 or later")


def _packages() -> list[Check]:
    return [_package(r) for r in _requirements() if r.marker is None]


def _requirements() -> list[Requirement]:
    return [Requirement(text) for text in requires(_NAME) or []]


def _extras() -> list[Check]:
    """A row for each extra, which the farm works without."""
    needed = {name: [r for r in _requirements() if _is_of(r, name)] for name in EXTRAS}
    return [_extra(name, packages) for name, packages in needed.items() if packages]


def _is_of(requirement: Requirement, extra: str) -> bool:
    """Whether an extra brings a package itself, and not by another extra."""
    marker = requirement.marker
    return marker is not None and requirement.name != _NAME and marker.evaluate({"extra": extra})


def _extra(name: str, needed: Sequence[Requirement]) -> Check:
    lacking = [check.what for check in map(_package, needed) if check.state != "ok"]
    if not lacking:
        return Check("ok", f"extra {name}", f"installed, for {EXTRAS[name]}")
    found = f"without {', '.join(lacking)}; it is for {EXTRAS[name]}"
    return Check("note", f"extra {name}", found, install_command(name))


def _package(requirement: Requirement) -> Check:
    name, todo = requirement.name, f"pip install -c constraints.txt '{requirement}'"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check("missing", name, "not installed", todo)
    fits = requirement.specifier.contains(found)
    return Check("ok" if fits else "missing", name, found, "" if fits else todo)


def _compiler() -> Check:
    def look() -> str:
        from tvm.target import codegen

        return f"LLVM {codegen.llvm_version_major()} for {codegen.llvm_get_system_cpu()}"

    return _try("TVM's compiler", look, "install apache-tvm as constraints.txt pins it")


def _linker() -> Check:
    look = partial(find_linker, f"{platform.machine()}-linux-gnu")
    return _try("linker", look, "install binutils or lld")


def _cores() -> Check:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        return Check("ok", "cores", f"{len(cores)}")
    todo = "devices with two threads need two cores; everything takes turns"
    return Check("note", "cores", "1", todo)


def _governor() -> Check:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if not path.exists():
        return Check("note", "CPU governor", "not visible here (a virtual machine?)")
    governor = path.read_text().strip()
    todo = "" if governor == "performance" else "latencies repeat better under `performance`"
    return Check("note" if todo else "ok", "CPU governor", governor, todo)


def _devices(config: FarmConfig, folder: Path) -> list[Check]:
    """A row for each; one that a process of the farm holds is left to it."""
    held = _held(folder, config.devices)
    return [_device(device, held.get(name)) for name, device in config.devices.items()]


def _held(folder: Path, devices: Iterable[str]) -> Mapping[str, Lease]:
    if not (folder / "farm.db").exists():
        return {}
    with suppress(FarmError), Store(folder, create=False) as store:  # `_store` says what is wrong
        return store.holders_of(devices)
    return {}


def _device(device: Device, lease: Lease | None) -> Check:
    what, todo = f"device {device.name}", f"see `farm device show {device.name}`"
    if lease is not None:
        return Check("ok", what, f"in use by {lease.owner}")
    return _try(what, partial(_facts, device), todo)


def _facts(device: Device) -> str:
    with make_agent(device) as agent:
        facts = agent.facts()
    return f"{facts.host}, cores {list(facts.cores)}, target {facts.target}"


def _store(folder: Path) -> Check:
    if not (folder / "farm.db").exists():
        return Check("ok", "store", f"none yet in {folder}; the first campaign makes it")

    def look() -> str:
        with Store(folder, create=False) as store:
            return f"{folder}: {len(store.campaigns())} campaigns"

    return _try("store", look, "as it says")


def _disk(folder: Path) -> Check:
    here = next(p for p in [folder.absolute(), *folder.absolute().parents] if p.exists())
    free = shutil.disk_usage(here).free
    state = "ok" if free > _DISK_BYTES else "note"
    return Check(state, "disk", f"{free / 1e9:.0f} GB free for {folder}")


def _try(what: str, look: Callable[[], str], todo: str) -> Check:
    try:
        return Check("ok", what, look())
    except (FarmError, ImportError, OSError) as e:
        return Check("missing", what, str(e), todo)
