"""Two campaigns side by side, as a person wants to read them."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType

from farm.campaign.compare import SAME, Change, Comparison, Crossing, counts
from farm.cli import show
from farm.measurement.record import Measurement

_STYLES = {"faster": "green", "slower": "red", "undecided": "yellow", "same": ""}


def text(found: Comparison, margin: float) -> RenderableType:
    """What changed, the largest changes first; what stayed the same is only counted."""
    counted = counts(found.changes)
    told = ", ".join(f"{number} {verdict}" for verdict, number in counted.items())
    head = f"{len(found.changes)} compared, {told}; differences up to {margin:.3g} do not matter."
    notes = [*map(_crossing, found.crossings), *_missing(found)]
    rows = [change for change in found.changes if change.verdict != SAME]
    if not rows:
        return Group(head, *notes)
    columns = ("network", "device", "first", "second", "ratio", "95 % interval", "")
    table = show.table_of(*columns)
    for change in sorted(rows, key=lambda c: -abs(c.ratio - 1)):
        table.add_row(*_cells(change), style=_STYLES[change.verdict])
    return Group(head, *notes, table)


def _crossing(crossing: Crossing) -> str:
    """What a change of a device means for the comparison."""
    of_it = f"{crossing.device} changed in between: {crossing.change}; {crossing.reason}."
    if crossing.factor is None:
        return (
            f"{of_it} {crossing.networks} networks are not compared there; "
            "--as-measured compares them all the same."
        )
    if crossing.factor == 1:
        return f"{of_it} {crossing.networks} networks are compared as measured."
    return (
        f"{of_it} The first latencies of {crossing.networks} networks are multiplied by "
        f"{crossing.factor:.3f}, so that what changed all alike does not show."
    )


def _missing(found: Comparison) -> Iterator[str]:
    for (campaign, device), networks in found.missing.items():
        yield (
            f"{networks} networks of {campaign} on {device} have no result that counts: not "
            f"measured, or invalidated; `farm campaign resume {campaign}` measures them."
        )


def _cells(change: Change) -> list[str]:
    return [
        change.network.code,
        change.device,
        _latency(change.first, change.factor),
        _latency(change.second, 1.0),
        f"{change.ratio:.3f}",
        f"{change.low:.3f} to {change.high:.3f}",
        change.verdict,
    ]


def _latency(found: Measurement, factor: float) -> str:
    """With its verdict, where there is something to beware of."""
    beware = "" if found.verdict == "ok" else f" ({found.verdict})"
    return f"{found.latency_s * factor * 1e3:.3f} ms{beware}"
