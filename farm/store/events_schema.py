"""The table of events, and the triggers that fill it in one transaction with what they tell of.

A measurement's event costs one row at the table's end and no index. Those of outcomes, which are
many, are kept for a while; the others, which a campaign's page shows, for much longer.
"""

from __future__ import annotations

OUTCOMES = "('measured', 'known')"
"""Kinds of events that come with every network."""

PRESENCE = "('lost', 'back')"
"""Kinds that say whether a device is there."""

_OUTCOMES_KEPT, _KEPT, _PRUNED_AT_ONCE = 10_000, 1_000_000, 100

_TABLE = """CREATE TABLE events (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, campaign TEXT, device TEXT,
    network TEXT, said TEXT) STRICT"""

_FAILED = "iif({row}.final, 'gave up', 'failed')"

# What is known of the time before there were events, outcomes and leases left out.
_BEFORE = f"""INSERT INTO events (at, kind, campaign, device, network, said)
    SELECT created_at AS at, 'launched', id, NULL, NULL, NULL FROM campaigns
    UNION ALL SELECT started_at, 'began', campaign, NULL, NULL, NULL FROM runs
    UNION ALL SELECT ended_at, 'ended', campaign, NULL, NULL, NULL FROM runs
        WHERE ended_at IS NOT NULL
    UNION ALL SELECT cancelled_at, 'cancelled', campaign, NULL, NULL, NULL FROM cancellations
    UNION ALL SELECT stopped_at, 'enough', campaign, device, NULL, reason FROM stops
    UNION ALL SELECT at, 'quarantined', NULL, device, NULL, reason FROM quarantines
    UNION ALL SELECT released_at, 'released', NULL, device, NULL, NULL FROM quarantines
        WHERE released_at IS NOT NULL
    UNION ALL SELECT decided_at, 'revised', NULL, device, NULL, decision || ': ' || reason
        FROM revisions
    UNION ALL SELECT began_at, 'changed', NULL, device, NULL, reason FROM stretches
    UNION ALL SELECT failed_at, {_FAILED.format(row="failures")}, campaign, device, network,
        kind || ': ' || message FROM failures JOIN requests ON requests.id = request
    ORDER BY at"""


def _short(said: str) -> str:
    """Who listens is told the beginning of a long text; the whole is in its own table."""
    return f"substr({said}, 1, 500)"


def _event(kind: str, campaign: str, device: str, said: str, at: str) -> str:
    """Arguments are expressions."""
    return f"""INSERT INTO events (at, kind, campaign, device, said)
        VALUES ({at}, '{kind}', {campaign}, {device}, {_short(said)})"""


def _trigger(kind: str, when: str, event: str) -> str:
    return f"CREATE TRIGGER {kind}_event AFTER {when} BEGIN {event}; END"


def _told(kind: str, when: str, campaign: str, device: str, said: str, at: str) -> str:
    return _trigger(kind, when, _event(kind, campaign, device, said, at))


_LAST_PRESENCE = f"""(SELECT kind FROM events WHERE device = NEW.device AND kind IN {PRESENCE}
    ORDER BY id DESC LIMIT 1)"""

_MEASURED = f"""INSERT INTO events (at, kind, device)
        SELECT NEW.measured_at, 'back', NEW.device WHERE {_LAST_PRESENCE} = 'lost';
    INSERT INTO events (at, kind, campaign, device, network, said)
        SELECT NEW.measured_at, 'measured', campaign, NEW.device, NEW.network, NEW.verdict
        FROM requests WHERE id = NEW.request AND purpose <> 'control'"""

# A device that is lost fails every request of its group, time and again: that is one event.
_LOST = f"""INSERT INTO events (at, kind, campaign, device, said)
    SELECT NEW.failed_at, 'lost', campaign, device, {_short("NEW.message")} FROM requests AS own
    WHERE id = NEW.request AND NEW.kind IN ('lost', 'busy')
    AND {_LAST_PRESENCE.replace("NEW.device", "own.device")} IS NOT 'lost'"""
