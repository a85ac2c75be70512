"""Zero-cost proxies of networks that were computed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farm.core.values import Network
from farm.store import rows
from farm.store.connection import Connected

_AT_ONCE = 500
"""Names in one query; SQLite takes 999 and more."""


@dataclass(frozen=True)
class ProxyPass:
    """What decides the proxies of a network. version: of the pass that computes them and of what it
    runs on. seed: of weights, images and labels. batch: images."""

    version: str
    seed: int
    batch: int


class ProxyStore(Connected):
    """The part of `farm.store.Store` that keeps zero-cost proxies."""

    def keep_proxies(self, by: ProxyPass, network: Network, values: Mapping[str, float]) -> None:
        """Keep a network's proxies, by name; those that are kept already stay."""
        row = {**vars(by), "network": network.id, "proxies": json.dumps(dict(values))}
        with self._writing():
            self._insert("proxies", {**row, "computed_at": rows.now()}, "IGNORE")

    def proxies(
        self, by: ProxyPass, networks: Iterable[Network]
    ) -> dict[Network, dict[str, float]]:
        """Of those of the networks whose proxies are kept."""
        wanted = {network.id: network for network in networks}
        names = list(wanted)
        found: dict[Network, dict[str, float]] = {}
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            sql = f"""SELECT network, proxies FROM proxies
                      WHERE version = ? AND seed = ? AND batch = ?
                      AND network IN ({", ".join("?" * len(part))})"""
            for row in self._rows(sql, by.version, by.seed, by.batch, *part):
                found[wanted[row["network"]]] = json.loads(row["proxies"])
        return found
