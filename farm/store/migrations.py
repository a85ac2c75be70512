"""The schema, as named migrations in order. A migration that has landed is never edited.

Progress is derived from rows: a request is pending while it has neither a measurement nor a
final failure. Latencies are derived from raw samples when they are read. What a migration says of
older ones is in the words of its time.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from farm.measurement.record import Block
from farm.measurement.verdict import Rejection
from farm.store.edge import UNREADABLE
from farm.store.events_schema import EVENTS
from farm.store.onnx_models import StoredModels
from farm.store.packing import packed
from farm.store.sqlite import Database, Migrations

migrations = Migrations("farm")


@migrations()
def m001_campaigns(db: Database) -> None:
    """Campaigns, their sessions (each launch or resume), and the wish that one should end."""
    db.conn.execute(
        """CREATE TABLE campaigns (
            id TEXT PRIMARY KEY, plan TEXT NOT NULL, created_at TEXT NOT NULL) STRICT"""
    )
    db.conn.execute(
        """CREATE TABLE sessions (
            id INTEGER PRIMARY KEY, campaign TEXT NOT NULL REFERENCES campaigns(id),
            started_at TEXT NOT NULL, ended_at TEXT) STRICT"""
    )
    db.conn.execute(
        """CREATE TABLE cancellations (
            campaign TEXT PRIMARY KEY REFERENCES campaigns(id),
            cancelled_at TEXT NOT NULL) STRICT"""
    )


@migrations()
def m002_requests_and_outcomes(db: Database) -> None:
    """One row a request, and at most one final outcome for it."""
    db.conn.execute(
        """CREATE TABLE requests (
            id INTEGER PRIMARY KEY, campaign TEXT REFERENCES campaigns(id),
            network TEXT NOT NULL, device TEXT NOT NULL,
            purpose TEXT NOT NULL CHECK (purpose IN ('learn', 'holdout', 'query')),
            requested_at TEXT NOT NULL, UNIQUE (campaign, network, device)) STRICT"""
    )
    db.conn.execute(
        """CREATE TABLE facts (
            fingerprint TEXT PRIMARY KEY, device TEXT NOT NULL, facts TEXT NOT NULL,
            first_seen_at TEXT NOT NULL) STRICT"""
    )
    db.conn.execute(
        """CREATE TABLE measurements (
            id INTEGER PRIMARY KEY, request INTEGER NOT NULL UNIQUE REFERENCES requests(id),
            network TEXT NOT NULL, device TEXT NOT NULL,
            fingerprint TEXT NOT NULL REFERENCES facts(fingerprint), build_key TEXT,
            spec TEXT NOT NULL, samples_s TEXT NOT NULL, runs_per_sample INTEGER NOT NULL,
            warmup_s TEXT NOT NULL, witness TEXT NOT NULL, device_s REAL NOT NULL,
            measured_at TEXT NOT NULL) STRICT"""
    )
    db.conn.execute("CREATE INDEX measurements_of ON measurements (device, network)")
    db.conn.execute(
        """CREATE TABLE failures (
            id INTEGER PRIMARY KEY, request INTEGER NOT NULL REFERENCES requests(id),
            kind TEXT NOT NULL, message TEXT NOT NULL, final INTEGER NOT NULL,
            failed_at TEXT NOT NULL) STRICT"""
    )
    db.conn.execute("CREATE UNIQUE INDEX one_end ON failures (request) WHERE final")
    db.conn.execute(
        """CREATE VIEW pending AS SELECT requests.* FROM requests
            WHERE NOT EXISTS (SELECT 1 FROM measurements WHERE request = requests.id)
            AND NOT EXISTS (SELECT 1 FROM failures WHERE request = requests.id AND final)"""
    )


@migrations()
def m003_builds(db: Database) -> None:
    """What was compiled, and which campaign paid for it."""
    db.conn.execute(
        """CREATE TABLE builds (
            build_key TEXT PRIMARY KEY, campaign TEXT REFERENCES campaigns(id),
            network TEXT NOT NULL, target TEXT NOT NULL, sha256 TEXT NOT NULL,
            size_bytes INTEGER NOT NULL, build_s REAL NOT NULL, built_at TEXT NOT NULL) STRICT"""
    )
    db.conn.execute(
        """CREATE TABLE campaign_builds (
            campaign TEXT NOT NULL REFERENCES campaigns(id), build_key TEXT NOT NULL,
            PRIMARY KEY (campaign, build_key)) STRICT"""
    )


@migrations()
def m004_blocks(db: Database) -> None:
    """Samples in blocks, each with its own witness; specs in the words of sessions and blocks.

    A round of before is a block of session 0, and what was seen around all rounds stays with it.
    """
    rows = list(db.query("SELECT * FROM measurements ORDER BY id"))
    db.conn.execute("ALTER TABLE measurements RENAME COLUMN samples_s TO blocks")
    db.conn.execute("ALTER TABLE measurements ADD COLUMN exact INTEGER NOT NULL DEFAULT 0")
    db.conn.execute("ALTER TABLE measurements ADD COLUMN clock_probe_s REAL")
    db.conn.execute("ALTER TABLE measurements ADD COLUMN warmup_taken_s REAL NOT NULL DEFAULT 0")
    for name in ("runs_per_sample", "witness"):
        db.conn.execute(f"ALTER TABLE measurements DROP COLUMN {name}")
    for row in rows:
        values = (_blocks(row), f"[{row['warmup_s']}]", _session_spec(row["spec"]), row["id"])
        sql = "UPDATE measurements SET blocks = ?, warmup_s = ?, spec = ? WHERE id = ?"
        db.conn.execute(sql, values)
    for row in list(db.query("SELECT id, plan FROM campaigns")):
        plan = json.loads(row["plan"])
        plan["specs"] = [json.loads(_session_spec(json.dumps(spec))) for spec in plan["specs"]]
        db.conn.execute("UPDATE campaigns SET plan = ? WHERE id = ?", (json.dumps(plan), row["id"]))


def _blocks(row: dict[str, Any]) -> str:
    witness, runs = json.loads(row["witness"]), row["runs_per_sample"]
    common = {"runs_per_sample": runs, "witness": witness, "session": 0, "rejected": None}
    return json.dumps([{"samples_s": s, **common} for s in json.loads(row["samples_s"])])


def _session_spec(spec: str) -> str:
    """A spec of rounds as one of sessions; what it did not say is left to today's defaults."""
    values = json.loads(spec)
    if "round_s" in values:
        values["block_s"] = values.pop("round_s")
        values |= {"min_sessions": 1, "max_sessions": 1}
        values["sample_s"] = max(values["sample_s"], 1e-4)
    return json.dumps(values)


