"""Published zero-cost proxies of the networks of a table.

A table file may hold them itself, as `zcp` with `zcp_names`; else they are in a file beside it,
`zcp_NAME*.npz`, with `zcp`, their names, and `arch_str` where it holds only some of the networks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.table_file import TableFile
from farm.core.errors import UsageError
from predictors import FloatArray
from predictors.encodings.zcp import NAMES

SPELLED = {
    "log1p_synflow": "synflow",
    "zen-score": "zen",
    "zen_score": "zen",
    "grad-norm": "grad_norm",
}
"""Other spellings; whether a proxy is a logarithm makes no difference after its own."""


def of(path: Path, file: TableFile) -> tuple[FloatArray, tuple[str, ...]]:
    """(proxies (N, Z), NaN where unknown; their names, of `zcp.NAMES`)."""
    values, names = (file.zcp, file.zcp_names) if file.zcp_names else _beside(path, file)
    called = [SPELLED.get(name, name.replace("-", "_")) for name in names]
    kept = [i for i, name in enumerate(called) if name in NAMES]
    return values[:, kept], tuple(called[i] for i in kept)


def _beside(path: Path, file: TableFile) -> tuple[FloatArray, tuple[str, ...]]:
    count = len(file.ops)
    for found in sorted(path.parent.glob(f"zcp_{path.stem}*.npz")):
        with np.load(found) as data:
            names = data["names"] if "names" in data.files else data["proxy_names"]
            values = np.full((count, len(names)), np.nan)
            values[_rows(found, data.get("arch_str"), file, len(data["zcp"]))] = data["zcp"]
            return values, tuple(map(str, names))
    return np.empty((count, 0)), ()


def _rows(found: Path, texts: np.ndarray | None, file: TableFile, count: int) -> list[int] | slice:
    """Where the rows of `found` belong in the table."""
    if texts is not None and file.texts is not None:
        row_of = {text: row for row, text in enumerate(file.texts)}
        return [row_of[str(text)] for text in texts]
    if count != len(file.ops):
        raise UsageError(
            f"{found} holds {count} networks without `arch_str`, but its table {len(file.ops)}"
        )
    return slice(None)
