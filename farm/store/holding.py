"""What one process holds of a store: it asks, waits in turn, renews, and gives back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from farm.core.errors import Leased, LeaseLost, StoreError
from farm.core.values import DeviceFacts
from farm.store.connection import connect
from farm.store.edge import translated
from farm.store.lease import (
    Lease,
    Owner,
    campaign_thing,
    core_thing,
    cores_thing,
    device_thing,
    named,
)
from farm.store.leases import renew
from farm.store.store import Store

LEASE_S = 60.0
"""How long a lease lasts that is not renewed. A process of this computer that dies is missed at
once; one that is stopped, or is on another computer and renews nothing, is waited for this long.
"""

RENEWED = 6
"""How often a lease is renewed while it lasts."""

POLL_S = 0.25
"""How often a process that waits looks whether it is its turn."""

_log = logging.getLogger(__name__)


@dataclass
class Claim:
    """What was asked for together. number: anew where it ended while it was waited for."""

    things: frozenset[str]
    number: int
    granted: bool = False


class Holding:
    """The leases of one process on things of a store; a context manager that ends them all.

    doing: the command, for those who wait. deadline: see `farm.store.lease.Owner`. clock: Unix
        time.
    Once another process has taken one over, all that `store` writes raises LeaseLost.
    """

    def __init__(
        self,
        store: Store,
        doing: str,
        clock: Callable[[], float] = time.time,
        deadline: str | None = None,
    ) -> None:
        self.store = store
        self._owner = Owner.here(doing, deadline)
        self._clock = clock
        self._claims: list[Claim] = []
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=_keep_renewing, args=self._renewed(), daemon=True)
        self._said: frozenset[tuple[str, str]] = frozenset()

    def __enter__(self) -> Holding:
        self._renewing.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._renewing.join()
        for claim in [*self._claims]:
            with suppress(StoreError):  # they end with the process, too
                self.give_back(claim)

    def ask(self, *things: str) -> Claim:
        """Ask for things that are to be had together."""
        claim = Claim(frozenset(things), self._asked(things))
        self._claims.append(claim)
        return claim

    def has(self, claim: Claim) -> bool:
        """Whether a claim is granted, now or before."""
        return not self._before(claim)

    def wait(self, *claims: Claim) -> None:
        """Wait for a moment, and say for whom, unless that was said before."""
        before = [one for claim in claims for one in self._before(claim)]
        told = frozenset((one.thing, str(one.owner)) for one in before)
        for one in before:
            if (one.thing, str(one.owner)) not in self._said:
                _log.warning(_waits_for(one))
        self._said = told
        time.sleep(POLL_S)

    def wait_for(self, *things: str) -> Claim:
        """Ask for things, and wait in turn until they are free."""
        claim = self.ask(*things)
        while not self.has(claim):
            self.wait(claim)
        return claim

    def wait_for_devices(self, devices: Collection[str]) -> None:
        """Wait in turn until all of the devices are free."""
        self.wait_for(*map(device_thing, devices))

    def run(self, campaign: str) -> None:
        """Be the one that runs a campaign. Raises Leased where another process does."""
        claim = self.ask(campaign_thing(campaign))
        if before := self._before(claim):
            self.give_back(claim)
            raise Leased(
                f"{campaign} is run by {before[0].owner}; wait for it, or end it with "
                f"`farm campaign cancel {campaign}`"
            )
        self._owner = replace(self._owner, campaign=campaign)
        self.store.run_by(self._owner.holder, campaign)

    @contextmanager
    def turn(self, facts: DeviceFacts) -> Iterator[None]:
        """A time in which no other process measures on the device's computer, or builds on its
        cores."""
        if not facts.cores:
            yield
            return
        cores = [core_thing(facts.host, core) for core in facts.cores]
        claim = self.wait_for(cores_thing(facts.host), *cores)
        try:
            yield
        finally:
            self.give_back(claim)

    def give_back(self, claim: Claim) -> None:
        """End a claim, granted or not."""
        self._claims.remove(claim)
        self.store.give_back(claim.number)

    def _asked(self, things: Collection[str]) -> int:
        return self.store.ask(self._owner, things, self._clock() + LEASE_S)

    def _before(self, claim: Claim) -> list[Lease]:
        """What a claim waits for; it is granted where there is nothing."""
        if claim.granted:
            return []
        try:
            before = self.store.take(claim.number, self._clock())
        except LeaseLost:  # it was not renewed while this process was stopped
            self.store.give_back(claim.number)
            claim.number = self._asked(claim.things)
            return self._before(claim)
        claim.granted = not before
        return before

    def _renewed(self) -> tuple[Path, str, threading.Event, Callable[[], float]]:
        return self.store.path, self._owner.holder, self._ended, self._clock


def _keep_renewing(
    path: Path, holder: str, ended: threading.Event, clock: Callable[[], float]
) -> None:
    """What the thread does, with a connection of its own."""
    while not ended.wait(LEASE_S / RENEWED):
        with suppress(StoreError), translated(path):  # the next time comes before it expires
            db = connect(path)
            try:
                renew(db, holder, clock() + LEASE_S)
            finally:
                db.close()


def _waits_for(lease: Lease) -> str:
    has = "comes first" if lease.token is None else "has it"
    return f"waiting for {named(lease.thing)}: {lease.owner} {has}, {lease.until_about}"