@migrations()
def m005_trust(db: Database) -> None:
    """Anchors, measurements that are kept but no longer count, quarantines, epochs, certificates.

    SQLite changes no CHECK and drops no UNIQUE of a table: three tables are written anew, children
    first, so that no row ever refers to one that is gone.
    """
    db.conn.execute("DROP VIEW pending")
    db.conn.execute(
        """CREATE TABLE new_requests (
            id INTEGER PRIMARY KEY, campaign TEXT REFERENCES campaigns(id),
            network TEXT NOT NULL, device TEXT NOT NULL,
            purpose TEXT NOT NULL CHECK (purpose IN ('learn', 'holdout', 'query', 'anchor')),
            requested_at TEXT NOT NULL, UNIQUE (campaign, network, device)) STRICT"""
    )
    db.conn.execute(
        """CREATE TABLE new_measurements (
            id INTEGER PRIMARY KEY, request INTEGER NOT NULL REFERENCES new_requests(id),
            network TEXT NOT NULL, device TEXT NOT NULL,
            fingerprint TEXT NOT NULL REFERENCES facts(fingerprint), build_key TEXT,
            spec TEXT NOT NULL, blocks TEXT NOT NULL, warmup_s TEXT NOT NULL,
            device_s REAL NOT NULL, measured_at TEXT NOT NULL, exact INTEGER NOT NULL DEFAULT 0,
            clock_probe_s REAL, warmup_taken_s REAL NOT NULL DEFAULT 0, retired TEXT) STRICT"""
    )
    db.conn.execute(
        """CREATE TABLE new_failures (
            id INTEGER PRIMARY KEY, request INTEGER NOT NULL REFERENCES new_requests(id),
            kind TEXT NOT NULL, message TEXT NOT NULL, final INTEGER NOT NULL,
            failed_at TEXT NOT NULL) STRICT"""
    )
    tables = ("requests", "measurements", "failures")
    for table in tables:
        names = ", ".join(column.name for column in db[table].columns)
        db.conn.execute(f"INSERT INTO new_{table} ({names}) SELECT {names} FROM {table}")
    for table in reversed(tables):
        db.conn.execute(f"DROP TABLE {table}")
    for table in tables:
        db.conn.execute(f"ALTER TABLE new_{table} RENAME TO {table}")
    for statement in _TRUST:
        db.conn.execute(statement)


