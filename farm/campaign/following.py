"""Follows what happens, until a run of a campaign has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from farm.store import Store
from farm.store.events import ENDED, About, Event

_LOOK_S = 0.25
"""How often the store is looked at: a few microseconds each time."""

_AT_A_TIME = 200


def about(
    store: Store, campaign: str | None, device: str | None, after: int | None
) -> tuple[About, int]:
    """Which events to look at, and the one to begin after: `after`, or else what was before the
    campaign's last run; without a campaign the newest. campaign: or `latest`. Raises
    UnknownName."""
    newest, asked = store.newest_event(), About(device=device)
    if campaign is not None:
        stored = store.campaign(campaign)
        asked = About(stored.id, device, stored.plan.devices)
    if after is not None:
        return asked, min(after, newest)
    return asked, newest if asked.campaign is None else store.run_events(asked.campaign)


class Ending:
    """Whether nobody goes on with a campaign: it is done, or whoever ran it runs it no more, as
    one that was killed. One that nobody has begun yet is waited for."""

    def __init__(self) -> None:
        self._ran = False

    def is_over(self, state: str, runs: bool) -> bool:
        self._ran |= runs
        return not runs and (self._ran or state != "unfinished")


def ended(event: Event, campaign: str | None) -> bool:
    """Whether it is a run of a campaign that has ended."""
    return campaign is not None and (event.kind, event.campaign) == (ENDED, campaign)


def follow(
    store: Store, asked: About, last: int, pause: Callable[[float], None] = time.sleep
) -> Iterator[Event]:
    """What happens after event `last`, as it does; without end where no campaign is asked for."""
    ending, over = Ending(), False
    while not over:
        if asked.campaign is not None:
            stored = store.campaign(asked.campaign)
            over = ending.is_over(stored.state, stored.run_by is not None)
        while found := store.events_after(last, _AT_A_TIME):
            last = found[-1].id
            for event in found:
                if asked.concerns(event):
                    yield event
                if ended(event, asked.campaign):
                    return
        if not over:
            pause(_LOOK_S)
