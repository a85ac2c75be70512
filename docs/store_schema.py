"""Writes docs/store-schema.md, the tables and columns of the store, from a fresh store.

python -m docs.store_schema

The schema is the store's; what each table and column means is here, and one that has no meaning
here is an error.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from farm.store import Store

PAGE = Path(__file__).with_name("store-schema.md")

_HEAD = """\
# Which columns the store has

Written by `python -m docs.store_schema` from a fresh store; a test holds that it is up to date.

The store is one SQLite database, `farm.db`, in the folder that `cluster.yaml` calls `store:`. Its
schema is made by the migrations in `farm/store/migrations.py`, and a store of an earlier schema is
brought to this one when it is opened. Rows are appended: progress and latencies are derived from
them. Times are UTC in ISO 8601, a network is `SPACE/CODE`, and JSON is text.
"""

TABLES = {
    "campaigns": "A campaign as it was asked for. It does not change any more.",
    "runs": "Each launch or resume of a campaign.",
    "cancellations": "Campaigns that somebody wants to end; the next resume takes the row away.",
    "requests": "A measurement that is wanted, one row for each network, device and campaign.",
    "measurements": "What a request came to: one row each time that it was measured.",
    "samples": "The raw samples of a measurement, apart from what is scanned.",
    "texts": "What many measurements have alike: each text once.",
    "failures": "A try that failed. A final one ends its request.",
    "news": "What is new of each device, for whoever knows its measurements; kept by triggers, in "
    "one transaction with what it tells of.",
    "events": "What happened, in order; kept by triggers, in one transaction with what it "
    "tells of. The last 10 000 outcomes and a million others are kept.",
    "totals": "What a campaign has come to on each device; kept by triggers, in one transaction "
    "with the rows that it sums up.",
    "facts": "What a device said of itself, one row for each fingerprint.",
    "revisions": "Fingerprints of a device in their order, and whether what was measured before "
    "one still holds.",
    "baselines": "What devices take while nothing disturbs them, which latencies are told at.",
    "reuses": "Requests whose outcome is a measurement that another request led to.",
    "stops": "Where a campaign asked a device for nothing more, since it knew enough.",
    "reference_sets": "Sets of reference devices, each with the normalisation of its HWL values.",
    "reference_uses": "Which set was used from when on; the last one of a space is in use.",
    "proxies": "Zero-cost proxies of networks, as they were computed.",
    "stretches": "Each time that a device became another one under the same fingerprint.",
    "quarantines": "Times in which nothing is measured on a device.",
    "certificates": "What examinations of a device found.",
    "builds": "What was compiled.",
    "campaign_builds": "Which campaign paid for which build.",
    "kernels": "What each kernel computes that was ever asked for.",
    "calls": "Which kernels a network calls, as it was planned without compiling it.",
    "served": "Campaigns that the service runs or ran.",
    "tokens": "Who may ask the service, and for what.",
    "leases": "Who holds or held a device, the cores of a computer or a campaign, and who waits.",
    "pending": "A view: requests that have neither a measurement that counts nor a final failure.",
}

_COMMON = {
    "id": "number of the row, counted up",
    "campaign": "the campaign; none for a query or a control network",
    "device": "name of the device in `cluster.yaml`",
    "network": "the network, or `kernel/CODE`",
    "fingerprint": "digest of the device's facts",
    "build_key": "key of the artifact",
    "requested_at": "when it was asked for",
    "purpose": "`learn`, `holdout`, `query`, `control` or `kernel`",
    "half_width": "that the latency is wanted to, relative; none for the device's own",
    "why": "why its network was chosen, a text of `texts`; none where the seed chose it",
}

COLUMNS = {
    "campaigns.id": "`c1`, `c2`, ...",
    "campaigns.plan": "JSON: space, devices, budget, holdout, seed, selection, how each device "
    "measures",
    "campaigns.created_at": "when it was launched",
    "runs.campaign": "the campaign",
    "runs.started_at": "when it began",
    "runs.ended_at": "when it came to its end; none if it was cut short",
    "served.campaign": "the campaign",
    "served.asked_by": "name of the token of who launched it",
    "served.asked_at": "when that was",
    "tokens.name": "what it is called",
    "tokens.role": "`reader`, `user` or `admin`",
    "tokens.digest": "SHA-256 of the token, which is not kept itself",
    "tokens.created_at": "when it was made",
    "tokens.expires_at": "from when on it opens nothing; none for never",
    "tokens.revoked_at": "when somebody ended it; none for one that holds",
    "leases.claim": "number of the claim; what is asked for together shares it",
    "leases.thing": "`device/NAME`, `campaign/ID`, `cores/HOST` (to measure there) or "
    "`core/HOST/NUMBER`",
    "leases.holder": "random name for what a process holds at a time",
    "leases.host": "computer of the process",
    "leases.pid": "its number there",
    "leases.mark": "what tells it from others of that number: boot, namespace, when it started",
    "leases.doing": "its command",
    "leases.campaign": "the campaign that it runs, once that is known",
    "leases.token": "given when the claim is granted, and only grows; none while it waits",
    "leases.asked_at": "when it asked",
    "leases.asked_by": "for whom it asked: a user of the computer, or the name of a token",
    "leases.deadline": "when that person wants it to be done; none for no matter",
    "leases.taken_at": "when it was granted",
    "leases.expires_at": "when others may take it over, unless it is renewed",
    "leases.ended_at": "when it was given back or taken over; none while it lasts",
    "cancellations.campaign": "the campaign",
    "cancellations.cancelled_at": "when somebody asked for it",
    "events.at": "when it happened",
    "events.kind": "what; `farm/store/events.py` has them, in words",
    "events.campaign": "of which campaign; none where it is of none",
    "events.device": "on which device; none where it is of a campaign as a whole",
    "events.network": "of which network or kernel, if so",
    "events.said": "what there is to say of it",
    "measurements.request": "the request that it answers",
    "measurements.build_key": "key of the artifact; none for a device that needs none",
    "measurements.spec": "in `texts`: how it was measured, `MeasureSpec` in "
    "`farm/measurement/spec.py`",
    "measurements.device_s": "seconds that the device was busy with it",
    "measurements.measured_at": "when its last session ended",
    "measurements.exact": "1 where samples repeat exactly: one is enough",
    "measurements.clock_probe_s": "seconds that a fixed piece of work took: the device's clock",
    "measurements.warmup_taken_s": "of `device_s`, spent to warm up",
    "measurements.controls": "in `texts`: the control networks timed in the same sessions, each "
    "with what its blocks say, a row for each session, and what it took at the baseline of the "
    "time; none where there were none",
    "measurements.group_spread": "how much the networks of its sessions differ from session to "
    "session, relative, root mean square; none where it was alone",
    "measurements.rules": "version of the rules that rejected its blocks and gave its verdict; 0 "
    "from before they had one",
    "measurements.verdict": "`ok`, `noisy`, `unresolved`, `throttled` or `contended`; none from "
    "before it was stored",
    "measurements.invalidated": "why it no longer counts; none while it does",
    "samples.measurement": "the measurement",
    "samples.packed": "every block with its samples, telemetry, session, and why it was rejected, "
    "if so, and the samples of the warm-up of each session; `farm/store/packing.py` reads it",
    "texts.text": "JSON",
    "failures.request": "the request",
    "failures.kind": "class of the error, see `farm/core/errors.py`",
    "failures.message": "what happened",
    "failures.final": "1 if it is not tried again",
    "failures.failed_at": "when",
    "reuses.request": "the request",
    "reuses.measurement": "what is known already",
    "stops.campaign": "the campaign",
    "stops.reason": "in words, with figures",
    "stops.stopped_at": "when",
    "reference_sets.version": "digest of all that makes values comparable",
    "reference_sets.space": "the search space of its networks",
    "reference_sets.devices": "JSON: the devices, in order; the lists that follow have this order",
    "reference_sets.batches": "JSON: batch sizes",
    "reference_sets.flush_bytes": "JSON: bytes that flush the caches before a run; 0: warm",
    "reference_sets.revisions": "JSON: the fingerprint whose baseline latencies are told at",
    "reference_sets.unit_s": "JSON: typical latencies, seconds",
    "reference_sets.mean": "JSON: means of the square roots of latency / `unit_s`",
    "reference_sets.scale": "JSON: deviations of these",
    "reference_sets.networks": "JSON: the networks that these were fitted on",
    "reference_sets.fitted_at": "when",
    "reference_uses.version": "the set",
    "reference_uses.used_at": "since when",
    "proxies.version": "of the pass that computed them, and of torch",
    "proxies.network": "of which network they are",
    "proxies.seed": "drew weights, images and labels",
    "proxies.batch": "images",
    "proxies.proxies": "JSON: the proxies by name",
    "proxies.computed_at": "when",
    "news.device": "the device",
    "news.added": "the id of its last measurement",
    "news.dropped": "how often one of its measurements was invalidated",
    "news.told": "how often something changed by which all are told: a revision, a baseline",
    "totals.campaign": "the campaign",
    "totals.requested": "requests for networks",
    "totals.measured": "measurements of networks that count",
    "totals.failed": "final failures of networks",
    "totals.device_s": "seconds that the device was busy, with kernels too",
    "totals.kernels": "requests for kernels",
    "totals.kernels_measured": "measurements of kernels that count",
    "totals.kernels_failed": "final failures of kernels",
    "totals.kernels_device_s": "seconds that the device was busy with kernels",
    "kernels.code": "16 hex digits for what it computes, whatever its schedule",
    "kernels.definition": "JSON: the fused group, or the ONNX model of one operation",
    "calls.planner": "version of what divides networks into kernels",
    "calls.batch": "batch size that it was planned for",
    "calls.kernels": "JSON: how often each kernel is called, by its `id`",
    "facts.facts": "JSON: host, cores, target, and the identity that the fingerprint is made of",
    "facts.first_seen_at": "when the device first said so",
    "facts.last_seen_at": "when it last did",
    "revisions.base": "the fingerprint whose baseline its latencies are told at",
    "revisions.decision": "`first`, `same`, `rebased` or `invalidated`",
    "revisions.factor": "how many times as slow as its base it is",
    "revisions.reason": "the decision in words, with figures",
    "revisions.decided_at": "when",
    "baselines.network": "the control network, or the probe of the clock or of a core",
    "baselines.build_key": "key of the artifact; empty for a device that needs none",
    "baselines.rounds_s": "JSON: seconds that it took in each of its first rounds",
    "stretches.after": "the last measurement before it",
    "stretches.shift": "of the control networks from the level before, as a logarithm",
    "stretches.reason": "the same in words",
    "stretches.began_at": "when it was noticed",
    "quarantines.at": "since when",
    "quarantines.reason": "why",
    "quarantines.manual": "1 if a person put it there; then only a person releases it",
    "quarantines.released_at": "until when; none while it lasts",
    "certificates.checked_at": "when",
    "certificates.certificate": "JSON: timer, noise, warm-up, drift, output; see "
    "`farm/devices/certificate.py`",
    "builds.campaign": "the campaign that it was first built for",
    "builds.target": "what it was compiled for",
    "builds.sha256": "digest of the library",
    "builds.size_bytes": "size of the library",
    "builds.build_s": "seconds that it took",
    "builds.built_at": "when",
    "campaign_builds.campaign": "the campaign",
}


def page() -> str:
    """What docs/store-schema.md says. Raises KeyError for a table or column without a meaning."""
    found = schema()
    order = [*TABLES, *(name for name in found if name not in TABLES)]
    tables = sorted(found.items(), key=lambda item: order.index(item[0]))
    return "\n".join([_HEAD, *(_section(name, columns) for name, columns in tables)])


def schema() -> dict[str, dict[str, str]]:
    """Columns of each table of a fresh store, with what SQLite knows of them."""
    with tempfile.TemporaryDirectory() as folder:
        with Store(Path(folder)):
            pass
        with closing(sqlite3.connect(Path(folder) / "farm.db")) as db:
            sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            names = [str(name) for (name,) in db.execute(sql)]
            own = [name for name in names if not name.startswith(("_", "sqlite_"))]
            return {name: dict(_columns(db, name)) for name in own}


def unused() -> set[str]:
    """Meanings of what is not in the schema any more."""
    found = schema()
    there = {f"{table}.{column}" for table, columns in found.items() for column in columns}
    return (TABLES.keys() - found.keys()) | (COLUMNS.keys() - there)


def _columns(db: sqlite3.Connection, table: str) -> Iterator[tuple[str, str]]:
    for _, name, kind, needed, _, key in db.execute(f"PRAGMA table_info({table})"):
        notes = [kind, *(["key"] if key else []), *(["always there"] if needed and not key else [])]
        yield name, ", ".join(notes)


def _section(name: str, columns: dict[str, str]) -> str:
    rows = [
        f"| `{column}` | {kind} | {_meaning(name, column)} |" for column, kind in columns.items()
    ]
    table = "\n".join(["| column | | meaning |", "|---|---|---|", *rows])
    return f"## {name}\n\n{TABLES[name]}\n\n{table}\n"


def _meaning(table: str, column: str) -> str:
    words = COLUMNS.get(f"{table}.{column}") or _COMMON.get(column)
    if words is None:
        raise KeyError(f"the column {table}.{column} has no meaning in docs/store_schema.py")
    return words


if __name__ == "__main__":
    PAGE.write_text(page())
