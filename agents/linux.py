"""What the files of a Linux host say, as `agents/on_device/runner.py` sends them. Pure functions.

`files` is path -> text. A host that lacks a file lacks the value: it is left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from farm.core.values import MOST_CPUS

Files = Mapping[str, str]

_CPUS = "/sys/devices/system/cpu"

FACT_FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/device-tree/model",
    f"{_CPUS}/cpu[0-9]*/topology/thread_siblings_list",
    f"{_CPUS}/cpu[0-9]*/cpufreq/scaling_governor",
    "/sys/kernel/mm/transparent_hugepage/enabled",
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


def arm_part(files: Files) -> str | None:
    """The number of one of Arm's own cores; None for cores of others."""
    fields = cpu_fields(files)
    return fields.get("CPU part") if fields.get("CPU implementer") == "0x41" else None


def cpu_flags(files: Files) -> frozenset[str]:
    """Instruction set extensions, as Linux names them."""
    fields = cpu_fields(files)
    return frozenset((fields.get("flags") or fields.get("Features") or "").split())


def large_pages(files: Files) -> str | None:
    """Who gets pages larger than usual: `always`, `madvise` (who asks) or `never`."""
    said = files.get("/sys/kernel/mm/transparent_hugepage/enabled", "")
    return said.partition("[")[2].partition("]")[0] or None


def memory_bytes(files: Files) -> int | None:
    """All memory of the host."""
    for line in files.get("/proc/meminfo", "").splitlines():
        words = line.split()
        if words[:1] == ["MemTotal:"] and words[1:] and _is_number(words[1]):
            return int(words[1]) * 1024
    return None


def _is_number(text: str) -> bool:
    """Of decimal digits, and no longer than any that a kernel writes."""
    return text.isascii() and text.isdecimal() and len(text) <= 20


def governor(files: Files, cores: Iterable[int]) -> str | None:
    """What sets the clock of these cores; several where they differ."""
    paths = [f"{_CPUS}/cpu{core}/cpufreq/scaling_governor" for core in cores]
    return ", ".join(sorted({files[path] for path in paths if path in files})) or None


def with_siblings(files: Files, cores: Iterable[int]) -> tuple[int, ...]:
    """These cores and the logical CPUs that share their hardware, sorted."""
    found = set(cores)
    for core in tuple(found):
        with suppress(ValueError):
            text = files.get(f"{_CPUS}/cpu{core}/topology/thread_siblings_list", "")
            found |= set(parse_cpu_list(text))
    return tuple(sorted(found))


def parse_cpu_list(text: str) -> list[int]:
    """The CPUs of a kernel's list: "0-2,5" is [0, 1, 2, 5]. Raises ValueError for another text."""
    spans = [span.split("-") for span in text.split(",") if span]
    if not all(len(span) <= 2 and all(map(_is_cpu, span)) for span in spans):
        raise ValueError(f"a list of CPUs is written 0-2,5, got {text[:80]!r}")
    return [cpu for span in spans for cpu in range(int(span[0]), int(span[-1]) + 1)]


def _is_cpu(text: str) -> bool:
    return _is_number(text) and int(text) < MOST_CPUS


def format_cpu_list(cpus: Iterable[int]) -> str:
    """The inverse of `parse_cpu_list`, without spans: "0,1,2,5"."""
    return ",".join(map(str, sorted(cpus)))


def telemetry_files(cores: Iterable[int]) -> list[str]:
    """The files that `telemetry` reads, patterns among them."""
    each = ("cpufreq/scaling_cur_freq", "thermal_throttle/core_throttle_count")
    return [
        "/proc/loadavg",
        "/sys/class/thermal/thermal_zone[0-9]*/temp",
        _PI_THROTTLED,
        *(f"{_CPUS}/cpu{core}/{name}" for core in cores for name in each),
    ]


_PI_THROTTLED = "/sys/devices/platform/soc/soc:firmware/get_throttled"
"""Of a Raspberry Pi, what `vcgencmd get_throttled` says: a hexadecimal number."""

_NOW = 0xF
"""The bits of it that say what is so now: low voltage, capped clock, throttled, hot."""

_DIGITS = 9
"""Clocks tick in nanoseconds; what comes after is of subtracting large numbers."""

_LARGEST = 1e18
"""No sensor shows more; neither NaN nor infinity is less."""

_TEMPERATURES_C = (-40.0, 130.0)


def telemetry(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    """What two readings of the runner say of the block between them.

    elapsed_s, utc_elapsed_s: by the monotonic and by the wall clock; cpu_s: of all threads;
    waited_s: ready to run, but without a core; steal_s: taken by a hypervisor;
    involuntary_switches: how often the network was put off its core;
    clock_probe_s: seconds for a fixed piece of work, see `agents.on_device.core.clock_probe_s`;
    temp_c: the hottest thermal zone; temp_implausible: how many zones say what no chip bears;
    clock_hz: of the slowest core; load1: load average over a minute;
    throttles: how often the cores were slowed down for their heat; throttled: a Pi's flags.
    """
    rises = {
        "elapsed_s": "time_s",
        "utc_elapsed_s": "utc_s",
        "cpu_s": "cpu_s",
        "waited_s": "waited_s",
        "involuntary_switches": "involuntary_switches",
    }
    seen = {
        name: round(after[key] - before[key], _DIGITS)
        for name, key in rises.items()
        if before.get(key) is not None and after.get(key) is not None
    }
    if before.get("steal_ticks") is not None and after.get("steal_ticks") is not None:
        seen["steal_s"] = (after["steal_ticks"] - before["steal_ticks"]) * _TICK_S
    seen["clock_probe_s"] = round(min(before["clock_probe_s"], after["clock_probe_s"]), _DIGITS)
    throttles = [sum(_throttle_counts(reading["files"])) for reading in (before, after)]
    if _throttle_counts(after["files"]):
        seen["throttles"] = throttles[1] - throttles[0]
    return {**seen, **_states(after["files"])}


def _states(files: Files) -> dict[str, float]:
    zones = [value / 1000 for value in _numbers(files, "/sys/class/thermal/", "/temp")]
    low_c, high_c = _TEMPERATURES_C
    possible = [zone for zone in zones if low_c < zone < high_c and zone != 0]
    clocks = _numbers(files, _CPUS, "/scaling_cur_freq")
    loads = _numbers(files, "/proc/loadavg")
    flags = _flags(files.get(_PI_THROTTLED, ""))
    return {
        **({"temp_c": max(possible)} if possible else {}),
        **({"temp_implausible": len(zones) - len(possible)} if len(possible) < len(zones) else {}),
        **({"clock_hz": min(clocks) * 1000} if clocks else {}),
        **({"load1": loads[0]} if loads else {}),
        **({} if flags is None else {"throttled": flags & _NOW}),
    }


def _flags(text: str) -> int | None:
    """The number that a Pi's firmware shows; None where it shows none."""
    with suppress(ValueError):
        return int(text[:20], 16)
    return None


def _throttle_counts(files: Files) -> list[float]:
    return _numbers(files, _CPUS, "/core_throttle_count")


def _numbers(files: Files, start: str, end: str = "") -> list[float]:
    """The first number of each file with such a path; a sensor that shows none is left out."""
    numbers = []
    for path, text in files.items():
        if path.startswith(start) and path.endswith(end):
            with suppress(ValueError, IndexError):
                number = float(text[:80].split()[0])
                numbers += [number] if abs(number) < _LARGEST else []
    return numbers
