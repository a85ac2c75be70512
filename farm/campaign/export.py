"""Measurements as a table for other programs."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from farm.core.errors import FarmError, StoreFull, UnknownName, UsageError
from farm.measurement import estimator
from farm.measurement.record import Measurement
from farm.store import Request, Store

_WRITERS: dict[str, Callable[[Path, pa.Schema], Any]] = {
    "csv": pyarrow.csv.CSVWriter,
    "parquet": pyarrow.parquet.ParquetWriter,
}

_ROWS = 1000
"""That are in memory at a time."""


def write(store: Store, path: Path, format: str | None = None, campaign: str | None = None) -> int:
    """Write one row for each measurement to `path`, and return how many.

    format: of a file whose name does not say it. A file that is there is replaced once the new one
    is complete. Raises UnknownName for a format or campaign that does not exist, UsageError for a
    path that cannot be written, StoreFull where there is no room.
    """
    format_of(path, format)
    name = store.campaign(campaign).id if campaign else None
    rows = (_row(request, m) for request, m in store.each_measured(name))
    return write_parts(path, _SCHEMA, iter(lambda: list(islice(rows, _ROWS)), []), format)


def write_parts(
    path: Path,
    schema: pa.Schema,
    parts: Iterable[Sequence[Mapping[str, object]]],
    format: str | None = None,
) -> int:
    """Write rows as they come, a part at a time; how many. Raises as `write` does."""
    format = format_of(path, format)
    count = 0

    def write_all(part: Path) -> None:
        nonlocal count
        with _WRITERS[format](part, schema) as writer:
            for own in parts:
                writer.write_table(pa.Table.from_pylist(list(own), schema=schema))
                count += len(own)

    saved(path, write_all)
    return count


def format_of(path: Path, told: str | None = None) -> str:
    """The format of a file: as told, or what its name ends in. Raises UnknownName."""
    format = told or path.suffix.removeprefix(".")
    if format not in _WRITERS:
        hint = "--format tells it" if told else "a file's name ends in its format"
        raise UnknownName("format", format or path.name, _WRITERS, hint)
    return format


def write_rows(rows: Iterable[Mapping[str, object]], path: Path, format: str | None = None) -> int:
    """Write rows, which may have different columns, to a .parquet or .csv file; how many.

    Raises as `write` does.
    """
    format = format_of(path, format)
    found = list(rows)
    columns = dict.fromkeys(name for row in found for name in row)
    table = pa.table({name: [row.get(name) for row in found] for name in columns})

    def write_all(part: Path) -> None:
        with _WRITERS[format](part, table.schema) as writer:
            writer.write_table(table)

    saved(path, write_all)
    return len(found)


def must_be_writable(path: Path) -> None:
    """Refuses the file of a table before anything is computed for it. Raises as `write` does."""
    format_of(path)
    part = _part(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        part.touch()
        part.unlink()
    except OSError as e:
        raise _unwritable(path, e) from e


def saved(path: Path, write_to: Callable[[Path], object]) -> None:
    """Let something write a file, which appears once it is complete. Raises as `write` does."""
    part = _part(path)
    try:
        write_to(part)
        part.replace(path)
    except BaseException as e:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(e, OSError):
            raise _unwritable(path, e) from e
        raise


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _unwritable(path: Path, error: OSError) -> FarmError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull(f"no room on the disk of {path}; --output names another file")
    reason = _reason(path, error)
    return UsageError(f"{path} cannot be written: {reason}; --output names another file")


def _reason(path: Path, error: OSError) -> str:
    folder = path.absolute().parent
    return f"there is no folder {folder}" if not folder.is_dir() else os.strerror(error.errno or 0)


_SCHEMA = pa.schema(
    [
        ("campaign", pa.string()),
        ("purpose", pa.string()),
        ("network", pa.string()),
        ("device", pa.string()),
        ("fingerprint", pa.string()),
        ("latency_s", pa.float64()),
        ("low_s", pa.float64()),
        ("high_s", pa.float64()),
        ("verdict", pa.string()),
        ("median_s", pa.float64()),
        ("p90_s", pa.float64()),
        ("p99_s", pa.float64()),
        ("mad_s", pa.float64()),
        ("cv", pa.float64()),
        ("rejected_blocks", pa.int64()),
        ("slowdown", pa.float64()),
        ("device_s", pa.float64()),
        ("measured_at", pa.string()),
        ("build_key", pa.string()),
        ("samples_s", pa.string()),
        ("blocks", pa.string()),
    ]
)
"""samples_s: JSON, a list for each block that counts, as they came: `latency_s` and its interval
are at the device's baseline, `slowdown` times as fast as they came; blocks: JSON, all, with their
telemetry."""


def _row(request: Request, m: Measurement) -> dict[str, object]:
    low_s, high_s = m.interval_s
    derived = {
        "low_s": low_s,
        "high_s": high_s,
        **estimator.describe([sample for row in m.samples_s for sample in row]),
        "rejected_blocks": sum(block.rejected is not None for block in m.blocks),
        "slowdown": m.slowdown,
        "samples_s": json.dumps(m.samples_s),
        "blocks": json.dumps([asdict(block) for block in m.blocks], default=dict),
    }
    asked = {"campaign": request.campaign, "purpose": request.purpose, "network": m.network.id}
    own = {name: getattr(m, name) for name in _SCHEMA.names if name not in {*derived, *asked}}
    return {**asked, **own, **derived}
