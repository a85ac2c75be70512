"""Reading and writing the database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.core.errors import StoreError, StoreNewer
from farm.core.values import Network
from farm.measurement.drift_correction import Baseline
from farm.measurement.record import Failure, Measurement
from farm.store import rows
from farm.store.builds import BuildStore
from farm.store.campaigns import CampaignStore
from farm.store.connection import connect, connect_to_read, writable
from farm.store.edge import Row, readable, translated
from farm.store.events import EventStore
from farm.store.migrations import migrations
from farm.store.onnx_models import StoredModels
from farm.store.overview import OverviewStore
from farm.store.pending import PendingStore, requests
from farm.store.served import ServedStore
from farm.store.sqlite import Database
from farm.store.tokens import TokenStore
from farm.store.values import Request

_ASKED = f"{rows.MEASURED}, requests.id AS wanted, campaign, purpose, half_width"
_OWN = f"SELECT {_ASKED} FROM {rows.WITH_SAMPLES} JOIN requests ON requests.id = request"
_SHARED = f"""SELECT {_ASKED} FROM reuses JOIN requests ON requests.id = reuses.request
    JOIN measurements ON measurements.id = reuses.measurement
    JOIN samples ON samples.measurement = measurements.id"""


class Store(
    CampaignStore, BuildStore, OverviewStore, EventStore, PendingStore, TokenStore, ServedStore
):
    """The database in `folder`; a context manager.

    create: make it where it is missing; else that is a StoreError.
    One that cannot be written, as on a read-only disk, can be read all the same.
    Where it holds leases, each write says LeaseLost once another process has taken one over.
    Raises StoreNewer for a database of a later farm, StoreFull where the disk is full, and
    StoreError for anything else that SQLite has to say.
    """

    def __init__(self, folder: Path, create: bool = True) -> None:
        self.folder = folder
        self.path = folder / "farm.db"
        self.models = StoredModels(folder)
        self._pending = {}
        self.held = {}
        if self.path.is_symlink():
            raise StoreError(f"{self.path} must be a file, not a link; name another --store")
        if not create and not self.path.exists():
            raise StoreError(
                f"no store in {folder}; `farm launch` makes one, --store names another"
            )
        with translated(self.path):
            if create:
                _create(self.path)
            self._writable = writable(self.path)
            self._db = (connect if self._writable else connect_to_read)(self.path)
            self._migrate()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self._db.close()

    def _migrate(self) -> None:
        known = [migration.name for migration in migrations.pending(Database(memory=True))]
        newer = [m.name for m in migrations.applied(self._db) if m.name not in known]
        if newer:
            self._db.close()
            raise StoreNewer(
                f"{self.path} was written by a later version of the farm (it has {newer[0]!r}); "
                "update the farm, or name another --store"
            )
        if migrations.pending(self._db):
            if not self._writable:
                self._db.close()
                raise StoreError(
                    f"{self.path} was written by an earlier version of the farm and cannot be "
                    "written here; read it once where it can be, or copy its folder and name the "
                    "copy with --store"
                )
            with self._writing():
                migrations.apply(self._db)

    # Requests and outcomes

    def add_requests(
        self,
        campaign: str | None,
        networks: Iterable[Network],
        devices: Sequence[str],
        purpose: str,
        half_width: float | None = None,
        why: str | None = None,
    ) -> None:
        """Ask for every network on every device; what the campaign asked for already stays one.

        half_width: see `Request`. why: see `Choice`.
        """
        at = rows.now()
        with self._writing():
            reason = self._text(why)
            for network in networks:
                for device in devices:
                    self._ask(campaign, network, device, purpose, at, half_width, reason)

    def _ask(
        self,
        campaign: str | None,
        network: Network,
        device: str,
        purpose: str,
        at: str,
        half_width: float | None = None,
        why: int | None = None,
    ) -> int:
        row: dict[str, Any] = {"campaign": campaign, "network": network.id, "device": device}
        row |= {"purpose": purpose, "requested_at": at, "half_width": half_width, "why": why}
        return self._insert("requests", row, "IGNORE")

    def query_requests(self, networks: Sequence[Network], device: str) -> dict[Network, Request]:
        """Ask for networks outside any campaign; what a killed query left behind is taken up."""
        waiting = self._queried(networks, device)
        new = [network for network in networks if network not in waiting]
        self.add_requests(None, new, [device], "query")
        return waiting | self._queried(new, device)

    def _queried(self, networks: Sequence[Network], device: str) -> dict[Network, Request]:
        """The oldest request of a query without an outcome, for each network that has one."""
        wanted = set(networks)
        found = [r for r in self.pending(None) if r.device == device and r.network in wanted]
        return {request.network: request for request in reversed(found)}

    def control_requests(self, networks: Sequence[Network], device: str) -> list[Request]:
        """Ask for a round of control networks on a device, outside any campaign."""
        at = rows.now()
        with self._writing():
            ids = [self._ask(None, network, device, "control", at) for network in networks]
        return [
            Request(id, None, network, device, "control")
            for id, network in zip(ids, networks, strict=True)
        ]

    def requests(self, campaign: str, purpose: str | None = None) -> list[Request]:
        """The campaign's requests in the order in which they were chosen."""
        sql = "SELECT * FROM requests WHERE campaign = ? AND ifnull(purpose = ?, 1) ORDER BY id"
        return requests(self._rows(sql, campaign, purpose))

    def failed_attempts(self, request: int, but: Collection[str] = ()) -> int:
        """How often a request failed. but: kinds of failures that do not count."""
        sql = f"""SELECT count(*) FROM failures WHERE request = ?
                  AND kind NOT IN ({", ".join("?" * len(but))})"""
        return int(self._value(sql, request, *but))

    def record(self, request: Request, outcome: Measurement | Failure, final: bool = True) -> int:
        """Store what came of a request, before anything else happens; the id of its row.

        final: of a failure: nobody will try again. A second end of a request is refused.
        """
        with self._writing():
            if isinstance(outcome, Measurement):
                if request.purpose == "control":
                    self._refine_baseline(outcome)
                return self._add(request, outcome)
            row = {"request": request.id, "kind": outcome.kind, "message": outcome.message}
            row |= {"final": int(final), "failed_at": rows.now()}
            return self._insert("failures", row)

    def record_again(self, request: Request, measurement: Measurement) -> bool:
        """Store another measurement of a request that has one; the one with the wider interval no
        longer counts. Whether that is the older one."""
        before = self._counted(request)
        better = before is None or measurement.half_width < before.half_width
        reason = None if better else "measured again, with no narrower interval"
        with self._writing():
            sharing = self._superseded(request) if better else []
            id = self._add(request, measurement, reason)
            for other in sharing:
                self._insert("reuses", {"request": other, "measurement": id})
        return better

    def _superseded(self, request: Request) -> list[int]:
        """Within a transaction: the measurement of a request, its own or another's, is its outcome
        no longer. The requests that shared its own, and are without an outcome now."""
        self._db.conn.execute("DELETE FROM reuses WHERE request = ?", [request.id])
        sql = """SELECT reuses.request FROM reuses
                 JOIN measurements ON measurements.id = measurement
                 WHERE measurements.request = ?"""
        sharing = [int(row["request"]) for row in self._db.query(sql, [request.id])]
        sql = """UPDATE measurements SET invalidated = ?
                 WHERE request = ? AND invalidated IS NULL"""
        self._db.conn.execute(sql, ["measured again, with a narrower interval", request.id])
        return sharing

    def measured_again(self, campaign: str, device: str) -> tuple[int, float]:
        """How many of a device's results were replaced by another measurement of their request, or
        replaced none, and for how many seconds the device was busy with these."""
        sql = """SELECT count(*) AS n, total(device_s) AS s FROM measurements
                 JOIN requests ON requests.id = request
                 WHERE campaign = ? AND requests.device = ?
                 AND invalidated LIKE 'measured again%'"""
        (row,) = self._rows(sql, campaign, device)
        return row["n"], row["s"]

    def _add(self, request: Request, measured: Measurement, invalidated: str | None = None) -> int:
        row = {**rows.measurement_row(request.id, measured), "invalidated": invalidated}
        id = self._insert(
            "measurements", row | {name: self._text(row[name]) for name in rows.SHARED}
        )
        self._insert("samples", rows.samples_row(id, measured))
        return id

    def _text(self, text: str | None) -> int | None:
        """The id of a text that many measurements have alike; None for nothing."""
        if text is None:
            return None
        found = self._db.conn.execute("SELECT id FROM texts WHERE text = ?", [text]).fetchone()
        return int(found[0]) if found else self._insert("texts", {"text": text})

    def _counted(self, request: Request) -> Measurement | None:
        sql = f"""SELECT {rows.MEASURED} FROM {rows.WITH_SAMPLES} WHERE measurements.id IN (
                      SELECT id FROM measurements WHERE request = ? AND invalidated IS NULL
                      UNION ALL SELECT measurement FROM reuses WHERE request = ?)"""
        found = self._rows(sql, request.id, request.id)
        told = readable(found, "measurement", lambda row: self._told(row, {}))
        return told[0][1] if told else None

    def outcome(self, request: Request) -> Measurement | Failure:
        """What came of a request that has ended; raises LookupError for one that has not."""
        measured = self._counted(request)
        if measured is not None:
            return measured
        sql = """SELECT requests.*, kind, message FROM failures
                 JOIN requests ON requests.id = request WHERE request = ? AND final"""
        for row in self._rows(sql, request.id):
            return rows.failure(row)
        raise LookupError(f"request {request.id} has no outcome yet")

    def take_up_failures(self, campaign: str) -> int:
        """Let everything that finally failed in a campaign be tried again; how many that is."""
        sql = """UPDATE failures SET final = 0 WHERE final
                 AND request IN (SELECT id FROM requests WHERE campaign = ?)"""
        with self._writing():
            return self._db.conn.execute(sql, [campaign]).rowcount

    def failures(self, campaign: str) -> list[tuple[Request, Failure]]:
        """What networks finally failed in a campaign, oldest first."""
        sql = """SELECT requests.*, kind, message FROM failures
                 JOIN requests ON requests.id = request
                 WHERE campaign = ? AND final AND purpose != 'kernel' ORDER BY failures.id"""
        found = readable(self._rows(sql, campaign), "request", rows.request)
        return [(request, rows.failure(row)) for row, request in found]

    # Measurements

    def measured(
        self,
        campaign: str | None = None,
        purpose: str | None = None,
        device: str | None = None,
        network: Network | None = None,
    ) -> list[tuple[Request, Measurement]]:
        """Requests and their measurements that match everything given, oldest first.

        Those that were invalidated are left out, and so are control networks and kernels where no
        purpose is given. One that is another request's outcome, too, is told where a campaign or a
        purpose is given.
        """
        match, values = _matching(campaign, purpose, device, network)
        found = self._rows(f"{_OWN} WHERE {match} ORDER BY measurements.id", *values)
        if campaign is not None or purpose is not None:
            sql = f"{_SHARED} WHERE {match} ORDER BY requests.id DESC"
            # Where several requests share a measurement, it is told once, of the first of them.
            known = {row["id"] for row in found}
            several = self._rows(sql, *values)
            first = {row["id"]: row for row in several if row["id"] not in known}
            found = [*reversed(first.values()), *found]
        return self._read(found)

    def each_measured(self, campaign: str | None = None) -> Iterator[tuple[Request, Measurement]]:
        """As `measured` of a campaign, or of all, a part at a time: what is stored may be more than
        memory holds."""
        match, values = _matching(campaign, None, None, None)
        if campaign is not None:
            yield from self._each(f"{_SHARED} WHERE {match} ORDER BY requests.id", values)
        yield from self._each(f"{_OWN} WHERE {match} ORDER BY measurements.id", values)

    def _each(self, sql: str, values: Sequence[object]) -> Iterator[tuple[Request, Measurement]]:
        for part in self._in_parts(sql, values):
            yield from self._read(part)

    def _read(self, found: Sequence[Row]) -> list[tuple[Request, Measurement]]:
        known: dict[str, dict[str, Baseline]] = {}

        def read(row: Row) -> tuple[Request, Measurement]:
            return rows.request({**row, "id": row["wanted"]}), self._told(row, known)

        return [pair for _, pair in readable(found, "measurement", read)]

    def measurements(
        self,
        campaign: str | None = None,
        purpose: str | None = None,
        device: str | None = None,
        network: Network | None = None,
    ) -> list[Measurement]:
        """As `measured`, without the requests."""
        return [m for _, m in self.measured(campaign, purpose, device, network)]

    def latency_matrix(
        self, networks: Sequence[Network], devices: Sequence[str]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The newest latency of each network on each device that holds on it as it is now.

        Returns values_s (N, D), NaN where unknown, and mask (N, D), true where known.
        """
        values_s = np.full((len(networks), len(devices)), np.nan)
        row_of = {network: i for i, network in enumerate(networks)}
        for column, device in enumerate(devices):
            for measurement in self.as_now(self.measurements(device=device)):
                if measurement.network in row_of:
                    values_s[row_of[measurement.network], column] = measurement.latency_s
        return values_s, ~np.isnan(values_s)


def _matching(
    campaign: str | None, purpose: str | None, device: str | None, network: Network | None
) -> tuple[str, tuple[object, ...]]:
    """The conditions of `Store.measured`, and the values in them."""
    given = {
        "campaign": campaign,
        "purpose": purpose,
        "measurements.device": device,
        "measurements.network": network.id if network else None,
    }
    # Only what is given is said, as SQLite uses no index for what may be anything.
    told = {column: value for column, value in given.items() if value is not None}
    match = " AND ".join(["invalidated IS NULL", *(f"{column} = ?" for column in told)])
    if purpose is None:
        match += " AND purpose NOT IN ('control', 'kernel')"
    return match, tuple(told.values())


def _create(path: Path) -> None:
    """Make an empty store where there is none. It appears complete, as others may be reading."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="new-", dir=path.parent) as folder:
        new = Path(folder) / path.name
        db = connect(new)
        db.enable_wal()
        migrations.apply(db)
        db.close()
        new.chmod(0o600)  # SQLite gives the files beside it the same
        with suppress(FileExistsError):
            path.hardlink_to(new)