_TRUST = (
    "CREATE INDEX measurements_of ON measurements (device, network)",
    "CREATE UNIQUE INDEX one_measurement ON measurements (request) WHERE retired IS NULL",
    "CREATE INDEX measurements_for ON measurements (request)",
    "CREATE INDEX failures_for ON failures (request)",
    "CREATE UNIQUE INDEX one_end ON failures (request) WHERE final",
    # An anchor that was not measured is not waited for: the next session asks anew.
    """CREATE VIEW pending AS SELECT requests.* FROM requests WHERE purpose <> 'anchor'
        AND NOT EXISTS (
            SELECT 1 FROM measurements WHERE request = requests.id AND retired IS NULL)
        AND NOT EXISTS (SELECT 1 FROM failures WHERE request = requests.id AND final)""",
    "ALTER TABLE facts ADD COLUMN last_seen_at TEXT",
    "UPDATE facts SET last_seen_at = first_seen_at",
    """CREATE TABLE quarantines (
        id INTEGER PRIMARY KEY, device TEXT NOT NULL, at TEXT NOT NULL, reason TEXT NOT NULL,
        manual INTEGER NOT NULL, released_at TEXT) STRICT""",
    "CREATE UNIQUE INDEX one_quarantine ON quarantines (device) WHERE released_at IS NULL",
    """CREATE TABLE epochs (
        fingerprint TEXT PRIMARY KEY REFERENCES facts(fingerprint), device TEXT NOT NULL,
        base TEXT NOT NULL REFERENCES facts(fingerprint),
        decision TEXT NOT NULL CHECK (decision IN ('first', 'same', 'rebased', 'retired')),
        factor REAL NOT NULL, reason TEXT NOT NULL, decided_at TEXT NOT NULL) STRICT""",
    """CREATE TABLE certificates (
        id INTEGER PRIMARY KEY, device TEXT NOT NULL, fingerprint TEXT NOT NULL,
        checked_at TEXT NOT NULL, certificate TEXT NOT NULL) STRICT""",
    "CREATE INDEX certificates_of ON certificates (device)",
)


@migrations()
def m006_references(db: Database) -> None:
    """How slow the device was in each session, by its reference networks: not known before."""
    db.conn.execute("ALTER TABLE measurements ADD COLUMN slowdown TEXT NOT NULL DEFAULT '[]'")


@migrations()
def m007_words_and_samples(db: Database) -> None:
    """The words of the glossary; samples apart from what is scanned; sums; versions of the rules.

    Three tables are written anew, children first, as in `m005_trust`. Reasons that were stored as
    `kind: reason` become what they were made of.
    """
    db.conn.execute("DROP VIEW pending")
    for statement in _NEW_TABLES:
        db.conn.execute(statement)
    for row in list(db.query("SELECT id, blocks, warmup_s FROM measurements ORDER BY id")):
        values = (row["id"], _in_todays_words(row["blocks"]), row["warmup_s"])
        db.conn.execute("INSERT INTO samples VALUES (?, ?, ?)", values)
    for statement in _RENAMED:
        db.conn.execute(statement)


@migrations()
def m008_baselines(db: Database) -> None:
    """What control networks took in the sessions of a measurement, in place of how slow they were;
    baselines in rows, and stretches of a device's control chart."""
    for sql in _BASELINES:
        db.conn.execute(sql)
    found = db.conn.execute(
        """SELECT fingerprint, measurements.network, build_key, blocks, clock_probe_s
           FROM measurements JOIN samples ON measurement = measurements.id
           JOIN requests ON requests.id = request AND purpose = 'control'
           WHERE invalidated IS NULL ORDER BY measurements.id"""
    ).fetchall()
    fixed: dict[tuple[str, str, str], float] = {}
    for fingerprint, network, build_key, blocks, probe_s in found:
        fixed.setdefault((fingerprint, network, build_key or ""), _typical_s(json.loads(blocks)))
        if probe_s is not None:
            fixed.setdefault((fingerprint, "clock", ""), probe_s)
    for (fingerprint, network, build_key), level_s in fixed.items():
        # What was measured before was told at these: they stay.
        rounds_s = json.dumps([level_s] * 5)
        values = [fingerprint, network, build_key, rounds_s]
        db.conn.execute("INSERT INTO baselines VALUES (?, ?, ?, ?)", values)
    slow = db.conn.execute("SELECT id, slowdown FROM measurements WHERE slowdown <> '[]'")
    for id, slowdown in slow.fetchall():
        # Its baseline was divided out already.
        rows = [[times] for times in json.loads(slowdown)]
        controls = [{"series": ["", None], "blocks_s": rows, "level_s": 1.0}]
        sql = "UPDATE measurements SET controls = ? WHERE id = ?"
        db.conn.execute(sql, [json.dumps(controls), id])
    db.conn.execute("ALTER TABLE measurements DROP COLUMN slowdown")


_BASELINES = (
    "ALTER TABLE measurements ADD COLUMN controls TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE measurements ADD COLUMN group_spread REAL",
    """CREATE TABLE baselines (
        fingerprint TEXT NOT NULL REFERENCES facts(fingerprint), network TEXT NOT NULL,
        build_key TEXT NOT NULL, rounds_s TEXT NOT NULL,
        PRIMARY KEY (fingerprint, network, build_key)) STRICT""",
    """CREATE TABLE stretches (
        id INTEGER PRIMARY KEY, device TEXT NOT NULL,
        fingerprint TEXT NOT NULL REFERENCES facts(fingerprint), after INTEGER NOT NULL,
        shift REAL NOT NULL, reason TEXT NOT NULL, began_at TEXT NOT NULL) STRICT""",
)


