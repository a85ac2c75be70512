"""Leases: which process of the farm holds a device, a computer's cores or a campaign, and which
ones wait for it.

A claim asks for one or more things at once, and is granted when all of them are free and no
claim before it in turn could have them: nothing lies idle for one that waits for something else.
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

from farm.core.hosts import host_name, lives, person, process_mark


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
    asked_by: the person whose process it is. deadline: when they want what it does to be done, UTC
        in ISO 8601.
    """

    holder: str
    host: str
    pid: int
    mark: str
    doing: str
    campaign: str | None = None
    asked_by: str = ""
    deadline: str | None = None

    @classmethod
    def here(cls, doing: str, deadline: str | None = None) -> Owner:
        """This process."""
        own = secrets.token_hex(8), host_name(), os.getpid(), process_mark(), doing
        return cls(*own, asked_by=person(), deadline=deadline)

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

    claim: its number; claims count up, and so do tokens. asked_at: UTC.
    """

    id: int
    claim: int
    thing: str
    owner: Owner
    expires_s: float
    token: int | None = None
    taken_at: str | None = None
    asked_at: str | None = None

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
            "asked_by": owner.asked_by,
            "deadline": owner.deadline,
            "since": self.taken_at,
            "until": self.until,
        }


def claim_json(turn: int, lease: Lease) -> dict[str, Any]:
    """A lease in the queue; turn: 0 for one that is granted."""
    told = lease.to_json()
    del told["until"]
    own = {"claim": lease.claim, "thing": lease.thing, "granted": not turn, "turn": turn}
    return {**own, **told, "since": lease.taken_at or lease.asked_at}


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
    """What a claim waits for: leases that others hold, and those of claims before it in turn that
    can be granted. None: it is granted now.

    leases: all that have not ended.
    """
    sound = [one for one in leases if one.claim == claim or not is_stale(one, now_s, owner_lives)]
    taken = {one.thing: one for one in sound if one.token is not None}
    for own in in_turn(sound):
        before = [taken[one.thing] for one in own if one.thing in taken]
        if own[0].claim == claim:
            return before
        if not before:
            taken |= {one.thing: one for one in own}
    return []


def in_turn(leases: Sequence[Lease]) -> list[list[Lease]]:
    """The claims that wait, next first: by deadline; then round robin between persons, each thing
    for itself: who has or waits for it already comes after who does not; then by age."""
    rounds: dict[tuple[str, str], int] = {}
    waiting: list[tuple[str, int, int, list[Lease]]] = []
    by_age = sorted(leases, key=lambda one: (one.token is None, one.claim))
    for claim, group in groupby(by_age, key=lambda one: one.claim):
        own = list(group)
        person, deadline = own[0].owner.asked_by, own[0].owner.deadline
        # As far as the longest of the lines that it is in: a person's own claims keep their order.
        turn = max(rounds.get((person, one.thing), 0) for one in own)
        rounds |= {(person, one.thing): turn + 1 for one in own}
        if own[0].token is None:
            waiting.append((deadline or _NEVER, turn, claim, own))
    return [own for *_, own in sorted(waiting, key=lambda one: one[:3])]


_NEVER = "9999"
"""After all deadlines, which begin with a year."""


def named(thing: str) -> str:
    """A leased thing, for people."""
    kind, _, name = thing.partition("/")
    words = {"device": name, "campaign": f"campaign {name}", "cores": f"the cores of {name}"}
    return words.get(kind, f"core {name}")


def iso(seconds: float) -> str:
    """Unix time as UTC in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
