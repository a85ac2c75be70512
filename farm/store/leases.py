"""Leases as rows: asked for, taken in turn, renewed, given back.

Who was late and lost one is refused by the `_fence`, within the transaction of whatever it writes.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any

from farm.core.errors import LeaseLost
from farm.store.connection import Connected
from farm.store.lease import (
    Lease,
    Lives,
    Owner,
    device_thing,
    in_the_way,
    in_turn,
    is_stale,
    iso,
    named,
)
from farm.store.sqlite import Database


class LeaseStore(Connected):
    """The part of `farm.store.Store` that knows who holds what.

    held: tokens of the leases that this object's writes depend on, by thing.
    """

    held: dict[str, int]
    _fenced: tuple[int, dict[str, int]] | None = None

    def ask(self, owner: Owner, things: Collection[str], expires_s: float) -> int:
        """Ask for things, to be had together; the claim's number."""
        with self._transaction():
            claim = int(self._value("SELECT ifnull(max(claim), 0) + 1 FROM leases"))
            row = {**vars(owner), "claim": claim, "asked_at": iso(time.time())}
            for thing in sorted(things):
                self._insert("leases", {**row, "thing": thing, "expires_at": iso(expires_s)})
        return claim

    def take(
        self, claim: int, now_s: float, owner_lives: Lives = lambda one: one.lives
    ) -> list[Lease]:
        """Take what a claim asks for, if it is its turn; else what it waits for.

        Who held it before and is late loses it. Raises LeaseLost for a claim that has ended, and
        for one who lost something else and has not given it back: it is to learn of that first.
        """
        if before := in_the_way(self.leases(), claim, now_s, owner_lives):
            return before  # most times, and nothing is written
        with self._transaction():
            leases = self.leases()
            own = [one for one in leases if one.claim == claim]
            asked = self._value("SELECT count(*) FROM leases WHERE claim = ?", claim)
            if len(own) < asked:
                raise LeaseLost(f"claim {claim} ended, as it was not renewed in time; ask again")
            if any(one.token is not None for one in own):
                return []
            if before := in_the_way(leases, claim, now_s, owner_lives):
                return before
            self._fence()
            things = {one.thing for one in own}
            for one in leases:
                if one.thing in things and one.claim != claim and is_stale(one, now_s, owner_lives):
                    # A claim that waits and lacks one of its things can never be granted.
                    waits = one.token is None
                    match, value = ("claim = ?", one.claim) if waits else ("id = ?", one.id)
                    self._end(match, value)
            token = int(self._value("SELECT ifnull(max(token), 0) + 1 FROM leases"))
            sql = "UPDATE leases SET token = ?, taken_at = ? WHERE claim = ?"
            self._db.conn.execute(sql, [token, iso(time.time()), claim])
        self.held |= dict.fromkeys(things, token)
        return []

    def give_back(self, claim: int) -> None:
        """End a claim, granted or not; nothing for one that has ended."""
        with self._transaction():
            self._end("claim = ?", claim)
        for row in self._rows("SELECT thing, token FROM leases WHERE claim = ?", claim):
            if row["token"] is not None and self.held.get(row["thing"]) == row["token"]:
                del self.held[row["thing"]]

    def run_by(self, holder: str, campaign: str) -> None:
        """Keep which campaign a holder runs; an earlier wish that it ends is over."""
        sql = "UPDATE leases SET campaign = ? WHERE holder = ? AND ended_at IS NULL"
        with self._transaction():
            self._db.conn.execute(sql, [campaign, holder])
            self._db.conn.execute("DELETE FROM cancellations WHERE campaign = ?", [campaign])

    def leases(self) -> list[Lease]:
        """All that have not ended, granted or waiting, the oldest claim first."""
        found = self._rows("SELECT * FROM leases WHERE ended_at IS NULL ORDER BY claim, id")
        return [_lease(row) for row in found]

    def live_leases(self) -> list[Lease]:
        """Those of them whose owner is not late, nor known to have ended."""
        return _live(self.leases())

    def queue(self) -> list[tuple[int, Lease]]:
        """Who holds what, with 0, and then who waits for it, in turn, with 1, 2 and so on."""
        live = self.live_leases()
        held = [(0, one) for one in live if one.token is not None]
        return held + [(turn, one) for turn, own in enumerate(in_turn(live), 1) for one in own]

    def holders(self) -> dict[str, Lease]:
        """Who holds what, by thing."""
        return {one.thing: one for one in self.live_leases() if one.token is not None}

    def holders_of(self, devices: Iterable[str]) -> dict[str, Lease]:
        """Who holds which of some devices, by the device's name; those that nobody holds are left
        out."""
        found = self.holders()
        things = {device: device_thing(device) for device in devices}
        return {device: found[thing] for device, thing in things.items() if thing in found}

    def waited_for(self) -> set[str]:
        """The things that processes wait for."""
        found = self._rows("SELECT * FROM leases WHERE ended_at IS NULL AND token IS NULL")
        return {one.thing for one in _live(map(_lease, found))}

    def _end(self, match: str, *values: Any) -> None:
        sql = f"UPDATE leases SET ended_at = ? WHERE {match} AND ended_at IS NULL"
        self._db.conn.execute(sql, [iso(time.time()), *values])

    def _fence(self) -> None:
        # Only another process takes over what is ours: while none commits, nothing is lost.
        now = self._value("PRAGMA data_version"), self.held
        if not self.held or now == self._fenced:
            return
        tokens = sorted(set(self.held.values()))
        sql = f"""SELECT thing, token FROM leases WHERE ended_at IS NULL
                  AND token IN ({", ".join("?" * len(tokens))})"""
        found = {(row["thing"], row["token"]) for row in self._rows(sql, *tokens)}
        for lost in sorted(self.held.items() - found):
            raise LeaseLost(self._lost(*lost))
        self._fenced = now[0], dict(self.held)

    def _lost(self, thing: str, token: int) -> str:
        mine = self._rows("SELECT * FROM leases WHERE thing = ? AND token = ?", thing, token)
        sql = "SELECT * FROM leases WHERE thing = ? AND token > ? ORDER BY token DESC LIMIT 1"
        taker = next((_lease(row).owner for row in self._rows(sql, thing, token)), None)
        campaign = mine[0]["campaign"] if mine else None
        onwards = f"`farm campaign resume {campaign}` goes on" if campaign else "run it again"
        return (
            f"{named(thing)} was taken over by {taker or 'another process'}, as this process did "
            f"not renew its lease in time; nothing was stored since; {onwards}"
        )


def renew(db: Database, holder: str, expires_s: float) -> None:
    """Renew what a holder has and what it waits for, unless it has ended."""
    sql = "UPDATE leases SET expires_at = ? WHERE holder = ? AND ended_at IS NULL"
    with db.conn:
        db.conn.execute(sql, [iso(expires_s), holder])


def _live(leases: Iterable[Lease]) -> list[Lease]:
    """Those whose owner is not late, nor known to have ended; each owner is looked at once."""
    now_s, alive = time.time(), cache(lambda owner: owner.lives)
    return [one for one in leases if not is_stale(one, now_s, alive)]


def _lease(row: dict[str, Any]) -> Lease:
    owner = Owner(**{one.name: row[one.name] for one in fields(Owner)})
    expires_s = datetime.fromisoformat(row["expires_at"]).timestamp()
    own = row["id"], row["claim"], row["thing"], owner, expires_s
    return Lease(*own, row["token"], row["taken_at"], row["asked_at"])
