"""Times compiled networks; goes to the device together with `agents/on_device/runner.py`.

Python 3.9, the standard library and the slim runtime. Whether a block of samples counts, and
whether there are enough of them, is for the farm to decide: this file only times and looks.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from agents.on_device import nvidia
    from agents.on_device.core import CoreProbe, are_one, clock_probe_s, on_own_core, tell_shared
    from agents.on_device.loading import (
        LoadedNetwork,
        Refused,
        check_outputs,
        compared,
        load_runtime,
        loaded,
    )
else:  # on a device, where there is no package
    import nvidia
    from core import CoreProbe, are_one, clock_probe_s, on_own_core, tell_shared
    from loading import (
        LoadedNetwork,
        Refused,
        check_outputs,
        compared,
        load_runtime,
        loaded,
    )

Json = dict[str, Any]


def prepare(request: Json, bundle: Path) -> nvidia.Gpu | None:
    """Makes this process ready to load networks; the GPU that they run on, if it is one."""
    load_runtime(bundle)
    prepare_threads(request["threads"], request["cores"])
    return find_gpu(request, bundle)


def find_gpu(request: Json, bundle: Path) -> nvidia.Gpu | None:
    """The GPU that a request names by its number, with its runtime loaded."""
    if request.get("gpu") is None:
        return None
    try:
        gpu = nvidia.Gpu(request["gpu"])
        nvidia.load_cuda(bundle)
    except nvidia.NoGpu as e:
        raise Refused("unfit", str(e)) from e
    return gpu


_MOST_THREADS = 1024
"""TVM starts as many as it is told."""


def prepare_threads(threads: int, cores: list[int]) -> None:
    """Must come before TVM's pool starts, which would bind itself over the caller's cores."""
    if not 1 <= threads <= _MOST_THREADS:
        raise ValueError(f"`threads` must be from 1 to {_MOST_THREADS}, got {threads!r}")
    os.environ["TVM_BIND_THREADS"] = "0"
    os.environ["TVM_NUM_THREADS"] = str(threads)
    with contextlib.suppress(OSError):  # where none of them is there; what is given says it
        os.sched_setaffinity(0, cores or os.sched_getaffinity(0))
    given = sorted(os.sched_getaffinity(0))
    if cores and given != sorted(cores):
        raise Refused("unfit", f"asked for the cores {sorted(cores)}, this host gives {given}")


_HIGHEST_PRIORITY = -20


def raise_priority() -> str:
    """Lets nothing of ordinary priority have our cores, where we may: as root, as a rule.

    A kernel that groups processes by session weighs the groups first, sched(7). Returns which
    priority we have: `raised` or `ordinary`.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _HIGHEST_PRIORITY)
    except OSError:
        return "ordinary"
    with contextlib.suppress(OSError):  # where there are no such groups
        Path("/proc/self/autogroup").write_text(str(_HIGHEST_PRIORITY))
    return "raised"


def bind_threads(threads: int, cores: list[int]) -> list[list[int]]:
    """Once the pool runs: a core for each thread, if there are as many; all affinities."""
    ids = sorted(int(path.name) for path in Path("/proc/self/task").iterdir())
    if threads == len(cores):
        for thread, core in zip(ids, cores):
            os.sched_setaffinity(thread, {core})
    return [sorted(os.sched_getaffinity(thread)) for thread in ids]


_FLAT = 0.01
"""Warm-up ends when the medians of two blocks in a row differ by less, relatively."""


