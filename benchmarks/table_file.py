"""A latency table in a `.npz` file: read, and checked field by field.

Fields: `devices` (D,) and `latency_ms` (D, N), NaN where nothing was measured; `ops` (N, P) with
`op_names`, or `arch_str` (N,). Optionally `features` (N, C) with `feature_names`: analytic columns,
such as `macs`; `zcp` (N, Z) with `zcp_names`: zero-cost proxies, NaN where unknown; and
`hw_emb_idx` (A,): the networks whose latencies describe a device, HELP's reference networks.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.core.errors import UsageError
from predictors import FloatArray, IntArray

Fields = dict[str, NDArray[Any]]

ABSENT = ""
"""The operation of a position that a network's `arch_str` does not have."""


@dataclass(frozen=True, eq=False)
class TableFile:
    """What a file says.

    latency_s: (N, D) seconds, NaN where nothing was measured. ops: (N, P), each an index into
    `op_names`. texts: `arch_str`, where the file has it. costs: (N, C), finite and not negative.
    zcp: (N, Z), NaN where unknown. describing: (A,) rows of `hw_emb_idx`; A may be 0. notes: what
    was left out, a sentence each.
    """

    devices: tuple[str, ...]
    latency_s: FloatArray
    ops: IntArray
    op_names: tuple[str, ...]
    texts: tuple[str, ...] | None
    costs: FloatArray
    cost_names: tuple[str, ...]
    zcp: FloatArray
    zcp_names: tuple[str, ...]
    describing: IntArray
    notes: tuple[str, ...]


def read(path: Path) -> TableFile:
    """Raises UsageError for a file that is missing, damaged, or whose fields do not fit."""
    fields = fields_of(path)
    for name in ("devices", "latency_ms"):
        required(path, fields, name)
    devices, latency_s, unmeasured = _latencies(path, fields)
    ops, op_names, texts = _operations(path, fields, len(latency_s))
    costs, cost_names = _columns(path, fields, "features", "feature_names", len(latency_s))
    zcp, zcp_names = _columns(path, fields, "zcp", "zcp_names", len(latency_s))
    good = np.array([np.isfinite(v).all() and v.min() >= 0 for v in costs.T], bool)
    dropped = [n for n, keep in zip(cost_names, good, strict=True) if not keep]
    notes = [f"features {', '.join(dropped)} are left out: costs are finite and not negative"]
    return TableFile(
        devices,
        latency_s,
        ops,
        op_names,
        texts,
        costs[:, good],
        tuple(n for n, keep in zip(cost_names, good, strict=True) if keep),
        np.where(np.isfinite(zcp), zcp, np.nan),
        zcp_names,
        _describing(path, fields, len(latency_s)),
        (*unmeasured, *(notes if dropped else [])),
    )


