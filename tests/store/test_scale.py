"""What is asked often costs what it needs, and not what is stored."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pyarrow.csv
import pyarrow.parquet
import pytest

from farm.campaign.export import write
from farm.core.errors import StoreError
from farm.core.values import Network
from farm.measurement.drift_correction import Baseline
from farm.prediction.central import CentralPredictor
from farm.prediction.observed import Observed
from farm.store import News, Store
from farm.store.values import Revision
from tests.store.test_store import FACTS, PLAN, A, B, asked, measurement


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        opened.see(FACTS)
        yield opened


@pytest.fixture
def measured(store):
    """A campaign with two measurements."""
    name, requests = asked(store, devices=("cpu1",))
    for request in requests:
        store.record(request, measurement(request.network))
    return name


def plan_of(store, sql, *values):
    """How SQLite goes about a query."""
    return [row["detail"] for row in store._rows(f"EXPLAIN QUERY PLAN {sql}", *values)]


class _Recorded:
    """Keeps the queries of a store, and passes them on."""

    def __init__(self, store):
        self.asked = []
        rows = store._rows
        store._rows = lambda sql, *values: self.asked.append((sql, values)) or rows(sql, *values)


@pytest.mark.parametrize(
    "ask",
    [
        lambda store, name: store.measurements(name),
        lambda store, name: store.measurements(name, "holdout", "cpu1"),
        lambda store, _: store.measurements(device="cpu1", network=A),
        lambda store, _: list(store.observed("cpu1", "nb201", since=2)),
        lambda store, _: store.news("cpu1"),
        lambda store, _: store.devices_of("nb201"),
        lambda store, name: store.verdicts(name, "cpu1"),
        lambda store, name: store.pending(name),
        lambda store, name: store.failures(name),
    ],
)
def test_no_query_of_a_step_looks_at_all_measurements(store, measured, ask):
    recorded = _Recorded(store)
    ask(store, measured)
    del store._rows
    for sql, values in recorded.asked:
        if sql.lstrip().startswith("SELECT"):
            scans = [one for one in plan_of(store, sql, *values) if one.startswith("SCAN")]
            assert not {"measurements", "samples", "requests"} & {s.split()[1] for s in scans}, sql


class TestNews:
    @pytest.mark.usefixtures("measured")
    def test_is_what_was_added_dropped_or_told_anew(self, store):
        before = store.news("cpu1")
        assert (before.added, before.dropped) == (2, 0)
        assert store.news("pi") == News()
        store.see(FACTS)
        assert store.news("cpu1") == before
        own = FACTS.fingerprint
        store.add_revision(Revision(own, "cpu1", own, "first", 1.0, "by a test"))
        assert store.news("cpu1").told == before.told + 1
        store.invalidate("cpu1", "by a test")
        assert store.news("cpu1").dropped == 2

    def test_is_that_a_device_was_seen_otherwise(self, store):
        other = replace(FACTS, identity={"cpu": "another"})
        store.see(other)
        before = store.news("cpu1").told
        store.see(other)
        assert store.news("cpu1").told == before
        store.see(FACTS)
        assert store.news("cpu1").told == before + 1

    def test_is_a_baseline(self, store):
        before = store.news("cpu1").told
        with store._writing():
            store._set_baseline(FACTS.fingerprint, Baseline({("x", None): (1.0,)}))
        assert store.news("cpu1").told == before + 1

    @pytest.mark.usefixtures("measured")
    def test_of_an_older_store_is_as_if_it_had_been_kept(self, store):
        store._db.conn.execute("DROP TABLE news")
        triggers = store._rows("SELECT name FROM sqlite_schema WHERE name LIKE '%_news'")
        for row in triggers:
            store._db.conn.execute(f"DROP TRIGGER {row['name']}")
        store._db.conn.execute("DELETE FROM _sqlite_migrations WHERE name = 'm016_news'")
        store._db.conn.commit()
        with Store(store.folder) as again:
            assert again.news("cpu1") == News(added=2)


@pytest.mark.usefixtures("measured")
def test_what_is_known_is_not_read_again(store):
    observed = Observed(store)
    first = observed.of("cpu1", "nb201")
    assert [m.network for m in first] == [A, B]
    assert observed.of("cpu1", "nb201") is first
    (other,) = store.query_requests([Network("nb201", "c")], "cpu1").values()
    store.record(other, measurement(other.network))
    more = observed.of("cpu1", "nb201")
    assert more[:2] == first
    assert more[0] is first[0]
    store.invalidate("cpu1", "by a test")
    assert observed.of("cpu1", "nb201") == ()


@pytest.mark.usefixtures("measured")
def test_of_a_reference_so_many_networks_are_read_and_no_more(store):
    def networks(observed: Observed, most: int) -> list[Network]:
        return [m.network for m in observed.first("cpu1", "nb201", None, most)]

    def record(code: str) -> None:
        (request,) = store.query_requests([Network("nb201", code)], "cpu1").values()
        store.record(request, measurement(request.network))

    observed = Observed(store)
    assert (networks(observed, 1), networks(observed, 3)) == ([A], [A, B])
    record(A.code)
    record("c")
    record("d")
    for each in (observed, Observed(store)):
        assert networks(each, 1) == [A]
        assert networks(each, 3) == [A, B, A, Network("nb201", "c")]
    store.invalidate("cpu1", "by a test")
    assert networks(observed, 3) == []


@pytest.mark.usefixtures("measured")
def test_a_column_is_the_same_while_there_is_no_news(store):
    predictor = CentralPredictor.of(store)
    before = predictor.measured("nb201", "cpu1")
    assert predictor.measured("nb201", "cpu1") is before
    (other,) = store.query_requests([Network("nb201", "c")], "cpu1").values()
    store.record(other, measurement(other.network))
    assert len(predictor.measured("nb201", "cpu1").networks) == 3


def test_pending_requests_follow_every_change_by_whomever(store, measured):
    assert store.pending(measured) == []
    with Store(store.folder) as other:
        other.add_requests(measured, [Network("nb201", "c")], ["cpu1"], "learn")
        (request,) = store.pending(measured)
        other.record(request, measurement(request.network))
    assert store.pending(measured) == []
    store.invalidate("cpu1", "by a test")
    assert len(store.pending(measured)) == 3


def test_an_export_holds_a_part_of_the_rows_at_a_time(store, tmp_path, monkeypatch):
    monkeypatch.setattr("farm.store.connection.PART", 5)
    monkeypatch.setattr("farm.campaign.export._ROWS", 5)
    name = store.add_campaign(PLAN)
    store.add_requests(name, [Network("nb201", f"n{i}") for i in range(200)], ["cpu1"], "learn")
    requests, most_bytes = store.pending(name), {}
    for rows in (range(20), range(20, 200)):
        with store._writing():
            for i in rows:
                store._add(requests[i], measurement(requests[i].network))
        for format in ("csv", "parquet"):
            write(store, tmp_path / "m", format)
            for campaign in (None, name):
                tracemalloc.start()
                assert write(store, tmp_path / "m", format, campaign) == rows.stop
                most_bytes[rows.stop, format, campaign] = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
    assert len(most_bytes) == 8
    for (count, *what), size_bytes in most_bytes.items():
        # A row is more than 4 kB where it is held.
        assert size_bytes - most_bytes[(20, *what)] <= (count - 20) * 1000


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_an_export_in_parts_has_all_rows_once_and_in_order(store, measured, tmp_path, format):
    other = store.add_campaign(PLAN)
    store.add_requests(other, [A, B], ["cpu1"], "learn")
    store.reuse(store.pending(other)[0], 1)
    store.record(store.pending(other)[0], measurement(B))
    for campaign, count in ((None, 3), (measured, 2), (other, 2)):
        found = list(store.each_measured(campaign))
        assert found == store.measured(campaign)
        assert write(store, tmp_path / "m", format, campaign) == len(found) == count
        read = {"csv": pyarrow.csv.read_csv, "parquet": pyarrow.parquet.read_table}[format]
        table = read(tmp_path / "m")
        assert table["network"].to_pylist() == [m.network.id for _, m in found]
        assert table["latency_s"].to_pylist() == [m.latency_s for _, m in found]


class TestPending:
    def test_reads_again_only_what_changed(self, store):
        name, requests = asked(store, [A, B, Network("nb201", "c")], devices=("cpu1",))
        assert store.pending(name) == requests
        store.record(requests[1], measurement(B))
        recorded = _Recorded(store)
        assert store.pending(name) == [requests[0], requests[2]]
        assert [values for sql, values in recorded.asked if "pending" in sql] == [(requests[1].id,)]
        store.invalidate("cpu1", "by a test")
        assert store.pending(name) == requests

    def test_is_as_another_process_left_it(self, store):
        name, requests = asked(store, devices=("cpu1",))
        assert store.pending(name) == requests
        with Store(store.folder) as other:
            other.record(requests[0], measurement(A))
        assert store.pending(name) == requests[1:]

    def test_is_as_before_what_is_written_together_and_fails(self, store):
        name, requests = asked(store, devices=("cpu1",))

        def end_twice():
            with store.together():
                store.record(requests[0], measurement(A))
                store.record(requests[0], measurement(A))

        with pytest.raises(StoreError):
            end_twice()
        assert store.pending(name) == requests