def warm_up(
    network: LoadedNetwork, spec: Json, core: CoreProbe | None = None
) -> tuple[list[float], int]:
    """All warm-up samples, and how many runs it takes until a sample lasts `sample_s`.

    Blocks of at least `block_s` / 2 run until their median is flat, for `warmup_s` at most.
    core: looks meanwhile, so that it knows how fast the core is by itself.
    """
    look = None if core is None else core.look
    samples_s: list[float] = []
    runs, needed, before_s = 0, 1, math.inf
    started_s = time.monotonic()
    while True:
        runs = needed
        count = _count(runs * min(samples_s, default=math.inf), spec["block_s"] / 2, 1)
        block_s = network.sample(runs, count, spec["flush_bytes"], look)
        samples_s += block_s
        fastest_s = max(min(samples_s), 1e-9)
        needed = 1 if spec["flush_bytes"] else max(runs, math.ceil(spec["sample_s"] / fastest_s))
        median_s = statistics.median(block_s)
        flat = abs(median_s - before_s) <= _FLAT * median_s
        late = time.monotonic() - started_s >= spec["warmup_s"]
        if runs == needed and (flat or late):
            return samples_s, runs
        before_s = median_s


def _count(sample_s: float, block_s: float, least: int) -> int:
    """How many samples make a block."""
    return max(least, math.ceil(block_s / sample_s))


READABLE = (
    "/proc/cpuinfo",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/device-tree/model",
    "/proc/sys/kernel/random/boot_id",
    "/sys/class/thermal/thermal_zone[0-9]*/temp",
    "/sys/devices/platform/soc/soc:firmware/get_throttled",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count",
    "/sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list",
    "/sys/kernel/mm/transparent_hugepage/enabled",
)
"""Patterns of the files that are read when the farm asks for them. No other is."""

_FILE_BYTES = 1 << 20
"""So much of a file is read; /proc/cpuinfo of 256 cores has half of it."""


def _paths(patterns: list[str]) -> list[Path]:
    """The files that patterns match. Raises `Refused` for a pattern that is not one of `READABLE`,
    or a file that one of them matches."""
    for pattern in patterns:
        plain = not any(sign in pattern for sign in "*?[")
        fits = plain and any(PurePosixPath(pattern).match(own) for own in READABLE)
        if not fits and pattern not in READABLE:
            raise Refused("bad_request", f"the runner does not read {pattern[:80]!r}")
    return [path for pattern in patterns for path in Path("/").glob(pattern[1:])]


def _texts(paths: list[Path]) -> dict[str, str]:
    texts = {}
    for path in paths:
        with contextlib.suppress(OSError), path.open("rb") as file:
            text = file.read(_FILE_BYTES).decode(errors="replace")
            texts[str(path)] = text.strip("\0\n ")
    return texts


def read_files(patterns: list[str]) -> dict[str, str]:
    """The text of every file that a pattern matches, of those that may be read (`READABLE`); the
    unreadable are left out."""
    return _texts(_paths(patterns))


class Telemetry:
    """What is seen around a block. Counters come as they are, and the farm takes differences."""

    def __init__(
        self, patterns: list[str], cores: list[int], gpu: nvidia.Gpu | None = None
    ) -> None:
        self._gpu = gpu
        self._paths = _paths(patterns)
        self._cores = {f"cpu{core}" for core in cores}

    def reading(self) -> Json:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "time_s": time.monotonic(),
            "utc_s": time.time(),
            "involuntary_switches": usage.ru_nivcsw,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "waited_s": _waited_s(),
            "steal_ticks": self._steal_ticks(),
            "clock_probe_s": clock_probe_s(),
            **({} if self._gpu is None else {"gpu": self._gpu.reading()}),
            "files": _texts(self._paths),
        }

    def _steal_ticks(self) -> int | None:
        """Of our cores, in units of the kernel's USER_HZ."""
        with contextlib.suppress(OSError, IndexError):
            lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
            return sum(int(line[8]) for line in lines if line and line[0] in self._cores)
        return None