def fields_of(path: Path) -> Fields:
    """All arrays of a file. Raises UsageError if it is missing or damaged."""
    if not path.is_file():
        raise UsageError(f"no table {path}; name a .npz file that is there")
    try:
        with path.open("rb") as file, np.load(file) as data:
            return {name: data[name] for name in data.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise UsageError(
            f"{path} is not a .npz file of plain arrays ({error}); write it with numpy.savez"
        ) from error


def required(path: Path, fields: Fields, name: str) -> NDArray[Any]:
    """Raises UsageError for a field that is not there."""
    if name not in fields:
        raise UsageError(f"{path} has no `{name}`; it holds {', '.join(sorted(fields))}")
    return fields[name]


def _latencies(path: Path, fields: Fields) -> tuple[tuple[str, ...], FloatArray, list[str]]:
    """(devices, (N, D) seconds, notes)."""
    devices, values = words_of(path, fields, "devices"), fields["latency_ms"]
    twice = [name for name, count in Counter(devices).items() if count > 1]
    if twice or not devices:
        raise UsageError(f"{path}: `devices` must be different names, got {twice or 'none'}")
    if values.ndim != 2 or values.shape[0] != len(devices) or not values.shape[1]:
        hint = "; transpose it" if values.shape[1:] == (len(devices),) else ""
        raise UsageError(
            f"{path}: `latency_ms` must be ({len(devices)}, N), a row for each of `devices`, "
            f"got {values.shape}{hint}"
        )
    latency_s = numbers_of(path, "latency_ms", values).T * 1e-3
    never = ~(np.isfinite(latency_s) & (latency_s > 0))
    odd = (never & ~np.isnan(latency_s)).sum(0)
    notes = [
        f"{count} latencies of {name!r} are not positive: they count as not measured"
        for name, count in zip(devices, odd, strict=True)
        if count
    ]
    return devices, np.where(never, np.nan, latency_s), notes


def _operations(
    path: Path, fields: Fields, count: int
) -> tuple[IntArray, tuple[str, ...], tuple[str, ...] | None]:
    """(operations (N, P), their names, texts)."""
    texts = words_of(path, fields, "arch_str") if "arch_str" in fields else None
    if texts is not None and len(texts) != count:
        raise UsageError(f"{path}: `arch_str` must have {count} entries, got {len(texts)}")
    if "ops" in fields:
        return *_given(path, fields, count), texts
    if texts is None:
        raise UsageError(f"{path} has neither `ops` nor `arch_str`; one of them is needed")
    return *_spelled(texts), texts


def _given(path: Path, fields: Fields, count: int) -> tuple[IntArray, tuple[str, ...]]:
    ops = fields["ops"]
    if ops.ndim != 2 or len(ops) != count or not np.issubdtype(ops.dtype, np.integer):
        raise UsageError(
            f"{path}: `ops` must be ({count}, P) whole numbers, got {ops.shape} {ops.dtype}"
        )
    names = words_of(path, fields, "op_names")
    if ops.size and not (ops.min() >= 0 and ops.max() < len(names)):
        raise UsageError(
            f"{path}: `ops` must be 0 to {len(names) - 1}, the positions in `op_names`, "
            f"got {ops.min()} to {ops.max()}"
        )
    return ops.astype(np.intp), names


def _spelled(texts: tuple[str, ...]) -> tuple[IntArray, tuple[str, ...]]:
    """Operations of the words in `arch_str`; positions where all networks agree say nothing."""
    words = [re.findall(r"\w+", text) for text in texts]
    longest = max(map(len, words))
    padded = [[*row, *[ABSENT] * (longest - len(row))] for row in words]
    names, codes = np.unique(padded, return_inverse=True)
    ops = codes.reshape(len(texts), longest)
    ops = ops[:, (ops != ops[0]).any(0)]
    kept, ops_of_kept = np.unique(ops, return_inverse=True)
    return ops_of_kept.reshape(ops.shape).astype(np.intp), tuple(str(names[k]) for k in kept)


def _columns(
    path: Path, fields: Fields, values: str, names: str, count: int
) -> tuple[FloatArray, tuple[str, ...]]:
    """A table of named columns, or none of them."""
    if values not in fields:
        return np.empty((count, 0)), ()
    table, called = numbers_of(path, values, fields[values]), words_of(path, fields, names)
    if table.shape != (count, len(called)):
        raise UsageError(
            f"{path}: `{values}` must be ({count}, {len(called)}), a column for each of "
            f"`{names}`, got {table.shape}"
        )
    return table, called


def _describing(path: Path, fields: Fields, count: int) -> IntArray:
    found = fields.get("hw_emb_idx", np.empty(0, np.intp))
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer) or found.size > count:
        raise UsageError(f"{path}: `hw_emb_idx` must be a list of rows, got {found.dtype}")
    if found.size and not (found.min() >= 0 and found.max() < count):
        raise UsageError(f"{path}: `hw_emb_idx` must be 0 to {count - 1}, got {found.tolist()}")
    return found.astype(np.intp)


def words_of(path: Path, fields: Fields, name: str) -> tuple[str, ...]:
    """A field that is a list of words. Raises UsageError."""
    words = required(path, fields, name)
    if words.ndim != 1 or words.dtype.kind not in "US":
        raise UsageError(
            f"{path}: `{name}` must be a list of words, got {words.shape} {words.dtype}"
        )
    decoded = np.char.decode(words, "utf-8") if words.dtype.kind == "S" else words
    return tuple(map(str, decoded))


def numbers_of(path: Path, name: str, values: NDArray[Any]) -> FloatArray:
    """As float64. Raises UsageError for anything but numbers."""
    if values.dtype.kind not in "fiu":
        raise UsageError(f"{path}: `{name}` must be numbers, got {values.dtype}")
    return values.astype(np.float64)