@migrations()
def m009_batch_of_files(db: Database) -> None:
    """A device's batch size was measured of every ONNX file, whatever the file said: these results
    are of another network, and do not count any more."""
    _, _, file = db.conn.execute("PRAGMA database_list").fetchone()
    models = StoredModels(Path(file).parent)
    found = db.conn.execute(
        """SELECT id, network, spec ->> 'batch' FROM measurements
           WHERE network LIKE 'onnx/%' AND invalidated IS NULL AND spec ->> 'batch' IS NOT NULL"""
    )
    for id, network, measured in found.fetchall():
        said = models.batch(network.removeprefix("onnx/"))
        if said not in (None, measured):
            reason = f"measured at batch size {measured}, but the ONNX file says {said}"
            sql = "UPDATE measurements SET invalidated = ? WHERE id = ?"
            db.conn.execute(sql, [reason, id])


@migrations()
def m010_kernels(db: Database) -> None:
    """Kernels are asked for and measured as networks are; a campaign counts them apart.

    calls: how often a network calls each kernel, at a batch size, as `planner` divides it up;
    `kernels` is JSON, counts by the id of the kernel.
    """
    # The one way to change a CHECK without rebuilding what refers to the table
    # (https://sqlite.org/lang_altertable.html, section 7).
    version = db.conn.execute("PRAGMA schema_version").fetchone()[0]
    db.conn.execute("PRAGMA writable_schema = ON")
    db.conn.execute(
        """UPDATE sqlite_schema SET sql = replace(sql, "'query', 'control')",
           "'query', 'control', 'kernel')") WHERE type = 'table' AND name = 'requests'"""
    )
    db.conn.execute(f"PRAGMA schema_version = {version + 1}")
    db.conn.execute("PRAGMA writable_schema = OFF")
    for sql in _KERNELS:
        db.conn.execute(sql)


@migrations()
def m011_reuses_and_stops(db: Database) -> None:
    """What is known is not measured again: a request may have the measurement of another one as its
    outcome. A device of a campaign stops before its budget is spent, where its goal is reached."""
    for sql in _REUSES:
        db.conn.execute(sql)


@migrations()
def m012_precision_of_requests(db: Database) -> None:
    """How well a latency is wanted, where that is less well than the device measures by itself."""
    db.conn.execute("ALTER TABLE requests ADD COLUMN half_width REAL")


@migrations()
def m013_reference_sets(db: Database) -> None:
    """Sets of reference devices, each with a normalisation that is fitted once; and which of them
    was used when."""
    db.conn.execute(
        """CREATE TABLE reference_sets (
            version TEXT PRIMARY KEY, space TEXT NOT NULL, devices TEXT NOT NULL,
            batches TEXT NOT NULL, flush_bytes TEXT NOT NULL, revisions TEXT NOT NULL,
            unit_s TEXT NOT NULL, mean TEXT NOT NULL, scale TEXT NOT NULL,
            networks TEXT NOT NULL, fitted_at TEXT NOT NULL) STRICT"""
    )
    db.conn.execute(
        """CREATE TABLE reference_uses (
            id INTEGER PRIMARY KEY, version TEXT NOT NULL REFERENCES reference_sets(version),
            used_at TEXT NOT NULL) STRICT"""
    )


@migrations()
def m014_leases(db: Database) -> None:
    """Which process holds what, or waits for it. A token is given when a claim is granted, and
    only grows; the rows of a claim share it."""
    db.conn.execute(
        """CREATE TABLE leases (
            id INTEGER PRIMARY KEY, claim INTEGER NOT NULL, thing TEXT NOT NULL,
            holder TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, mark TEXT NOT NULL,
            doing TEXT NOT NULL, campaign TEXT REFERENCES campaigns(id), token INTEGER,
            asked_at TEXT NOT NULL, taken_at TEXT, expires_at TEXT NOT NULL,
            ended_at TEXT) STRICT"""
    )
    db.conn.execute("CREATE INDEX live_leases ON leases (claim, id) WHERE ended_at IS NULL")
    db.conn.execute("CREATE INDEX lease_tokens ON leases (token)")
    db.conn.execute("CREATE INDEX lease_claims ON leases (claim)")


@migrations()
def m015_proxies(db: Database) -> None:
    """Zero-cost proxies of networks, by what decides them."""
    db.conn.execute(
        """CREATE TABLE proxies (
            version TEXT NOT NULL, network TEXT NOT NULL, seed INTEGER NOT NULL,
            batch INTEGER NOT NULL, proxies TEXT NOT NULL, computed_at TEXT NOT NULL,
            PRIMARY KEY (version, seed, batch, network)) STRICT, WITHOUT ROWID"""
    )


@migrations()
def m016_news(db: Database) -> None:
    """What is new of each device, so that whoever knows its rows need not look at them again."""
    for sql in _NEWS:
        db.conn.execute(sql)


_SEEN_LAST = """(SELECT fingerprint FROM facts WHERE device = OLD.device
    ORDER BY last_seen_at DESC, rowid DESC LIMIT 1)"""

