"""What is known of kernels: what each computes, which network calls it how often, how many of them
a campaign asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from farm.core.errors import StoreError
from farm.core.values import Network
from farm.store.edge import Row, readable
from farm.store.health import HealthStore
from farm.store.values import KernelCounts

_AT_ONCE = 500
"""Names in one query; SQLite takes 999 and more."""


class KernelStore(HealthStore):
    """The part of `farm.store.Store` that knows kernels."""

    _writable: bool

    @property
    def can_write(self) -> bool:
        """Whether anything can be kept, which on a read-only disk it cannot."""
        return self._writable

    def keep_kernels(self, definitions: Mapping[str, str]) -> None:
        """Keep what kernels compute, by their codes."""
        with self._writing():
            for code, definition in definitions.items():
                self._insert("kernels", {"code": code, "definition": definition}, "IGNORE")

    def kernel(self, code: str) -> str:
        """What a kernel computes. Raises StoreError for one that was never kept."""
        for row in self._rows("SELECT definition FROM kernels WHERE code = ?", code):
            return str(row["definition"])
        raise StoreError(f"the store does not know what kernel {code} computes")

    def kernels(self) -> dict[str, str]:
        """What every kernel computes, by code."""
        found = self._rows("SELECT code, definition FROM kernels ORDER BY id")
        return {row["code"]: row["definition"] for row in found}

    def keep_calls(
        self, planner: str, batch: int, calls: Mapping[Network, Mapping[str, int]]
    ) -> None:
        """Keep how often networks call kernels, whose codes are kept already."""
        ids = {r["code"]: r["id"] for r in self._rows("SELECT id, code FROM kernels")}
        with self._writing():
            for network, counts in calls.items():
                own = json.dumps({ids[code]: n for code, n in counts.items()})
                row = {"planner": planner, "batch": batch, "network": network.id, "kernels": own}
                self._insert("calls", row, "IGNORE")

    def calls(
        self, planner: str, batch: int, networks: Iterable[Network]
    ) -> dict[Network, dict[str, int]]:
        """How often those of the networks that are known call each kernel, by its code."""
        codes = {r["id"]: r["code"] for r in self._rows("SELECT id, code FROM kernels")}
        wanted = {network.id: network for network in networks}
        found: dict[Network, dict[str, int]] = {}
        read: dict[str, dict[str, int]] = {}  # a third of NAS-Bench-201's are different
        names = list(wanted)
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            sql = f"""SELECT network, kernels FROM calls WHERE planner = ? AND batch = ?
                      AND network IN ({", ".join("?" * len(part))})"""

            def counts(row: Row) -> dict[str, int]:
                text = row["kernels"]
                if text not in read:
                    read[text] = {codes[int(id)]: int(n) for id, n in json.loads(text).items()}
                return read[text]

            for row, own in readable(self._rows(sql, planner, batch, *part), "calls of", counts):
                found[wanted[row["network"]]] = own
        return found

    def kernel_counts(self, campaign: str) -> dict[str, KernelCounts]:
        """The kernels that a campaign asked for, by device; none for a device without any."""
        sql = """SELECT device, kernels, kernels_measured, kernels_failed, kernels_device_s
                 FROM totals WHERE campaign = ? AND kernels > 0"""
        return {
            row["device"]: KernelCounts(
                row["kernels"],
                row["kernels_measured"],
                row["kernels_failed"],
                row["kernels_device_s"],
            )
            for row in self._rows(sql, campaign)
        }
