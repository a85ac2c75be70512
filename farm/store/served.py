"""Campaigns that somebody launched through the service, which sees to it that they go on."""

from __future__ import annotations

from farm.store import rows
from farm.store.connection import Connected


class ServedStore(Connected):
    """The part of `farm.store.Store` that knows what the service was asked to run."""

    def keep_served(self, campaign: str, asked_by: str) -> None:
        """Keep that the service runs a campaign. asked_by: the name of a token."""
        row = {"campaign": campaign, "asked_by": asked_by, "asked_at": rows.now()}
        with self._writing():
            self._insert("served", row)

    def served(self) -> dict[str, str]:
        """The campaigns that the service runs or ran, oldest first, and who asked for each."""
        found = self._rows("SELECT campaign, asked_by FROM served ORDER BY rowid")
        return {row["campaign"]: row["asked_by"] for row in found}