_TOLD_ANEW = """INSERT INTO news (device) SELECT {device} WHERE {device} IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM news WHERE device = {device});
    UPDATE news SET told = told + 1 WHERE device = {device}"""
_OF_FINGERPRINT = "(SELECT device FROM facts WHERE fingerprint = {row}.fingerprint)"

_NEWS = (
    """CREATE TABLE news (
        device TEXT PRIMARY KEY, added INTEGER NOT NULL DEFAULT 0,
        dropped INTEGER NOT NULL DEFAULT 0, told INTEGER NOT NULL DEFAULT 0)
        STRICT, WITHOUT ROWID""",
    """INSERT INTO news (device, added)
        SELECT device, max(id) FROM measurements GROUP BY device""",
    """CREATE TRIGGER added_news AFTER INSERT ON measurements BEGIN
        INSERT INTO news (device) SELECT NEW.device
            WHERE NOT EXISTS (SELECT 1 FROM news WHERE device = NEW.device);
        UPDATE news SET added = NEW.id WHERE device = NEW.device; END""",
    """CREATE TRIGGER dropped_news AFTER UPDATE OF invalidated ON measurements BEGIN
        UPDATE news SET dropped = dropped + 1 WHERE device = NEW.device; END""",
    # Latencies are told as the device was seen last: it is news when that is another one.
    f"""CREATE TRIGGER seen_news BEFORE UPDATE OF last_seen_at ON facts
        WHEN OLD.fingerprint IS NOT {_SEEN_LAST} BEGIN
        {_TOLD_ANEW.format(device="NEW.device")}; END""",
    f"""CREATE TRIGGER found_news AFTER INSERT ON facts BEGIN
        {_TOLD_ANEW.format(device="NEW.device")}; END""",
    f"""CREATE TRIGGER revised_news AFTER INSERT ON revisions BEGIN
        {_TOLD_ANEW.format(device="NEW.device")}; END""",
    *(
        f"""CREATE TRIGGER baseline_{event.lower()}_news AFTER {event} ON baselines BEGIN
        {_TOLD_ANEW.format(device=_OF_FINGERPRINT.format(row=row))}; END"""
        for event, row in (("INSERT", "NEW"), ("DELETE", "OLD"))
    ),
)


@migrations()
def m018_failures_taken_up(db: Database) -> None:
    """A failure that was final may be so no longer: its request is tried again."""
    db.conn.execute(
        f"""CREATE TRIGGER taken_up AFTER UPDATE OF final ON failures BEGIN
            UPDATE totals SET
                failed = failed + (NEW.final - OLD.final)
                    * (SELECT purpose <> 'kernel' FROM requests WHERE id = NEW.request),
                kernels_failed = kernels_failed + (NEW.final - OLD.final)
                    * (SELECT purpose = 'kernel' FROM requests WHERE id = NEW.request)
                {_OF_REQUEST}; END"""
    )


@migrations()
def m019_packed_samples(db: Database) -> None:
    """Samples as bytes, in place of JSON; what cannot be read stays as it is, compressed."""
    db.conn.execute(
        """CREATE TABLE new_samples (
            measurement INTEGER PRIMARY KEY REFERENCES measurements(id),
            packed BLOB NOT NULL) STRICT"""
    )
    found = db.conn.execute(
        """SELECT measurement, blocks, warmup_s, spec FROM samples
           JOIN measurements ON id = measurement ORDER BY measurement"""
    )
    for id, *texts in found:
        db.conn.execute("INSERT INTO new_samples VALUES (?, ?)", [id, _packed(*texts)])
    db.conn.execute("DROP TABLE samples")
    db.conn.execute("ALTER TABLE new_samples RENAME TO samples")


def _packed(blocks: str, warmup_s: str, spec: str) -> bytes:
    try:
        sample_s = float(json.loads(spec)["sample_s"])
        return packed([_block(one) for one in json.loads(blocks)], json.loads(warmup_s), sample_s)
    except UNREADABLE:
        return zlib.compress(json.dumps([blocks, warmup_s]).encode())


def _block(value: dict[str, Any]) -> Block:
    rejected = None if value["rejected"] is None else Rejection(**value["rejected"])
    return Block(**{**value, "samples_s": tuple(value["samples_s"]), "rejected": rejected})


@migrations()
def m020_texts(db: Database) -> None:
    """What measurements have alike is stored once: how they were measured, and the control networks
    of those that were measured together."""
    db.conn.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT")
    for column, nothing in (("spec", ""), ("controls", "[]")):
        for sql in _SHARED:
            values = {"nothing": nothing} if ":nothing" in sql else {}
            db.conn.execute(sql.format(column=column), values)


