"""What happened, in order: a row for each event, which triggers keep."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from farm.store.connection import Connected
from farm.store.events_schema import OUTCOMES, PRESENCE

ENDED = "ended"
"""The kind of event that a campaign's run ends with."""

_WORDS = {
    "launched": "asked for",
    "began": "a run began",
    ENDED: "a run ended: {said}",
    "cancelled": "somebody asked it to end",
    "enough": "knows enough: {said}",
    "quarantined": "went into quarantine: {said}",
    "released": "was released from quarantine",
    "revised": "has a new revision: {said}",
    "changed": "became another one: {said}",
    "held": "is held by {said}",
    "free": "is free again",
    "lost": "was lost: {said}",
    "back": "is back",
    "measured": "measured {network}: {said}",
    "known": "had measured {network} before",
    "failed": "failed with {network}: {said}",
    "gave up": "gave up {network}: {said}",
}


@dataclass(frozen=True)
class Event:
    """Something that happened to a campaign or a device, or both. id: counts up. at: UTC. said:
    what there is to say of it."""

    id: int
    at: str
    kind: str
    campaign: str | None
    device: str | None
    network: str | None
    said: str | None

    @property
    def what(self) -> str:
        """What the device did, or the campaign where there is none."""
        return _WORDS.get(self.kind, "{said}").format(
            network=self.network, said=self.said or "nothing more is known"
        )

    @property
    def sentence(self) -> str:
        """In words, with the campaign that the device works for."""
        own = f" ({self.campaign})" if self.device and self.campaign else ""
        return f"{self.device or self.campaign or 'the farm'} {self.what}{own}"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "sentence": self.sentence}


@dataclass(frozen=True)
class About:
    """Which events somebody wants to know of. campaign: its own, and its devices' (devices) that
    are of no campaign. device: its own alone."""

    campaign: str | None = None
    device: str | None = None
    devices: Collection[str] = ()

    def concerns(self, event: Event) -> bool:
        own = self.campaign in (None, event.campaign) or (
            event.campaign is None and event.device in self.devices
        )
        return own and self.device in (None, event.device)


class EventStore(Connected):
    """The part of `farm.store.Store` that says what happened."""

    def newest_event(self) -> int:
        """The number of the event that happened last; 0 before any did."""
        return int(self._value("SELECT ifnull(max(id), 0) FROM events"))

    def run_events(self, campaign: str) -> int:
        """The number of the event before a campaign's last run began, or the campaign itself where
        none did."""
        sql = f"""SELECT ifnull(max(id), 1) - 1 FROM events WHERE campaign = ?
                  AND kind IN ('launched', 'began') AND kind NOT IN {OUTCOMES}"""
        return int(self._value(sql, campaign))

    def events_after(self, last: int, most: int) -> list[Event]:
        """What happened after event `last`, oldest first, and no more than `most` at a time."""
        sql = "SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?"
        return [Event(**row) for row in self._rows(sql, last, most)]

    def lost(self, devices: Collection[str]) -> dict[str, str]:
        """Those of some devices that were lost and have measured nothing since, and why."""
        found = self._rows(_LOST)
        return {row["device"]: row["said"] for row in found if row["device"] in devices}

    def events(self, campaign: str, most: int) -> list[Event]:
        """What happened to a campaign and, since it began, to its devices, newest first. What was
        measured is left out."""
        found = self._rows(_OF_CAMPAIGN, campaign, campaign, campaign, most)
        return [Event(**row) for row in found]


_LOST = f"""
    SELECT device, said FROM events WHERE kind = 'lost' AND id IN
        (SELECT max(id) FROM events WHERE kind IN {PRESENCE} GROUP BY device)"""

_OF_CAMPAIGN = f"""
    SELECT * FROM events WHERE campaign = ? AND kind NOT IN {OUTCOMES}
    UNION ALL
    SELECT * FROM events WHERE kind NOT IN {OUTCOMES} AND campaign IS NULL
        AND device IN (SELECT device FROM totals WHERE campaign = ?)
        AND id >= (SELECT min(id) FROM events
                   WHERE campaign = ? AND kind = 'began' AND kind NOT IN {OUTCOMES})
    ORDER BY id DESC LIMIT ?"""