def _waited_s() -> float | None:
    """Seconds that this process's first thread was ready to run and did not."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    return None


class Timed:
    """A network in a session: loaded, checked, warmed up, and timed block after block."""

    def __init__(self, number: int, request: Json) -> None:
        """number: which network of the request."""
        self._spec = request["spec"]
        self._network_given = request["networks"][number]
        started_s = time.monotonic()
        program = self._network_given["program"]
        self._network = loaded(self._network_given, request)
        self.result: Json = {"load_s": time.monotonic() - started_s, "blocks": []}
        outputs = self._network.outputs()
        self.result["outputs"] = list(map(compared, outputs))
        self.result["deviation"] = check_outputs(outputs, program, request["seed"])

    def warm_up(self, core: CoreProbe | None) -> None:
        started_s = time.monotonic()
        self.result["warmup_s"], self._runs = warm_up(self._network, self._spec, core)
        if core is not None:
            core.looks()
        self.result["warmup_taken_s"] = time.monotonic() - started_s
        fastest_s = max(min(self.result["warmup_s"]), 1e-9)
        least = self._spec["min_samples"]
        self._count = _count(self._runs * fastest_s, self._spec["block_s"], least)

    def block(self, before: Json, telemetry: Telemetry, core: CoreProbe | None) -> Json:
        """Times a block; the reading after it. before: the reading before it."""
        runs, count, flush_bytes = self._runs, self._count, self._spec["flush_bytes"]
        if core is None:
            block: Json = {"samples_s": self._network.sample(runs, count, flush_bytes)}
        else:
            taken = partial(self._network.sample, runs, count, flush_bytes)
            block = on_own_core(taken, core, self._spec["min_samples"])
        after = telemetry.reading()
        told = {"runs_per_sample": self._runs, "before": before, "after": after}
        self.result["blocks"].append({**block, **told})
        return after


def session(request: Json, bundle: Path, begin: Callable[[int], None]) -> Json:
    """Loads all networks, and times them in rounds: a block of each, in random order.

    begin: told the number of a network before anything is done with it.
    """
    gpu = prepare(request, bundle)
    raise_priority()
    networks = []
    for number in range(len(request["networks"])):
        begin(number)
        networks.append(Timed(number, request))
    affinity = bind_threads(request["threads"], request["cores"])
    fastest = request.get("fastest_look", math.inf)
    core = None if gpu is not None or are_one(request["cores"]) else CoreProbe(fastest)
    for number, network in enumerate(networks):
        begin(number)
        network.warm_up(core)
    telemetry = Telemetry(request.get("read", []), request["cores"], gpu)
    order = random.Random(request["order"])
    for index in range(request["spec"]["rounds"]):
        time.sleep(request["spec"]["pause_s"] if index else 0)
        reading = telemetry.reading()
        for number in order.sample(range(len(networks)), len(networks)):
            begin(number)
            reading = networks[number].block(reading, telemetry, core)
    results = [network.result for network in networks]
    found = {"networks": results, "affinity": affinity}
    if core is None:
        return found
    for block in (block for result in results for block in result["blocks"]):
        tell_shared(block, core)
    return {**found, "fastest_look": core.fastest}


def run(request: Json, bundle: Path, begin: Callable[[int], None]) -> Json:
    """Loads and runs each network once; `outputs` are the compared values of each."""
    prepare(request, bundle)
    outputs = []
    for number, given in enumerate(request["networks"]):
        begin(number)
        network = loaded(given, request)
        outputs.append({"outputs": list(map(compared, network.outputs()))})
    return {"networks": outputs}


def facts(request: Json, bundle: Path, begin: Callable[[int], None]) -> Json:  # noqa: ARG001
    """The host as it is; what its files mean is for the farm to find out."""
    load_runtime(bundle)
    gpu = find_gpu(request, bundle)
    return {
        "uname": list(os.uname()),
        "python": sys.version.split()[0],
        "affinity": sorted(os.sched_getaffinity(0)),
        "priority": raise_priority(),
        "files": read_files(request.get("read", [])),
        **({} if gpu is None else {"gpu": gpu.facts()}),
    }


OPERATIONS = {"facts": facts, "run": run, "session": session}
