"""Sets of reference devices, with the normalisation that their encodings are made by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from farm.core.values import digest
from farm.store import rows
from farm.store.connection import Connected
from farm.store.edge import readable


@dataclass(frozen=True)
class ReferenceSet:
    """R reference devices for the networks of a search space. It never changes.

    batches, flush_bytes: (R,), which latency is meant: of so many images, after caches were
        flushed by so many bytes (0: left warm).
    revisions: (R,), what was measured before which counts on each device, as a fingerprint.
    unit_s, mean, scale: (R,), of `predictors.encodings.hwl.Normalisation`.
    fitted_on: how many networks these were fitted on; 0 where too few were measured to fit any.
    """

    space: str
    devices: tuple[str, ...]
    batches: tuple[int, ...]
    flush_bytes: tuple[int, ...]
    revisions: tuple[str, ...]
    unit_s: tuple[float, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    fitted_on: int

    @cached_property
    def version(self) -> str:
        """Encodings of one version can be compared; of two they cannot."""
        return f"{'hwl' if self.fitted_on else 'unfitted'}-{digest(asdict(self))[:12]}"

    @property
    def quantities(self) -> tuple[tuple[int, int], ...]:
        """(R,) pairs of batch size and flushed bytes."""
        return tuple(zip(self.batches, self.flush_bytes, strict=True))


class ReferenceStore(Connected):
    """The part of `farm.store.Store` that keeps reference sets."""

    def use_references(self, chosen: ReferenceSet, networks: Sequence[str] = ()) -> None:
        """Use a set from now on; one that is not kept yet is kept.

        networks: that it was fitted on, as `SPACE/CODE`.
        """
        found = {name: json.dumps(value) for name, value in asdict(chosen).items()}
        found |= {"version": chosen.version, "space": chosen.space}
        found |= {"networks": json.dumps(list(networks)), "fitted_at": rows.now()}
        del found["fitted_on"]
        with self._writing():
            self._insert("reference_sets", found, "IGNORE")
            self._insert("reference_uses", {"version": chosen.version, "used_at": rows.now()})

    def reference_sets(self, space: str | None = None) -> list[ReferenceSet]:
        """All sets, or those of a space; the one that was used last comes first."""
        sql = f"""SELECT {_COLUMNS} FROM reference_sets
                  JOIN (SELECT version, max(id) AS used FROM reference_uses GROUP BY version)
                  USING (version) WHERE ifnull(space = ?, 1) ORDER BY used DESC"""
        found = readable(self._rows(sql, space), "reference set", _reference_set)
        return [references for _, references in found]


_LISTS = ("devices", "batches", "flush_bytes", "revisions", "unit_s", "mean", "scale")
_COLUMNS = f"version, space, json_array_length(networks) AS fitted_on, {', '.join(_LISTS)}"


def _reference_set(row: dict[str, Any]) -> ReferenceSet:
    lists = {name: tuple(json.loads(row[name])) for name in _LISTS}
    return ReferenceSet(space=row["space"], fitted_on=row["fitted_on"], **lists)
