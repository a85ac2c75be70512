"""What was compiled, for which campaign, and what that took."""

from __future__ import annotations

import json
from typing import Any

from farm.core.values import Artifact, Network, Target
from farm.store import rows
from farm.store.connection import Connected


class BuildStore(Connected):
    """The part of `farm.store.Store` that keeps builds."""

    def add_build(
        self, campaign: str | None, network: Network, target: Target, artifact: Artifact
    ) -> None:
        """Keep that a network was compiled, and for which campaign."""
        row: dict[str, Any] = {
            "build_key": artifact.build_key,
            "campaign": campaign,
            "network": network.id,
        }
        row |= {"target": json.dumps(target, default=dict), "sha256": artifact.sha256}
        row |= {
            "size_bytes": artifact.size_bytes,
            "build_s": artifact.build_s,
            "built_at": rows.now(),
        }
        with self._writing():
            self._insert("builds", row, "REPLACE")

    def use_build(self, campaign: str, build_key: str) -> None:
        """Keep that a campaign used a build, whoever paid for it."""
        with self._writing():
            row = {"campaign": campaign, "build_key": build_key}
            self._insert("campaign_builds", row, "IGNORE")

    def build_s(self, device: str) -> float:
        """CPU seconds that building a network for a device took on average; 0 for none."""
        sql = """SELECT avg(build_s) FROM builds WHERE build_key IN (
                     SELECT build_key FROM measurements WHERE device = ?)"""
        return float(self._value(sql, device) or 0.0)

    def builds(self, campaign: str) -> tuple[int, int]:
        """How many builds a campaign paid for, and how many it found already made."""
        built = self._value("SELECT count(*) FROM builds WHERE campaign = ?", campaign)
        used = self._value("SELECT count(*) FROM campaign_builds WHERE campaign = ?", campaign)
        return int(built), max(0, int(used) - int(built))
