"""What the files of a Linux host say, as `agents/runner.py` sends them. Pure functions.

`files` is path -> text. A host that lacks a file lacks the value: it is left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

Files = Mapping[str, str]

_CPUS = "/sys/devices/system/cpu"

FACT_FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/device-tree/model",
    f"{_CPUS}/cpu[0-9]*/topology/thread_siblings_list",
    f"{_CPUS}/cpu[0-9]*/cpufreq/scaling_governor",
)
"""Patterns of the files that the functions for facts read."""

_TICK_S = 0.01
"""Unit of /proc/stat: USER_HZ is 100 on every architecture that TVM has a wheel for (proc(5))."""


def cpu_fields(files: Files) -> dict[str, str]:
    """The first processor of /proc/cpuinfo, and what the file says of the whole machine."""
    pairs = [line.partition(":") for line in files.get("/proc/cpuinfo", "").splitlines()]
    return {key.strip(): value.strip() for key, _, value in reversed(pairs) if value.strip()}


def cpu_model(files: Files) -> str | None:
    """The model's name; an ARM core says its implementer's number and its own instead."""
    fields = cpu_fields(files)
    arm = (fields.get("CPU implementer"), fields.get("CPU part"))
    return fields.get("model name") or (f"ARM {arm[0]} {arm[1]}" if all(arm) else None)


def cpu_flags(files: Files) -> frozenset[str]:
    """Instruction set extensions, as Linux names them."""
    fields = cpu_fields(files)
    return frozenset((fields.get("flags") or fields.get("Features") or "").split())


def memory_bytes(files: Files) -> int | None:
    """All memory of the host."""
    for line in files.get("/proc/meminfo", "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def governor(files: Files, cores: Iterable[int]) -> str | None:
    """What sets the clock of these cores; several where they differ."""
    paths = [f"{_CPUS}/cpu{core}/cpufreq/scaling_governor" for core in cores]
    return ", ".join(sorted({files[path] for path in paths if path in files})) or None


def with_siblings(files: Files, cores: Iterable[int]) -> tuple[int, ...]:
    """These cores and the logical CPUs that share their hardware, sorted."""
    lists = {c: files.get(f"{_CPUS}/cpu{c}/topology/thread_siblings_list", str(c)) for c in cores}
    return tuple(
        sorted({cpu for text in lists.values() for cpu in parse_cpu_list(text)} | set(lists))
    )


def parse_cpu_list(text: str) -> list[int]:
    """The CPUs of a kernel's list: "0-2,5" is [0, 1, 2, 5]."""
    spans = [[int(end) for end in span.split("-")] for span in text.split(",") if span]
    return [cpu for span in spans for cpu in range(span[0], span[-1] + 1)]


def format_cpu_list(cpus: Iterable[int]) -> str:
    """The inverse of `parse_cpu_list`, without spans: "0,1,2,5"."""
    return ",".join(map(str, sorted(cpus)))


def witness_files(cores: Iterable[int]) -> list[str]:
    """Patterns of the files that `witness` reads."""
    each = ("cpufreq/scaling_cur_freq", "thermal_throttle/core_throttle_count")
    return [
        "/proc/stat",
        "/proc/loadavg",
        "/sys/class/thermal/thermal_zone*/temp",
        *(f"{_CPUS}/cpu{core}/{name}" for core in cores for name in each),
    ]


def witness(before: Files, after: Files, cores: Collection[int]) -> dict[str, float]:
    """States before and after, and by how much counters rose in between.

    temp_c_before, temp_c_after: the hottest thermal zone; clock_hz_*: the slowest of `cores`;
    load1_*: load average over a minute; steal_s: time that a hypervisor took from `cores`;
    throttles: how often `cores` were slowed down for their heat.
    """
    states = {"before": _states(before), "after": _states(after)}
    counters = _counters(before, cores), _counters(after, cores)
    return {
        **{f"{name}_{when}": v for when, known in states.items() for name, v in known.items()},
        **{name: counters[1][name] - v for name, v in counters[0].items() if name in counters[1]},
    }


def _states(files: Files) -> dict[str, float]:
    zones = _numbers(files, "/sys/class/thermal/", "/temp")
    clocks = _numbers(files, _CPUS, "/scaling_cur_freq")
    loads = _numbers(files, "/proc/loadavg")
    return {
        **({"temp_c": max(zones) / 1000} if zones else {}),
        **({"clock_hz": min(clocks) * 1000} if clocks else {}),
        **({"load1": loads[0]} if loads else {}),
    }


def _counters(files: Files, cores: Collection[int]) -> dict[str, float]:
    throttles = _numbers(files, _CPUS, "/core_throttle_count")
    lines = [line.split() for line in files.get("/proc/stat", "").splitlines()]
    steal = [int(line[8]) for line in lines if line[0] in {f"cpu{core}" for core in cores}]
    return {
        **({"throttles": sum(throttles)} if throttles else {}),
        **({"steal_s": sum(steal) * _TICK_S} if steal else {}),
    }


def _numbers(files: Files, start: str, end: str = "") -> list[float]:
    """The first number of each file with such a path; a sensor that shows none is left out."""
    numbers = []
    for path, text in files.items():
        if path.startswith(start) and path.endswith(end):
            with suppress(ValueError, IndexError):
                numbers.append(float(text.split()[0]))
    return numbers
