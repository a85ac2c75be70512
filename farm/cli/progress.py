"""Progress on stderr: a live picture on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from farm.campaign.loop import DeviceProgress, Progress, Watch

_LINE_EVERY_S = 10.0


Step = TypeVar("Step")


def watching() -> AbstractContextManager[Watch]:
    """A function that shows the progress of a campaign that it is given."""
    return shown(line, table, "starting the devices and the compilers ...")


@contextmanager
def shown(
    line: Callable[[Step], str], picture: Callable[[Step], RenderableType], first: str
) -> Iterator[Callable[[Step], None]]:
    """A function that shows how far something is, as `line` or `picture` put it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        lines = _Lines(console)
        yield lambda step: lines.show(line(step))
        return
    # Drawn only when something changes: a timer would run while devices measure on these cores.
    with Live(console=console, auto_refresh=False, transient=True) as live:
        live.update(Text(first), refresh=True)
        yield lambda step: live.update(picture(step), refresh=True)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_s = 0.0

    def show(self, text: str) -> None:
        if time.monotonic() - self._last_s >= _LINE_EVERY_S:
            self._last_s = time.monotonic()
            self._console.print(text, soft_wrap=True, highlight=False)


def line(progress: Progress) -> str:
    """A campaign's progress in one line."""
    devices = progress.devices.values()
    ended, wanted = sum(d.measured + d.failed for d in devices), sum(d.wanted for d in devices)
    failed = sum(d.failed for d in devices)
    doing = [f"{name}: {_doing(d)}" for name, d in progress.devices.items() if d.doing]
    parts = [
        f"{progress.campaign}: {ended} of {wanted}",
        f"{failed} failed" if failed else "",
        f"{progress.building} building" if progress.building else "",
        *doing,
        _left(progress.left_s),
    ]
    return ", ".join(part for part in parts if part)


def table(progress: Progress) -> Group:
    """A campaign's progress as a table of its devices."""
    grid = Table.grid(padding=(0, 2))
    for name, device in progress.devices.items():
        ended = device.measured + device.failed
        grid.add_row(
            name,
            ProgressBar(total=device.wanted, completed=ended, width=24),
            f"{ended}/{device.wanted}",
            Text(f"{device.failed} failed", style="red") if device.failed else "",
            Text(_doing(device), style="" if device.doing else "dim", no_wrap=True),
        )
    building = f"{progress.building} building" if progress.building else "nothing to build"
    elapsed = f"{duration(progress.elapsed_s)} gone"
    status = f"{progress.campaign}: {building}, {elapsed}, {_left(progress.left_s)}"
    return Group(grid, Text(status, style="dim"))


def _doing(device: DeviceProgress) -> str:
    """What a device measures, in words: the first network's code and how many are with it."""
    if not device.doing:
        return "waiting"
    first, *others = device.doing
    return f"{first} and {len(others)} more" if others else first


def duration(seconds: float) -> str:
    """A length of time for a person: 42 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"


def _left(left_s: float | None) -> str:
    return "time left unknown yet" if left_s is None else f"about {duration(left_s)} left"
