"""Campaigns: what was asked for, their runs, and what they came to so far."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from farm.core.checks import plain
from farm.core.errors import StoreError, UnknownName
from farm.store import rows
from farm.store.edge import UNREADABLE, readable
from farm.store.knowledge import KnowledgeStore
from farm.store.lease import campaign_thing
from farm.store.leases import LeaseStore
from farm.store.values import Plan, StoredCampaign


class CampaignStore(KnowledgeStore, LeaseStore):
    """The part of `farm.store.Store` that knows campaigns as a whole."""

    folder: Path

    def add_campaign(self, plan: Plan) -> str:
        """Store a new campaign; its id counts up: c1, c2, ..."""
        with self._writing():
            number = self._value("SELECT count(*) FROM campaigns") + 1
            row = {"id": f"c{number}", "plan": json.dumps(asdict(plan)), "created_at": rows.now()}
            self._insert("campaigns", row)
        return f"c{number}"

    def campaign(self, name: str) -> StoredCampaign:
        """The campaign called `name`, or the newest for `latest`; raises UnknownName."""
        ids = [str(row["id"]) for row in self._rows("SELECT id FROM campaigns ORDER BY rowid")]
        if name == "latest" and ids:
            name = ids[-1]
        if name not in ids:
            raise UnknownName("campaign", name, ids, f"the store is {self.folder}")
        try:
            return self._campaign(name)
        except UNREADABLE as e:
            raise StoreError(
                f"campaign {name} in {self.path} is damaged: {plain(str(e))}; launch another, what "
                "was measured is used again"
            ) from e

    def campaigns(self) -> list[StoredCampaign]:
        """All campaigns, oldest first."""
        found = self._rows("SELECT id FROM campaigns ORDER BY rowid")
        return [c for _, c in readable(found, "campaign", lambda row: self._campaign(row["id"]))]

    def cancel(self, campaign: str) -> None:
        """Ask a campaign to end; a running one sees it before it starts anything more."""
        with self._writing():
            self._insert(
                "cancellations", {"campaign": campaign, "cancelled_at": rows.now()}, "IGNORE"
            )

    def is_cancelled(self, campaign: str) -> bool:
        """Whether somebody asked the campaign to end."""
        sql = "SELECT count(*) FROM cancellations WHERE campaign = ?"
        return bool(self._value(sql, campaign))

    def begin_run(self, campaign: str) -> int:
        with self._writing():
            return self._insert("runs", {"campaign": campaign, "started_at": rows.now()})

    def end_run(self, run: int) -> None:
        with self._writing():
            self._db.conn.execute("UPDATE runs SET ended_at = ? WHERE id = ?", [rows.now(), run])

    def was_cut_short(self, campaign: str) -> bool:
        """Whether its last run did not come to its end, the last control networks included."""
        sql = """SELECT count(*) FROM runs WHERE ended_at IS NULL
                 AND id = (SELECT max(id) FROM runs WHERE campaign = ?)"""
        return bool(self._value(sql, campaign))

    def counts(self, campaign: str) -> dict[str, tuple[int, int]]:
        """For each device of a campaign, how many of its requests are measured and failed."""
        found = {row["device"]: row for row in self._totals(campaign)}
        none = {"measured": 0, "failed": 0}
        plan = Plan.from_json(self._value("SELECT plan FROM campaigns WHERE id = ?", campaign))
        devices = {device: found.get(device, none) for device in plan.devices}
        return {device: (row["measured"], row["failed"]) for device, row in devices.items()}

    def _campaign(self, name: str) -> StoredCampaign:
        row = self._rows("SELECT * FROM campaigns WHERE id = ?", name)[0]
        totals = self._totals(name)
        return StoredCampaign(
            id=name,
            plan=Plan.from_json(row["plan"]),
            created_at=row["created_at"],
            cancelled=self.is_cancelled(name),
            wall_s=self._wall_s(name),
            busy_s={row["device"]: row["device_s"] for row in totals if row["device_s"]},
            requested=sum(row["requested"] for row in totals),
            measured=sum(row["measured"] for row in totals),
            failed=sum(row["failed"] for row in totals),
            stops=self.stops(name),
            ended={row["device"]: row["measured"] + row["failed"] for row in totals},
            run_by=self.holders().get(campaign_thing(name)),
        )

    def device_seconds(self, campaign: str) -> float:
        """How long all devices of a campaign were busy."""
        return float(self._value("SELECT total(device_s) FROM totals WHERE campaign = ?", campaign))

    def _totals(self, campaign: str) -> list[dict[str, Any]]:
        """A row for each device of a campaign, as the database keeps it: `requested`, `measured`,
        `failed`, `device_s`."""
        return self._rows("SELECT * FROM totals WHERE campaign = ?", campaign)

    def _wall_s(self, campaign: str) -> float:
        """A run that was killed, or still goes on, ends with its last measurement."""
        sql = """SELECT sum(julianday(coalesce(ended_at,
                     (SELECT max(measured_at) FROM measurements JOIN requests
                      ON requests.id = request WHERE campaign = runs.campaign
                      AND measured_at >= started_at),
                     started_at)) - julianday(started_at)) FROM runs WHERE campaign = ?"""
        return 86400 * float(self._value(sql, campaign) or 0.0)