_SHARED = (
    """INSERT OR IGNORE INTO texts (text)
        SELECT {column} FROM measurements WHERE {column} <> :nothing""",
    "ALTER TABLE measurements ADD COLUMN new_{column} INTEGER REFERENCES texts(id)",
    "UPDATE measurements SET new_{column} = (SELECT id FROM texts WHERE text = {column}) "
    "WHERE {column} <> :nothing",
    "ALTER TABLE measurements DROP COLUMN {column}",
    "ALTER TABLE measurements RENAME COLUMN new_{column} TO {column}",
)


@migrations()
def m021_tokens(db: Database) -> None:
    """Who may use the service; of a token only its digest is kept."""
    db.conn.execute(
        """CREATE TABLE tokens (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL,
            role TEXT NOT NULL CHECK (role IN ('reader', 'user', 'admin')),
            digest TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL, expires_at TEXT,
            revoked_at TEXT) STRICT"""
    )
    db.conn.execute("CREATE UNIQUE INDEX token_names ON tokens (name) WHERE revoked_at IS NULL")


@migrations()
def m022_served(db: Database) -> None:
    """Which campaigns the service runs, and who asked for each."""
    db.conn.execute(
        """CREATE TABLE served (
            campaign TEXT PRIMARY KEY REFERENCES campaigns(id), asked_by TEXT NOT NULL,
            asked_at TEXT NOT NULL) STRICT"""
    )


@migrations()
def m023_events(db: Database) -> None:
    """What happened, in order, for whoever watches."""
    for sql in EVENTS:
        db.conn.execute(sql)


@migrations()
def m024_turns(db: Database) -> None:
    """For whom a process asks for something, and until when it is to be done: these say whose turn
    it is. Nobody knows of what was asked before."""
    db.conn.execute("ALTER TABLE leases ADD COLUMN asked_by TEXT NOT NULL DEFAULT ''")
    db.conn.execute("ALTER TABLE leases ADD COLUMN deadline TEXT")


@migrations()
def m025_why(db: Database) -> None:
    """Why a campaign chose a network. Nobody knows of what was chosen before."""
    db.conn.execute("ALTER TABLE requests ADD COLUMN why INTEGER REFERENCES texts(id)")


@migrations()
def m026_probes(db: Database) -> None:
    """Baselines hold several probes, by the names that telemetry has for them. The clock's was
    another piece of work, which a neighbour on the same core made slower: it is learnt anew."""
    db.conn.execute("DELETE FROM baselines WHERE network = 'clock'")


_OF_REUSES = """UPDATE totals SET measured = measured {sign} 1 WHERE (campaign, device) = (
    SELECT campaign, device FROM requests WHERE id = {row}.request)"""

_REUSES = (
    """CREATE TABLE reuses (
        request INTEGER PRIMARY KEY REFERENCES requests(id),
        measurement INTEGER NOT NULL REFERENCES measurements(id)) STRICT""",
    "CREATE INDEX reuses_of ON reuses (measurement)",
    """CREATE TABLE stops (
        campaign TEXT NOT NULL REFERENCES campaigns(id), device TEXT NOT NULL,
        reason TEXT NOT NULL, stopped_at TEXT NOT NULL,
        PRIMARY KEY (campaign, device)) STRICT, WITHOUT ROWID""",
    "DROP VIEW pending",
    """CREATE VIEW pending AS SELECT requests.* FROM requests WHERE purpose <> 'control'
        AND NOT EXISTS (
            SELECT 1 FROM measurements WHERE request = requests.id AND invalidated IS NULL)
        AND NOT EXISTS (SELECT 1 FROM reuses WHERE request = requests.id)
        AND NOT EXISTS (SELECT 1 FROM failures WHERE request = requests.id AND final)""",
    f"""CREATE TRIGGER reused AFTER INSERT ON reuses BEGIN
        {_OF_REUSES.format(sign="+", row="NEW")}; END""",
    f"""CREATE TRIGGER not_reused AFTER DELETE ON reuses BEGIN
        {_OF_REUSES.format(sign="-", row="OLD")}; END""",
    # What no longer counts is nobody's outcome: its requests wait again.
    """CREATE TRIGGER reused_no_more AFTER UPDATE OF invalidated ON measurements
        WHEN NEW.invalidated IS NOT NULL BEGIN
        DELETE FROM reuses WHERE measurement = NEW.id; END""",
)


_OF_REQUEST = """WHERE (campaign, device) = (
    SELECT campaign, device FROM requests WHERE id = NEW.request)"""

