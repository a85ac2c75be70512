"""What every benchmark prints: its rows and summary, with the machine and the versions."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

PACKAGES = ("apache-tvm", "apache-tvm-ffi", "numpy", "onnxruntime", "ray", "scipy", "torch")

_WIDTH = 120

Row = TypeVar("Row")


def machine() -> dict[str, Any]:
    """Where a benchmark runs: its figures hold for such a machine, on that day."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load1": os.getloadavg()[0],
        "date": datetime.now(UTC).date().isoformat(),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that figures depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def whole(
    name: str, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """All that a benchmark says, as one object."""
    where = {"benchmark": name, "machine": machine(), "versions": versions()}
    return {**where, "rows": list(rows), "summary": summary}


def finish(
    name: str, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], as_json: bool
) -> None:
    """Print one JSON object, or tables for a person."""
    if as_json:
        print(json.dumps(whole(name, rows, summary)))
        return
    console = Console(width=_WIDTH, highlight=False)
    console.print(_rows_table(rows))
    console.print_json(json.dumps(summary))
    console.print(f"{machine()}", style="dim")


def say(line: str) -> None:
    """Progress, for a person."""
    print(line, file=sys.stderr, flush=True)


def kept(path: Path | None) -> list[Any]:
    """What `keep` put into a file of JSON lines; nothing where there is none."""
    lines = path.read_text().splitlines() if path and path.exists() else []
    return [json.loads(line) for line in lines]


def keep(path: Path | None, *rows: Any) -> None:
    """Adds rows to a file of JSON lines, all at once: what a run that is stopped has found."""
    if path is not None:
        with path.open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))


def keeping(rows: Iterable[Row], path: Path | None) -> Iterator[Row]:
    """The rows, each kept when it is found."""
    for row in rows:
        keep(path, row)
        yield row


def _rows_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
