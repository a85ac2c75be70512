"""Rows that somebody edited, or that a disk damaged, are left out, each with one warning."""

from __future__ import annotations

import json
import logging
import sqlite3
import zlib
from contextlib import closing

import pytest

from farm.core.errors import StoreError
from farm.measurement.record import Block
from farm.store import Store, edge
from farm.store.packing import packed
from tests.store.test_store import A, B, asked, measurement, store  # noqa: F401 - a fixture


@pytest.fixture(autouse=True)
def _nobody_was_warned(monkeypatch):
    monkeypatch.setattr(edge, "_told", set())


TEXTS = {
    100: '{"rounds": "many"}',
    101: "null",
    102: '[{"series": ["x", null], "blocks_s": [], "level_s": 1}]',
}


@pytest.fixture
def two(store):  # noqa: F811
    """A campaign with two measurements; of the first, a cell is made wrong."""
    name, requests = asked(store, devices=("cpu1",))
    for request in requests:
        store.record(request, measurement(request.network))
    for row in TEXTS.items():
        store._db.execute("INSERT INTO texts VALUES (?, ?)", row)
    store._db.conn.commit()
    return store, name


def spoil(store, table, column, value, where="1"):  # noqa: F811
    with closing(sqlite3.connect(store.path)) as db:
        db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = {where}", [value])
        db.commit()


WHOLE = packed([Block((1e-3, 2e-3), 1, {"temp_c": 40.0})], [[1e-3]], 1e-3)
"""Of a block of two samples, and a warm-up of one."""


def head(**changes):
    """The same, with something else in its JSON."""
    plain = zlib.decompress(WHOLE)
    end = 4 + int.from_bytes(plain[:4], "little")
    text = json.dumps(json.loads(plain[4:end]) | changes).encode()
    return zlib.compress(len(text).to_bytes(4, "little") + text + plain[end:])


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("samples", "packed", b""),
        ("samples", "packed", b"[{"),
        ("samples", "packed", WHOLE[:-10]),
        ("samples", "packed", zlib.compress(b"\xff\xff\xff\xff[")),
        ("samples", "packed", zlib.compress(b"\0\0\1\0" + b"[" * 2**16)),
        ("samples", "packed", zlib.compress(zlib.decompress(WHOLE)[:-4])),
        ("samples", "packed", head(samples=[1, -2])),
        ("samples", "packed", head(samples=[1, 2.5])),
        ("samples", "packed", head(samples=[1, 1])),
        ("samples", "packed", head(least_ns=[1e6, float("nan")])),
        ("samples", "packed", head(least_ns=[10**6, -(10**7)])),
        ("samples", "packed", head(least_ns=[10**6])),
        ("samples", "packed", head(telemetry={"temp_c": ["hot"]})),
        ("samples", "packed", head(telemetry={"temp_c": []})),
        ("samples", "packed", head(runs=[1, 0])),
        ("samples", "packed", head(warmups=3)),
        ("samples", "packed", head(warmups=[2])),
        ("samples", "packed", head(sessions=[])),
        *(("measurements", "spec", text) for text in (100, 101, None)),
        ("measurements", "device_s", -1.0),
        ("measurements", "network", "nowhere"),
        ("measurements", "clock_probe_s", -1.0),
        *(("measurements", "controls", text) for text in (100, 101, 102)),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_measurement_is_left_out(two, caplog, table, column, value):
    store, name = two  # noqa: F811
    spoil(store, table, column, value)
    with caplog.at_level(logging.WARNING):
        assert [m.network for m in store.measurements(name)] == [B]
        assert [m.network for _, m in store.observed("cpu1", "nb201")] == [B]
    (said,) = caplog.messages
    assert said.startswith("measurement 1 in the store is damaged and left out: ")
    assert len(said) < 300


@pytest.mark.parametrize("plan", ["{", "[]", '{"space": "nb201"}', "\x00"])
def test_a_campaign_is_left_out_of_the_list_and_refused_by_name(two, caplog, plan):
    store, name = two  # noqa: F811
    other = store.add_campaign(store.campaign(name).plan)
    spoil(store, "campaigns", "plan", plan)
    assert [c.id for c in store.campaigns()] == [other]
    assert "campaign c1 in the store is damaged" in caplog.messages[0]
    with pytest.raises(StoreError, match=r"campaign c1 in .* is damaged: "):
        store.campaign(name)


def test_what_else_is_damaged_is_left_out(two, caplog):
    store, name = two  # noqa: F811
    spoil(store, "facts", "facts", '{"device": 5}')
    assert store.facts("cpu1") == []
    spoil(store, "requests", "network", "nowhere", "2")
    assert [r.network for r in store.requests(name)] == [A]
    assert len(caplog.messages) == 2


def test_a_store_whose_file_is_damaged_is_refused(two):
    store, _ = two  # noqa: F811
    store._db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(store.path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    store.path.write_bytes(data)
    with pytest.raises(StoreError, match=r"farm\.db: .*; look whether it is a store"):
        Store(store.folder, create=False).campaigns()
