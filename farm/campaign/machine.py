"""What this computer has to offer to a campaign on its own cores, as it is just now."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agents.cpu import own_cores

_WATCHED_S = 3.0
"""How long the cores are watched: other programs come in bursts."""


@dataclass(frozen=True)
class Machine:
    """cores: logical CPUs that this process may use; apart: how many of them share no core with
        another.
    quota: CPUs' worth of time that a control group (a container's limit) leaves; None for all.
    busy: CPUs' worth of time that other programs take of those cores.
    priority: whether measurements may go before other programs.
    battery: whether it runs on one.
    """

    cores: tuple[int, ...]
    apart: int
    quota: float | None = None
    busy: float = 0.0
    priority: bool = True
    battery: bool = False

    @property
    def usable(self) -> float:
        """CPUs' worth of time that this process may have."""
        return min(len(self.cores), self.quota or float("inf"))


def look() -> Machine:
    """Look at this computer, for a few seconds."""
    cores = own_cores()
    before = _busy_ticks(cores)
    time.sleep(_WATCHED_S)
    ticks = _busy_ticks(cores) - before
    return Machine(
        cores=tuple(sorted(cores)),
        apart=cores_apart(cores),
        quota=quota(),
        busy=ticks / os.sysconf("SC_CLK_TCK") / _WATCHED_S,
        priority=_may_go_first(),
        battery=on_battery(),
    )


def quota(root: Path = Path("/")) -> float | None:
    """CPUs' worth of time of this process's control groups, the least of them and those above;
    None without a limit.

    root: of the file system, as for the functions below.
    """
    limits = list(_limits(root))
    return min(limits) if limits else None


def cores_apart(cores: Collection[int], root: Path = Path("/")) -> int:
    """How many physical cores the logical ones are on."""
    folder = root / "sys/devices/system/cpu"
    siblings = [_text(folder / f"cpu{core}/topology/thread_siblings_list") for core in cores]
    return len({text or core for core, text in zip(cores, siblings, strict=True)})


def on_battery(root: Path = Path("/")) -> bool:
    """Whether the computer has a battery that it lives on: some slow down then."""
    supplies = sorted((root / "sys/class/power_supply").glob("*"))
    states = {(_text(s / "type"), _text(s / "online"), _text(s / "status")) for s in supplies}
    if any(kind in ("Mains", "USB") and online == "1" for kind, online, _ in states):
        return False
    return any(kind == "Battery" and status == "Discharging" for kind, _, status in states)


def _limits(root: Path) -> Iterator[float]:
    mounts = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folders, read = (mounts, mounts / "unified"), _limit_2
        elif "cpu" in controllers.split(","):
            folders, read = (mounts / controllers, mounts / "cpu"), _limit_1
        else:
            continue
        for folder in folders:
            for group in (PurePosixPath(path), *PurePosixPath(path).parents):
                limit = read(folder / str(group).lstrip("/"))
                if limit is not None:
                    yield limit


def _limit_2(group: Path) -> float | None:
    """Of a group of cgroup v2: `cpu.max` is `QUOTA PERIOD`, or `max PERIOD`."""
    words = _text(group / "cpu.max").split()
    return _ratio(*words) if len(words) == 2 else None


def _limit_1(group: Path) -> float | None:
    """Of a group of cgroup v1; a quota of -1 is none."""
    return _ratio(_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    if not (quota.isdigit() and period.isdigit() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)


def _busy_ticks(cores: Collection[int]) -> int:
    """Clock ticks in which the cores were not idle since the computer began."""
    names = {f"cpu{core}" for core in cores}
    rows = [line.split() for line in _text(Path("/proc/stat")).splitlines()]
    busy = 0
    for name, *ticks in rows:
        if name in names:
            user, nice, system, _, _, irq, softirq, steal = map(int, ticks[:8])
            busy += user + nice + system + irq + softirq + steal
    return busy


def _may_go_first() -> bool:
    """Whether this process may raise its priority: it does for a moment."""
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, priority - 1)
    except OSError:
        return False
    os.setpriority(os.PRIO_PROCESS, 0, priority)
    return True


def _text(path: Path) -> str:
    """What a file of the kernel says; nothing where it is not there, or not ours to read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
