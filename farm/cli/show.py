"""Results as a person wants to read them. Milliseconds appear here and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from farm.campaign.summary import TRUSTED
from farm.cli.progress import duration
from farm.core.values import Network, percent
from farm.devices.doctor import Check
from farm.measurement.verdict import VERDICTS
from farm.store.lease import Owner

_PIPE_WIDTH = 160
"""Columns where stdout is no terminal, so that a table in a file is not cut at 80."""

_SHOWN = 3
"""Networks that are named for each reason of failure; `--json` has them all."""

_COLUMNS = (
    *("device", "measured", "of them", "failed"),
    *("Spearman", "Kendall", "off by", "held out", "busy"),
)
_WIDE_ONLY, _WIDE = ("Kendall", "held out", "busy"), 100
"""Columns of the summary that are left out on a terminal of less than so many columns."""

_STYLES = {"ok": "green", "note": "yellow", "missing": "red"}


def out(text: RenderableType) -> None:
    """Print to stdout."""
    # Paths and codes are no markup, whatever brackets and colons they have.
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(markup=False, emoji=False, width=_PIPE_WIDTH)
    console.print(text, highlight=False, crop=False)  # what is `unbroken` is printed whole


Told = Mapping[str, Any]
"""What `--json` prints, whether this computer's farm says it or a service."""


def summary(s: Told, resume: str | None) -> RenderableType:
    """The table after a campaign: how much was measured and how well the rest is predicted.

    s: `Summary.to_json`. resume: the command that goes on with it; None where a service does.
    """
    wide, narrow = table_of(*_COLUMNS), table_of(*(c for c in _COLUMNS if c not in _WIDE_ONLY))
    for device, own in s["devices"].items():
        row = _row(device, own)
        wide.add_row(*row.values())
        narrow.add_row(*(text for c, text in row.items() if c not in _WIDE_ONLY))
    head = (
        f"Campaign {s['campaign']} ({s['space']}) is {s['state']}: "
        f"{s['measured']} of {s['requested']} measured, {s['failed']} failed, "
        f"in {duration(s['wall_s'])}; {s['built']} networks built, {s['cached']} from cache."
    )
    note = (
        "Spearman and Kendall (ranks) and the median of what predictions are off by: of networks "
        "that the predictor never saw."
    )
    rest = [
        *_held(s),
        *_known(s),
        *_kernels(s),
        *_older(s),
        *_failures(s),
        *_trust(s, resume),
        *_again(s),
        *_next(s, resume),
    ]
    return Group(head, _ByWidth(wide, narrow), Text(note, style="dim"), *rest)


def _held(s: Told) -> list[RenderableType]:
    """Who runs the campaign, or measures something else on its devices."""
    run_by, held = s["run_by"], {device: own["held_by"] for device, own in s["devices"].items()}
    if run_by is None:
        return held_lines(held)
    own = run_by["host"], run_by["pid"]
    others = {name: by for name, by in held.items() if by and (by["host"], by["pid"]) != own}
    return [Text(f"It is run by {holder(run_by)}."), *held_lines(others)]


def held_lines(held: Mapping[str, Told | None]) -> list[RenderableType]:
    """Who holds which device, a line each."""
    return [Text(f"{device} is held by {holder(by)}.") for device, by in held.items() if by]


def holder(by: Told) -> str:
    """The process of a lease (`Lease.to_json`), and how long it has it at least."""
    owner = Owner("", by["host"], by["pid"], "", by["doing"], by["campaign"])
    return f"{owner}, until {by['until'][11:19]} UTC or longer"


def _known(s: Told) -> list[RenderableType]:
    """What was not measured, as it was known, and where it was enough."""
    each = s["devices"].items()
    known = ((device, own["reused"], own["measured"] + own["failed"]) for device, own in each)
    return [
        *(Text(f"{d}: {n} of its {of} networks were known before.") for d, n, of in known if n),
        *(Text(f"{device}: {own['stopped']}.") for device, own in each if own["stopped"]),
    ]


