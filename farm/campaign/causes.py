"""Whose fault a failure is: what ends a request for good, and what only has to wait.

A device that is lost, a runner or a compiler that dies says nothing of the network that it worked
on: that is tried again, elsewhere where there is an elsewhere. Only what follows a network counts
against it: a device that was lost `POISON` times while it measured this network, and worked each
time in between, or as many compilers that died of it. Pure but for the clock.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from farm.measurement.record import Failure, Measurement
from farm.store import Request

POISON = 3
"""Deaths that follow a network or a kernel before it is set aside."""

COMMON_DEATHS = 12
"""Deaths of compilers in a row, of this build and of others, before a build is set aside all the
same: two builds that kill whatever they run in would else go on for ever."""

ATTEMPTS = 3
"""How often a request is tried while its failures are retryable for other reasons."""

REPEATED = 2
"""The same of crashes and timeouts: a child that the system killed looks like a network that
crashes, and a frozen one like a network that hangs."""

BACK_OFF_S, LONGEST_BACK_OFF_S = 1.0, 300.0
"""Before a device that was lost is tried again: doubled with each loss in a row."""

PATIENCE_S = 900.0
"""How long a campaign tries a lost device again before it ends without the device's networks."""

AWAY = ("lost", "busy")
"""Kinds of failures that are the device's."""

_SUSPECT = ("crash", "timeout")
"""Kinds that may be a network's own, or somebody's who killed or froze what it ran in."""


@dataclass
class _Device:
    """worked: whether it has measured anything since it was lost last. losses: in a row."""

    worked: bool = True
    losses: int = 0
    since_s: float = 0.0
    retry_s: float = 0.0


class Causes:
    """One run's account of what failed.

    patience_s: for how long a lost device is tried again; `PATIENCE_S` without it.
    clock: seconds that only grow.
    events: what a person should know, a sentence each.
    """

    def __init__(
        self, patience_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
        self._clock = clock
        self._devices: dict[str, _Device] = {}
        self._given_up: set[str] = set()
        self._strikes = Counter[int]()
        self._deaths = Counter[str]()  # those that may be a build's own doing
        self._in_a_row = Counter[str]()  # all, since a compiler finished anything
        self.events: list[str] = []

    def away(self, device: str) -> bool:
        """Whether a device was lost and is not to be tried yet, or not any more."""
        found = self._devices.get(device)
        early = found is not None and found.losses > 0 and self._clock() < found.retry_s
        return early or self.given_up(device)

    def returning(self, device: str) -> bool:
        """Whether a device was lost, and has not measured anything since."""
        found = self._devices.get(device)
        return found is not None and not found.worked

    def strikes(self, request: Request) -> int:
        """How often something died while it measured this: it is measured alone from then on."""
        return self._strikes[request.id]

    def given_up(self, device: str) -> bool:
        """Whether a device was lost for so long that it is not tried again."""
        return device in self._given_up

    def pause_s(self, device: str) -> float | None:
        """How long until a device that was lost is tried again; None for any other."""
        if not self.returning(device) or self.given_up(device):
            return None
        return max(0.0, self._devices[device].retry_s - self._clock())

    def note(self, device: str, ended: Sequence[tuple[Request, Measurement | Failure]]) -> bool:
        """Take note of what came of one job, before `is_final` is asked of it. Whether the device
        was lost in it."""
        own = self._devices.setdefault(device, _Device())
        lost = [(r, o) for r, o in ended if isinstance(o, Failure) and o.kind in AWAY]
        if len(lost) < len(ended):
            self._work_again(device, own)
        for request, outcome in ended:
            suspect = isinstance(outcome, Failure) and outcome.kind in _SUSPECT
            if suspect or (own.worked and (request, outcome) in lost):
                self._strikes[request.id] += 1
        if lost:
            self._lose(device, own, lost[0][1])
        return bool(lost)

    def is_final(self, request: Request, failure: Failure, before: int) -> bool:
        """Whether a failure ends its request. before: how many the request had earlier,
        those left out that are the device's."""
        if failure.kind in _SUSPECT:
            return before + 1 >= REPEATED
        if failure.kind in AWAY:
            return self._strikes[request.id] >= POISON
        return not failure.retryable or before + 1 >= ATTEMPTS

    def compiler_works(self) -> None:
        """Take note that a compiler finished a build, whatever came of it."""
        self._in_a_row.clear()

    def compiler_lost(self, build_key: str, killed: bool = False) -> bool:
        """Take note that a compiler died in the middle of a build; whether the build is to blame.

        Where no compiler lives, all builds lose theirs, and none of them is to blame; nor is one
        for a compiler that somebody killed.
        """
        in_common = build_key in self._in_a_row and len(self._in_a_row) > 1
        self._in_a_row[build_key] += 1
        if not in_common and not killed:
            self._deaths[build_key] += 1
        return self._deaths[build_key] >= POISON or self._in_a_row[build_key] >= COMMON_DEATHS

    def _work_again(self, device: str, own: _Device) -> None:
        if own.losses:
            self.events.append(f"{device} is back")
        own.worked, own.losses = True, 0

    def _lose(self, device: str, own: _Device, reason: Failure) -> None:
        now_s = self._clock()
        if not own.losses:
            own.since_s = now_s
            lost = "busy" if reason.kind == "busy" else "lost"
            self.events.append(f"{device} is {lost} and will be tried again: {reason.message}")
        own.worked = False
        own.retry_s = now_s + min(BACK_OFF_S * 2**own.losses, LONGEST_BACK_OFF_S)
        own.losses += 1
        if own.retry_s - own.since_s > self._patience_s:
            self._given_up.add(device)
            self.events.append(
                f"{device} did not come back within {self._patience_s:g} s; what it was asked for "
                "waits in the store"
            )


def poisoned(failure: Failure) -> Failure:
    """A failure of a network that the device died of, over and over, named as such."""
    why = f"set aside, as {POISON} times something died on {failure.device} while it measured this"
    return Failure(
        failure.network, failure.device, "poison", f"{why}: {failure.message}", retryable=False
    )
