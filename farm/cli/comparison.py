"""Two campaigns side by side, as a person wants to read them."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType

from farm.campaign.compare import SAME
from farm.cli import show
from farm.cli.show import Told
from farm.core.values import Network

_STYLES = {"faster": "green", "slower": "red", "undecided": "yellow", "same": ""}


def text(found: Told, margin: float) -> RenderableType:
    """What changed, the largest changes first; what stayed the same is only counted. found:
    `Comparison.to_json`."""
    told = ", ".join(f"{number} {verdict}" for verdict, number in found["counts"].items())
    head = (
        f"{len(found['networks'])} compared, {told}; differences up to {margin:.3g} do not matter."
    )
    notes = [*map(_crossing, found["revisions"]), *_missing(found)]
    rows = [change for change in found["networks"] if change["verdict"] != SAME]
    if not rows:
        return Group(head, *notes)
    columns = ("network", "device", "first", "second", "ratio", "95 % interval", "")
    table = show.table_of(*columns)
    for change in sorted(rows, key=lambda c: -abs(c["ratio"] - 1)):
        table.add_row(*_cells(change), style=_STYLES[change["verdict"]])
    return Group(head, *notes, table)


def _crossing(crossing: Told) -> str:
    """What a change of a device means for the comparison."""
    networks, factor = crossing["networks"], crossing["factor"]
    of_it = f"{crossing['device']} changed in between: {crossing['change']}; {crossing['reason']}."
    if factor is None:
        return (
            f"{of_it} {networks} networks are not compared there; "
            "--as-measured compares them all the same."
        )
    if factor == 1:
        return f"{of_it} {networks} networks are compared as measured."
    return (
        f"{of_it} The first latencies of {networks} networks are multiplied by "
        f"{factor:.3f}, so that what changed all alike does not show."
    )


def _missing(found: Told) -> Iterator[str]:
    for one in found["missing"]:
        campaign = one["campaign"]
        yield (
            f"{one['networks']} networks of {campaign} on {one['device']} have no result that "
            f"counts: not measured, or invalidated; `farm campaign resume {campaign}` measures "
            "them."
        )


def _cells(change: Told) -> list[str]:
    high = "inf" if change["high"] is None else f"{change['high']:.3f}"
    return [
        Network.from_id(change["network"]).code,
        change["device"],
        _latency(change["first_s"] * change["factor"], change["first_verdict"]),
        _latency(change["second_s"], change["second_verdict"]),
        f"{change['ratio']:.3f}",
        f"{change['low']:.3f} to {high}",
        change["verdict"],
    ]


def _latency(latency_s: float, verdict: str) -> str:
    """With its verdict, where there is something to beware of."""
    beware = "" if verdict == "ok" else f" ({verdict})"
    return f"{latency_s * 1e3:.4g} ms{beware}"