def _row(device: str, own: Told) -> dict[str, str]:
    """A device's cells, by column."""
    busy = own["busy_fraction"]
    cells = (
        device,
        str(own["measured"]),
        ", ".join(f"{n} {verdict}" for verdict, n in sorted(own["verdicts"].items())),
        str(own["failed"]),
        _figure(own["spearman"]),
        _figure(own["kendall"]),
        _share(own["error_median"]),
        str(own["heldout"]),
        "–" if busy is None else f"{busy:.0%}",
    )
    return dict(zip(_COLUMNS, cells, strict=True))


@dataclass(frozen=True)
class _ByWidth:
    """One table or the other, as there is room."""

    wide: RenderableType
    narrow: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.wide if options.max_width >= _WIDE else self.narrow


def predictions(s: Told, plot: Path | None, resume: str | None) -> RenderableType:
    """Predicted against held-out latencies of a campaign."""
    parts: list[RenderableType] = [summary(s, resume)]
    for device, own in s["devices"].items():
        if not own["predictions"]:
            continue
        table = table_of("held-out network", "measured", "predicted", "95 % interval", "off by")
        table.title = f"{device}, milliseconds"
        for p in sorted(own["predictions"], key=lambda p: float(p["measured_s"])):
            table.add_row(
                Network.from_id(p["network"]).code,
                ms(p["measured_s"]),
                ms(p["predicted_s"]),
                f"{ms(p['low_s'])} to {ms(p['high_s'])}",
                f"{p['predicted_s'] / p['measured_s'] - 1:+.0%}",
            )
        parts.append(table)
    if "choices" in s:
        parts += _choices(s["choices"])
    if plot is not None:
        parts.append(f"Plot: {plot}")
    return Group(*parts)


def _choices(found: Sequence[Told]) -> list[RenderableType]:
    """Which networks a device was asked for, those of one decision below its reason."""
    lines: list[RenderableType] = []
    for device, own in groupby(sorted(found, key=itemgetter("device")), itemgetter("device")):
        at = 0
        for why, alike in groupby(own, itemgetter("why")):
            chosen = list(alike)
            first, at = at + 1, at + len(chosen)
            which = f"network {at}" if first == at else f"networks {first} to {at}"
            lines.append(Text(f"{device}, {which}, {why or 'in the order of the seed'}"))
            lines += [unbroken(f"  {_came(one)}  {one['network']}") for one in chosen]
    return lines


def _came(choice: Told) -> str:
    """What came of a choice, in a column."""
    found = "" if choice["latency_s"] is None else f"{ms(choice['latency_s'])} ms"
    return f"{found or 'not measured':>12}"


def campaign_table(campaigns: Sequence[Told]) -> RenderableType:
    """A row for each campaign (`StoredCampaign.to_json`)."""
    table = table_of(
        "campaign", "state", "space", "devices", "measured", "failed", "started", "took"
    )
    for c in campaigns:
        table.add_row(
            c["id"],
            "running" if c["run_by"] else c["state"],
            c["space"],
            ", ".join(c["devices"]),
            f"{c['measured']} of {c['wanted']}",
            str(c["failed"]),
            c["created_at"][:16].replace("T", " "),
            duration(c["wall_s"]),
        )
    return table if campaigns else "No campaign yet; `farm launch` starts one."


def checks_json(checks: Sequence[Check]) -> dict[str, Any]:
    """What `farm doctor --json` prints."""
    return {"checks": [asdict(check) for check in checks]}


def check_table(checks: Sequence[Check]) -> RenderableType:
    """A row for each thing that was looked at."""
    table = table_of("", "what", "found", "what to do")
    for check in checks:
        state = Text(check.state, style=_STYLES[check.state])
        table.add_row(state, check.what, check.found, check.todo)
    return table


def _older(s: Told) -> list[RenderableType]:
    """That verdicts were given by rules which have changed since, where some were."""
    older = {device: own["older_rules"] for device, own in s["devices"].items()}
    found = ", ".join(f"{number} on {device}" for device, number in older.items() if number)
    if not found:
        return []
    return [Text(f"Judged by rules of an earlier version: {found}.", style="yellow")]