_KERNELS = (
    """CREATE TABLE kernels (
        id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE, definition TEXT NOT NULL) STRICT""",
    """CREATE TABLE calls (
        planner TEXT NOT NULL, batch INTEGER NOT NULL, network TEXT NOT NULL,
        kernels TEXT NOT NULL, PRIMARY KEY (planner, batch, network)) STRICT, WITHOUT ROWID""",
    *(
        f"ALTER TABLE totals ADD COLUMN {column} NOT NULL DEFAULT 0"
        for column in (
            *("kernels INTEGER", "kernels_measured INTEGER"),
            *("kernels_failed INTEGER", "kernels_device_s REAL"),
        )
    ),
    *(f"DROP TRIGGER {name}" for name in ("requested", "measured", "invalidated", "failed")),
    """CREATE TRIGGER requested AFTER INSERT ON requests WHEN NEW.campaign IS NOT NULL BEGIN
        INSERT INTO totals (campaign, device, requested, measured, failed, device_s)
            SELECT NEW.campaign, NEW.device, 0, 0, 0, 0.0 WHERE NOT EXISTS (
                SELECT 1 FROM totals WHERE campaign = NEW.campaign AND device = NEW.device);
        UPDATE totals SET requested = requested + (NEW.purpose <> 'kernel'),
            kernels = kernels + (NEW.purpose = 'kernel')
            WHERE campaign = NEW.campaign AND device = NEW.device; END""",
    f"""CREATE TRIGGER measured AFTER INSERT ON measurements BEGIN
        UPDATE totals SET device_s = device_s + NEW.device_s,
            measured = measured + (NEW.invalidated IS NULL AND NEW.network NOT LIKE 'kernel/%'),
            kernels_measured = kernels_measured
                + (NEW.invalidated IS NULL AND NEW.network LIKE 'kernel/%'),
            kernels_device_s = kernels_device_s
                + iif(NEW.network LIKE 'kernel/%', NEW.device_s, 0.0)
            {_OF_REQUEST}; END""",
    f"""CREATE TRIGGER invalidated AFTER UPDATE OF invalidated ON measurements BEGIN
        UPDATE totals SET measured = measured + iif(NEW.network LIKE 'kernel/%', 0,
                (NEW.invalidated IS NULL) - (OLD.invalidated IS NULL)),
            kernels_measured = kernels_measured + iif(NEW.network LIKE 'kernel/%',
                (NEW.invalidated IS NULL) - (OLD.invalidated IS NULL), 0)
            {_OF_REQUEST}; END""",
    f"""CREATE TRIGGER failed AFTER INSERT ON failures WHEN NEW.final BEGIN
        UPDATE totals SET
            failed = failed + (SELECT purpose <> 'kernel' FROM requests WHERE id = NEW.request),
            kernels_failed = kernels_failed
                + (SELECT purpose = 'kernel' FROM requests WHERE id = NEW.request)
            {_OF_REQUEST}; END""",
)


def _typical_s(blocks: list[dict[str, Any]]) -> float:
    """The median over the blocks that count of their lower quartiles."""
    good = [block for block in blocks if block["rejected"] is None] or blocks
    quartiles = [
        quantiles(samples, n=4, method="inclusive")[0] if len(samples) > 1 else samples[0]
        for samples in (block["samples_s"] for block in good)
    ]
    return float(median(quartiles))


def _in_todays_words(blocks: str) -> str:
    renamed = []
    for block in json.loads(blocks):
        block["telemetry"] = block.pop("witness")
        kind, _, reason = (block.get("rejected") or "").partition(": ")
        block["rejected"] = {"kind": kind, "reason": reason} if kind else None
        renamed.append(block)
    return json.dumps(renamed)


_MEASURED = """id, request, network, device, fingerprint, build_key, spec, device_s, measured_at,
    exact, clock_probe_s, warmup_taken_s, slowdown"""

_NEW_TABLES = (
    """CREATE TABLE new_requests (
        id INTEGER PRIMARY KEY, campaign TEXT REFERENCES campaigns(id),
        network TEXT NOT NULL, device TEXT NOT NULL,
        purpose TEXT NOT NULL CHECK (purpose IN ('learn', 'holdout', 'query', 'control')),
        requested_at TEXT NOT NULL, UNIQUE (campaign, network, device)) STRICT""",
    # rules: version of the rules that gave the verdict; 0 for those of before they had one, whose
    # verdicts were given anew whenever they were read.
    """CREATE TABLE new_measurements (
        id INTEGER PRIMARY KEY, request INTEGER NOT NULL REFERENCES new_requests(id),
        network TEXT NOT NULL, device TEXT NOT NULL,
        fingerprint TEXT NOT NULL REFERENCES facts(fingerprint), build_key TEXT,
        spec TEXT NOT NULL, device_s REAL NOT NULL, measured_at TEXT NOT NULL,
        exact INTEGER NOT NULL DEFAULT 0, clock_probe_s REAL,
        warmup_taken_s REAL NOT NULL DEFAULT 0, slowdown TEXT NOT NULL DEFAULT '[]',
        rules INTEGER NOT NULL DEFAULT 0, verdict TEXT, invalidated TEXT) STRICT""",
    """CREATE TABLE new_failures (
        id INTEGER PRIMARY KEY, request INTEGER NOT NULL REFERENCES new_requests(id),
        kind TEXT NOT NULL, message TEXT NOT NULL, final INTEGER NOT NULL,
        failed_at TEXT NOT NULL) STRICT""",
    """CREATE TABLE samples (
        measurement INTEGER PRIMARY KEY REFERENCES new_measurements(id),
        blocks TEXT NOT NULL, warmup_s TEXT NOT NULL) STRICT""",
    """INSERT INTO new_requests SELECT id, campaign, network, device,
        iif(purpose = 'anchor', 'control', purpose), requested_at FROM requests""",
    f"""INSERT INTO new_measurements ({_MEASURED}, invalidated)
        SELECT {_MEASURED}, retired FROM measurements""",
    "INSERT INTO new_failures SELECT * FROM failures",
)

