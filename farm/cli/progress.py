"""Progress on stderr: a live picture on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from farm.campaign.loop import Watch
from farm.campaign.progress import DONE, KERNELS, MEASURING, DeviceProgress, Progress
from farm.core.values import percent
from farm.prediction.decisions import Learnt, Outlook

_LINE_EVERY_S = 10.0

_WIDE = 120
"""Columns of a terminal from which each figure has a column of its own."""

_MOST_POINTS = 8
"""Points of a learning curve that are told."""


Step = TypeVar("Step")


def watching() -> AbstractContextManager[Watch]:
    """A function that shows the progress of a campaign that it is given."""
    first = "starting the devices and the compilers ..."
    return shown(line, table, first, lambda progress: progress.events)


@contextmanager
def shown(
    line: Callable[[Step], str],
    picture: Callable[[Step], RenderableType],
    first: str,
    events: Callable[[Step], Sequence[str]] = lambda _: (),
) -> Iterator[Callable[[Step], None]]:
    """A function that shows how far something is, as `line` or `picture` put it.

    events: what happened since the step before; each is a line that stays.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        lines = Lines(console)
        yield lambda step: lines.show(line(step), events(step))
        return

    def show(step: Step) -> None:
        for event in events(step):
            console.print(Text(event))
        live.update(picture(step), refresh=True)

    # Drawn only when something changes: a timer would run while devices measure on these cores.
    with Live(console=console, auto_refresh=False, transient=True) as live:
        live.update(Text(first), refresh=True)
        yield show


class Lines:
    """A line now and then, and every event at once, for a file or a pipe.

    clock: seconds that only grow.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._next_s = -inf

    def show(self, text: str, events: Sequence[str]) -> None:
        for event in events:
            self._print(event)
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + _LINE_EVERY_S
            self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


def line(progress: Progress) -> str:
    """A campaign's progress in one line."""
    devices = progress.devices.values()
    failed = sum(d.failed for d in devices)
    learnt = [
        f"{name} predicted to {percent(error)}"
        for name, device in progress.devices.items()
        if device.curve and (error := device.curve[-1].error_median) is not None
    ]
    parts = [
        f"{progress.campaign}: {_count(devices)}",
        f"{failed} failed" if failed else "",
        f"{progress.building} building" if progress.building else "",
        *(f"{name} {_doing(device)}" for name, device in progress.devices.items()),
        *learnt,
        *(f"{name}: {told}" for name, told in _outlooks(progress).items()),
        _left(progress.left_s),
    ]
    return ", ".join(part for part in parts if part)


def table(progress: Progress) -> RenderableType:
    """A campaign's progress as a table of its devices, with its learning curve below."""
    return _Picture(progress)


@dataclass(frozen=True)
class _Picture:
    """Drawn for the terminal's width: a column for each figure where there is room."""

    progress: Progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= _WIDE
        rows = Table.grid(padding=(0, 2))
        for name, device in self.progress.devices.items():
            bar = ProgressBar(device.wanted, device.ended, width=24 if wide else 10)
            told = _figures(device)
            rows.add_row(name, bar, *(told if wide else [", ".join(filter(None, told))]))
        yield rows
        curves = {name: d.curve for name, d in self.progress.devices.items() if d.curve}
        if curves:
            yield Text("Error on the holdout, median, after so many networks:", style="dim")
            points = Table.grid(padding=(0, 2))
            for name, curve in curves.items():
                points.add_row(name, _curve(curve, _MOST_POINTS if wide else _MOST_POINTS // 2))
            yield points
        for name, aim in _outlooks(self.progress).items():
            yield Text(f"{name}: {aim}", style="dim")
        yield Text(_status(self.progress), style="dim")


def _outlooks(progress: Progress) -> dict[str, str]:
    """How far each device is from the campaign's goal, and why it measures what it does."""
    found = {}
    for name, device in progress.devices.items():
        decision = device.decision
        if decision is None or device.doing == DONE:
            continue
        if decision.outlook is not None:
            found[name] = outlook(decision.outlook)
        elif decision.why:
            found[name] = f"next are networks {decision.why}"
    return found


def outlook(told: Outlook) -> str:
    """A device's way to its goal, in words."""
    if told.left is None or told.reached:
        return told.said
    few, many = told.left
    more = f"{few}" if few == many else f"{few} to {many}"
    takes = f", about {duration(told.left_s)} of the device" if told.left_s else ""
    return f"{told.said}; {more} more networks are forecast{takes}"


def _figures(device: DeviceProgress) -> list[str]:
    """What is told of a device, the same number of texts for each."""
    rate, left_s = device.rate_per_min, device.left_s
    return [
        _count([device]) + (f", {device.failed} failed" if device.failed else ""),
        _doing(device),
        f"{rate:.3g} a minute" if rate else "",
        f"{duration(left_s)} left" if left_s else "",
        ", ".join(f"{n} {verdict}" for verdict, n in sorted((device.verdicts or {}).items())),
    ]


def _count(devices: Collection[DeviceProgress]) -> str:
    """How many of the outcomes are there: 24 of 60, 8 again."""
    again = sum(d.again for d in devices)
    count = f"{sum(d.ended for d in devices)} of {sum(d.wanted for d in devices)}"
    return f"{count}, {again} again" if again else count


def _doing(device: DeviceProgress) -> str:
    if device.doing == KERNELS and device.kernels is not None:
        done = device.kernels.measured + device.kernels.failed
        return f"{device.doing}, {done} of {device.kernels.asked} done"
    if device.doing != MEASURING:
        return device.doing
    return f"measuring {device.group} network{'' if device.group == 1 else 's'}"


def _curve(curve: Sequence[Learnt], most: int) -> str:
    """The learning curve's first point and its last ones."""
    told = curve if len(curve) <= most else [curve[0], *curve[1 - most :]]
    points = [
        f"{percent(point.error_median)} ({point.networks})"
        for point in told
        if point.error_median is not None
    ]
    spearman = curve[-1].spearman
    ranks = "" if spearman is None else f"; Spearman {spearman:.3f}"
    return ", ".join(points) + ranks


def _status(progress: Progress) -> str:
    building = f"{progress.building} building" if progress.building else "nothing to build"
    elapsed = f"{duration(progress.elapsed_s)} gone"
    return f"{progress.campaign}: {building}, {elapsed}, {_left(progress.left_s)}"


def duration(seconds: float) -> str:
    """A length of time for a person: 42 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"


def _left(left_s: float | None) -> str:
    if left_s is None:
        return "time left unknown yet"
    return f"about {duration(left_s)} left" if left_s >= 1 else "nothing left"