def _kernels(s: Told) -> list[RenderableType]:
    """What kernels cost, and how good the predictions are that are made of them."""
    lines = []
    for device, own in s["devices"].items():
        if not own["kernels"] and not own["kernels_failed"]:
            continue
        kernels_s = own["kernels_device_s"]
        failed = f" ({own['kernels_failed']} failed)" if own["kernels_failed"] else ""
        text = (
            f"{device} timed {own['kernels']} kernels{failed} in {duration(kernels_s)} and "
            f"networks in {duration(own['device_s'] - kernels_s)}."
        )
        if own["heldout"]:
            text += (
                f" {_percent(own['within_5'])} of the predictions are within 5 %, "
                f"{_percent(own['within_10'])} within 10 %; "
                f"{_percent(own['coverage_95'])} of the intervals hold what was measured."
            )
        lines.append(Text(text))
    return [*lines]


def _failures(s: Told) -> list[RenderableType]:
    """What failed, the same reason once, with as many networks as a person would read."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for failure in s["failures"]:
        reasons.setdefault((failure["kind"], failure["message"]), []).append(
            f"{failure['network']} on {failure['device']}"
        )
    lines = [
        f"{kind}: {message}\n    {len(where)} times: {', '.join(where[:_SHOWN])}"
        + (", ..." if len(where) > _SHOWN else "")
        for (kind, message), where in reasons.items()
    ]
    return [Text("Failed:\n  " + "\n  ".join(lines), style="red")] if lines else []


def _trust(s: Told, resume: str | None) -> list[RenderableType]:
    """How many of the latencies can be trusted, and what would make the rest so."""
    found = sum((Counter(own["verdicts"]) for own in s["devices"].values()), Counter[str]())
    total, trusted = found.total(), s["trusted"]
    if not total:
        return []
    doubtful = [verdict for verdict in VERDICTS if verdict not in TRUSTED and found[verdict]]
    whole = f"All {total} latencies" if trusted == total else f"{trusted} of {total} latencies"
    known = f"{found['ok']} to the precision that was asked for" if found["ok"] else ""
    wider = f"{found['noisy']} to the wider interval that is told with them"
    parts = [known, wider if found["noisy"] else ""]
    how = " and ".join(part for part in parts if part)
    text = f"{whole} can be trusted{': ' + how if how else ''}."
    if not doubtful:
        return [Text(text)]
    counts = ", ".join(f"{found[verdict]} {verdict}" for verdict in doubtful)
    rest = total - trusted
    text += f" During the other {rest} the device did something else as well: {counts}."
    if resume is None:
        return [Text(text)]
    again = f"{resume} --again {','.join(doubtful)}"
    return [Text(text), unbroken(f"`{again}` measures those again, best when the device is idle.")]


def _again(s: Told) -> list[RenderableType]:
    return [
        Text(
            f"{device} measured {own['measured_again']} results twice, which took "
            f"{duration(own['again_device_s'])} of its {duration(own['device_s'])}."
        )
        for device, own in s["devices"].items()
        if own["measured_again"]
    ]


def _next(s: Told, resume: str | None) -> list[RenderableType]:
    if s["state"] == "done":
        return []
    lines = [
        f"{device} is in quarantine: {reason}. `farm device release {device}` trusts it again."
        for device, reason in s["quarantined"].items()
    ]
    lines += [f"{device} was lost: {reason}" for device, reason in s["lost"].items()]
    if resume is not None:
        lines.append(f"`{resume}` goes on with it.")
    return [unbroken(one) for one in lines]


def unbroken(text: str) -> Text:
    """A line that is printed whole, so that a command in it can be copied from any terminal."""
    return Text(text, no_wrap=True, overflow="ignore")


def table_of(*columns: str) -> Table:
    """An empty table, as all of the commands' tables look."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def ms(seconds: float) -> str:
    """Milliseconds for a person."""
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"