_RENAMED = (
    "DROP TABLE failures",
    "DROP TABLE measurements",
    "DROP TABLE requests",
    "ALTER TABLE new_requests RENAME TO requests",
    "ALTER TABLE new_measurements RENAME TO measurements",
    "ALTER TABLE new_failures RENAME TO failures",
    "CREATE INDEX measurements_of ON measurements (device, network)",
    "CREATE UNIQUE INDEX one_measurement ON measurements (request) WHERE invalidated IS NULL",
    "CREATE INDEX measurements_for ON measurements (request)",
    "CREATE INDEX failures_for ON failures (request)",
    "CREATE UNIQUE INDEX one_end ON failures (request) WHERE final",
    # A control network that was not measured is not waited for: the next run asks anew.
    """CREATE VIEW pending AS SELECT requests.* FROM requests WHERE purpose <> 'control'
        AND NOT EXISTS (
            SELECT 1 FROM measurements WHERE request = requests.id AND invalidated IS NULL)
        AND NOT EXISTS (SELECT 1 FROM failures WHERE request = requests.id AND final)""",
    "ALTER TABLE sessions RENAME TO runs",
    "CREATE INDEX runs_of ON runs (campaign)",
    """CREATE TABLE revisions (
        fingerprint TEXT PRIMARY KEY REFERENCES facts(fingerprint), device TEXT NOT NULL,
        base TEXT NOT NULL REFERENCES facts(fingerprint),
        decision TEXT NOT NULL CHECK (decision IN ('first', 'same', 'rebased', 'invalidated')),
        factor REAL NOT NULL, reason TEXT NOT NULL, decided_at TEXT NOT NULL) STRICT""",
    """INSERT INTO revisions SELECT fingerprint, device, base,
        iif(decision = 'retired', 'invalidated', decision), factor, reason, decided_at
        FROM epochs ORDER BY rowid""",
    "DROP TABLE epochs",
    # What a campaign has come to, so that progress costs the same at any number of rows. SQLite
    # keeps it in the transaction of the row that it counts; nothing else writes it.
    """CREATE TABLE totals (
        campaign TEXT NOT NULL REFERENCES campaigns(id), device TEXT NOT NULL,
        requested INTEGER NOT NULL, measured INTEGER NOT NULL, failed INTEGER NOT NULL,
        device_s REAL NOT NULL, PRIMARY KEY (campaign, device)) STRICT, WITHOUT ROWID""",
    """INSERT INTO totals SELECT campaign, device, count(*),
        sum(EXISTS (SELECT 1 FROM measurements WHERE request = r.id AND invalidated IS NULL)),
        sum(EXISTS (SELECT 1 FROM failures WHERE request = r.id AND final)),
        sum((SELECT total(device_s) FROM measurements WHERE request = r.id))
        FROM requests AS r WHERE campaign IS NOT NULL GROUP BY campaign, device""",
    # An upsert would take the conflict policy of the statement that fires the trigger.
    """CREATE TRIGGER requested AFTER INSERT ON requests WHEN NEW.campaign IS NOT NULL BEGIN
        INSERT INTO totals SELECT NEW.campaign, NEW.device, 0, 0, 0, 0.0 WHERE NOT EXISTS (
            SELECT 1 FROM totals WHERE campaign = NEW.campaign AND device = NEW.device);
        UPDATE totals SET requested = requested + 1
            WHERE campaign = NEW.campaign AND device = NEW.device; END""",
    """CREATE TRIGGER measured AFTER INSERT ON measurements BEGIN
        UPDATE totals SET measured = measured + (NEW.invalidated IS NULL),
            device_s = device_s + NEW.device_s
            WHERE (campaign, device) = (
                SELECT campaign, device FROM requests WHERE id = NEW.request); END""",
    """CREATE TRIGGER invalidated AFTER UPDATE OF invalidated ON measurements BEGIN
        UPDATE totals SET measured =
            measured + (NEW.invalidated IS NULL) - (OLD.invalidated IS NULL)
            WHERE (campaign, device) = (
                SELECT campaign, device FROM requests WHERE id = NEW.request); END""",
    """CREATE TRIGGER failed AFTER INSERT ON failures WHEN NEW.final BEGIN
        UPDATE totals SET failed = failed + 1
            WHERE (campaign, device) = (
                SELECT campaign, device FROM requests WHERE id = NEW.request); END""",
)
