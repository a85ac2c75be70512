"""Two campaigns side by side, as a person wants to read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from farm.compare import SAME, Change, counts

_STYLES = {"faster": "green", "slower": "red", "undecided": "yellow", "same": ""}


def to_json(changes: Sequence[Change]) -> dict[str, Any]:
    return {"counts": counts(changes), "networks": [change.to_json() for change in changes]}


def text(changes: Sequence[Change], margin: float) -> RenderableType:
    """What changed, the largest changes first; what stayed the same is only counted."""
    found = counts(changes)
    told = ", ".join(f"{number} {verdict}" for verdict, number in found.items())
    head = f"{len(changes)} compared, {told}; differences up to {margin:.3g} do not matter."
    rows = [change for change in changes if change.verdict != SAME]
    if not rows:
        return head
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("network", "device", "first", "second", "ratio", "95 % interval", ""):
        table.add_column(column, overflow="fold")
    for change in sorted(rows, key=lambda c: -abs(c.ratio - 1)):
        table.add_row(*_cells(change), style=_STYLES[change.verdict])
    return Group(head, table)


def _cells(change: Change) -> list[str]:
    return [
        change.network.code,
        change.device,
        f"{change.first.latency_s * 1e3:.3f} ms",
        f"{change.second.latency_s * 1e3:.3f} ms",
        f"{change.ratio:.3f}",
        f"{change.low:.3f} to {change.high:.3f}",
        change.verdict,
    ]