_GONE = f"""INSERT INTO events (at, kind, campaign, device, network, said)
    SELECT NEW.failed_at, {_FAILED.format(row="NEW")}, campaign, device, network,
        {_short("NEW.kind || ': ' || NEW.message")} FROM requests
    WHERE id = NEW.request AND (NEW.final OR NEW.kind NOT IN ('lost', 'busy'))"""

_KNOWN = """INSERT INTO events (at, kind, campaign, device, network)
    SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'), 'known', campaign, device, network
    FROM requests WHERE id = NEW.request"""

_COUNTS = """(SELECT ifnull(sum(measured), 0) || ' measured, ' || ifnull(sum(failed), 0)
    || ' failed' FROM totals WHERE campaign = NEW.campaign)"""
_HELD_BY = "NEW.doing || ' (process ' || NEW.pid || ' on ' || NEW.host || ')'"
_LEASE = "UPDATE OF {column} ON leases WHEN NEW.thing LIKE 'device/%' AND {that}"
_TAKEN = _LEASE.format(column="token", that="OLD.token IS NULL AND NEW.token IS NOT NULL")
_FREED = _LEASE.format(column="ended_at", that="NEW.token IS NOT NULL AND OLD.ended_at IS NULL")
_QUARANTINE_OVER = "UPDATE OF released_at ON quarantines WHEN NEW.released_at IS NOT NULL"
_OF_LEASE = "substr(NEW.thing, 8)"

_TRIGGERS = (
    _told("launched", "INSERT ON campaigns", "NEW.id", "NULL", "NULL", "NEW.created_at"),
    _told("began", "INSERT ON runs", "NEW.campaign", "NULL", "NULL", "NEW.started_at"),
    _told("ended", "UPDATE OF ended_at ON runs", "NEW.campaign", "NULL", _COUNTS, "NEW.ended_at"),
    _told(
        *("cancelled", "INSERT ON cancellations"),
        *("NEW.campaign", "NULL", "NULL", "NEW.cancelled_at"),
    ),
    _told(
        "enough", "INSERT ON stops", "NEW.campaign", "NEW.device", "NEW.reason", "NEW.stopped_at"
    ),
    _told("quarantined", "INSERT ON quarantines", "NULL", "NEW.device", "NEW.reason", "NEW.at"),
    _told("released", _QUARANTINE_OVER, "NULL", "NEW.device", "NULL", "NEW.released_at"),
    _told(
        *("revised", "INSERT ON revisions", "NULL", "NEW.device"),
        *("NEW.decision || ': ' || NEW.reason", "NEW.decided_at"),
    ),
    _told("changed", "INSERT ON stretches", "NULL", "NEW.device", "NEW.reason", "NEW.began_at"),
    _told("held", _TAKEN, "NEW.campaign", _OF_LEASE, _HELD_BY, "NEW.taken_at"),
    _told("free", _FREED, "NEW.campaign", _OF_LEASE, "NULL", "NEW.ended_at"),
    _trigger("measured", "INSERT ON measurements", _MEASURED),
    _trigger("known", "INSERT ON reuses", _KNOWN),
    _trigger("failed", "INSERT ON failures", f"{_LOST}; {_GONE}"),
)


def _pruned(kept: int, match: str) -> str:
    return f"""DELETE FROM events WHERE {match}
        AND id BETWEEN NEW.id - {kept + _PRUNED_AT_ONCE} AND NEW.id - {kept}"""


EVENTS = (
    _TABLE,
    f"CREATE INDEX campaign_events ON events (campaign) WHERE kind NOT IN {OUTCOMES}",
    f"CREATE INDEX device_events ON events (device) WHERE kind NOT IN {OUTCOMES}",
    f"CREATE INDEX presence_events ON events (device) WHERE kind IN {PRESENCE}",
    _BEFORE,
    f"""CREATE TRIGGER pruned_events AFTER INSERT ON events
        WHEN NEW.id % {_PRUNED_AT_ONCE} = 0 BEGIN
        {_pruned(_OUTCOMES_KEPT, f"kind IN {OUTCOMES}")}; {_pruned(_KEPT, "1")}; END""",
    *_TRIGGERS,
)
"""The statements that make all this."""
