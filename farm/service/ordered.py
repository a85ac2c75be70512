"""Campaigns that somebody asks the service to run, to end, or to go on with."""

from __future__ import annotations

from collections.abc import Sequence

from farm.campaign.planning import Launch, planned
from farm.core.errors import Leased, UsageError
from farm.farm import must_be_resumable
from farm.service import running
from farm.service.answering import Answering
from farm.service.who import Who
from farm.store import StoredCampaign
from farm.store.tokens import ADMIN


def launch(own: Answering, asked: Launch, who: str) -> str:
    """Store a campaign that the service is to run; its name. Raises UsageError."""
    if ":" in asked.space:
        raise UsageError(
            f"the service reads no folders: name a search space, got {asked.space[:80]!r}; "
            "`farm launch --space onnx:FOLDER` measures files"
        )
    plan = planned(asked, own.farm.config).plan
    name = own.store.add_campaign(plan)
    own.store.keep_served(name, who)
    return name


def last_words(own: Answering, stored: StoredCampaign) -> str | None:
    """What the process of a campaign that should go on, and does not, said last."""
    waits = stored.state != "unfinished" or stored.run_by is not None
    return None if waits else running.last_words(own.farm.config.store, stored.id)


def cancel(own: Answering, name: str, who: Who) -> tuple[str, bool]:
    """End a campaign: one's own, or any for an admin. Its name, and whether a process had begun
    to run it, which sees the wish. Raises UnknownName and NotAllowed."""
    stored = own.store.campaign(name)
    if own.store.served().get(stored.id) != who.name:
        who.must_be(ADMIN)
    own.store.cancel(stored.id)
    return stored.id, stored.run_by is not None and stored.run_by.owner.campaign == stored.id


def resume(own: Answering, name: str, again: Sequence[str], who: Who) -> str:
    """Make a campaign one that the service runs; its name. One's own, or any for an admin.
    Raises UnknownName, UsageError, NotAllowed, and Leased where it runs already."""
    stored = own.store.campaign(name)
    must_be_resumable(stored, again)
    asked_by = own.store.served().get(stored.id)
    if asked_by != who.name:
        who.must_be(ADMIN)
    if stored.run_by is not None:
        raise Leased(f"{stored.id} is run by {stored.run_by.owner} already; wait until it ends")
    if asked_by is None:
        own.store.keep_served(stored.id, who.name)
    return stored.id
