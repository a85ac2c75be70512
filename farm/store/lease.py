"""Leases: which process of the farm holds a device, a computer's cores or a campaign, and which
ones wait for it.

A claim asks for one or more things at once, and is granted when all of them are free and no
earlier claim could have them: in turn, and nothing lies idle for one that waits for something else.
Its leases are renewed while the process lives. They end with the process, or when they expire and
somebody wants what they are of.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from farm.core.hosts import host_name, lives, process_mark


def device_thing(device: str) -> str:
    """What is leased of a device."""
    return f"device/{device}"


def cores_thing(host: str) -> str:
    """What is leased of a computer: one device at a time measures on its cores."""
    return f"cores/{host}"


def core_thing(host: str, core: int) -> str:
    """What is leased of one of its cores, to measure or to build on."""
    return f"core/{host}/{core}"


def campaign_thing(campaign: str) -> str:
    """What is leased of a campaign."""
    return f"campaign/{campaign}"


@dataclass(frozen=True)
class Owner:
    """A process of the farm.

    holder: a name for what it holds, unlike any other.
    mark: see `farm.core.hosts.process_mark`.
    doing: its command, for people. campaign: that it runs, once it is known.
    """

    holder: str
    host: str
    pid: int
    mark: str
    doing: str
    campaign: str | None = None

    @classmethod
    def here(cls, doing: str) -> Owner:
        """This process."""
        return cls(secrets.token_hex(8), host_name(), os.getpid(), process_mark(), doing)

    @property
    def lives(self) -> bool | None:
        """Whether it runs; None where nobody can tell."""
        return lives(self.host, self.pid, self.mark)

    def __str__(self) -> str:
        campaign = f", campaign {self.campaign}" if self.campaign else ""
        return f"process {self.pid} on {self.host} ({self.doing}{campaign})"


@dataclass(frozen=True)
class Lease:
    """One thing of a claim. token: once it is granted.

    claim: its number; claims count up, and so do tokens.
    """

    id: int
    claim: int
    thing: str
    owner: Owner
    expires_s: float
    token: int | None = None
    taken_at: str | None = None

    @property
    def until(self) -> str:
        """When it ends unless it is renewed, UTC."""
        return iso(self.expires_s)

    @property
    def until_about(self) -> str:
        """The same for people."""
        return f"until {self.until[11:19]} UTC or longer"

    def to_json(self) -> dict[str, Any]:
        owner = self.owner
        return {
            "host": owner.host,
            "pid": owner.pid,
            "doing": owner.doing,
            "campaign": owner.campaign,
            "since": self.taken_at,
            "until": self.until,
        }


Lives = Callable[[Owner], bool | None]


def is_stale(lease: Lease, now_s: float, owner_lives: Lives) -> bool:
    """Whether others may take over what a lease is of.

    One that has expired is not stale where its owner is seen to run: it may have slept with this
    computer, and renews it in a moment.
    """
    alive = owner_lives(lease.owner)
    return alive is False or (alive is None and lease.expires_s <= now_s)


def in_the_way(
    leases: Sequence[Lease], claim: int, now_s: float, owner_lives: Lives
) -> list[Lease]:
    """What a claim waits for: leases that others hold, and those of earlier claims that can be
    granted before it. None: it is granted now.

    leases: all that have not ended.
    """
    sound = [one for one in leases if one.claim == claim or not is_stale(one, now_s, owner_lives)]
    taken = {one.thing: one for one in sound if one.token is not None}
    waiting = sorted((one for one in sound if one.token is None), key=lambda one: one.claim)
    for number, group in groupby(waiting, key=lambda one: one.claim):
        own = list(group)
        before = [taken[one.thing] for one in own if one.thing in taken]
        if number == claim:
            return before
        if not before:
            taken |= {one.thing: one for one in own}
    return []


def named(thing: str) -> str:
    """A leased thing, for people."""
    kind, _, name = thing.partition("/")
    words = {"device": name, "campaign": f"campaign {name}", "cores": f"the cores of {name}"}
    return words.get(kind, f"core {name}")


def iso(seconds: float) -> str:
    """Unix time as UTC in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
