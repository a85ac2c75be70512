"""Samples are packed into few bytes, and come out as they went in, whatever they are."""

from __future__ import annotations

import json
import random
import sqlite3
import zlib
from contextlib import closing
from dataclasses import asdict

import numpy as np
import pytest

from farm.measurement.record import Block
from farm.measurement.verdict import Rejection
from farm.store import Store, rows
from farm.store.migrations import migrations
from farm.store.packing import packed, unpacked
from farm.store.sqlite import Database
from tests.store.test_older_stores import before_the_house, noisy

_ALL = f"SELECT {rows.MEASURED} FROM {rows.WITH_SAMPLES} ORDER BY id"


def timed(runs: int, count: int, rng: random.Random, typical_ns: int = 1_200_000) -> list[float]:
    """Samples as TVM's timer tells them."""
    each_ns = (typical_ns + rng.randrange(typical_ns // 10) for _ in range(count))
    return [ns / 1e6 / 1e3 / runs for ns in each_ns]


def of_timer(rng: random.Random) -> tuple[list[Block], list[list[float]]]:
    """Five sessions of three blocks, as of a network of 0.2 ms."""
    told = {"elapsed_s": 0.051, "involuntary_switches": 2, "steal_s": 0.0}
    blocks = [
        Block(
            tuple(timed(6, 48, rng)),
            6,
            {**told, "load1": 4.0 + i},
            session=i // 3,
            shared=tuple(rng.random() < 0.1 * (i % 3) for _ in range(48)),
        )
        for i in range(15)
    ]
    warmups = [[*timed(1, 1, rng, 400_000), *timed(3, 25, rng), *timed(6, 25, rng)]] * 5
    return blocks, warmups


def test_samples_of_a_timer_take_less_than_three_bytes_each_and_none_is_made_up():
    blocks, warmups = of_timer(random.Random(0))
    data = packed(blocks, warmups, 1e-3)
    assert unpacked(data) == (tuple(blocks), tuple(map(tuple, warmups)))
    assert len(data) < 2.6 * (15 * 48 + 5 * 51)
    for damaged in (data[:-9], data[: len(data) // 8], b"x" + data):
        with pytest.raises(ValueError, match="cannot be unpacked"):
            unpacked(damaged)
    assert len(data) < 0.15 * len(json.dumps([[asdict(b) for b in blocks], warmups]))


@pytest.mark.parametrize(
    "samples_s",
    [
        [0.1 + 1e-17 * i for i in range(3)],
        [1e-300],
        [1e300, 1.0],
        [5e-10, 1e-9],
        [4e-9, 1e5],
        [2.0**23 + 1e-9],
        [1],
        list(np.random.default_rng(0).lognormal(-7, 1, 100)),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("runs", [1, 7, 10**9])
def test_samples_of_any_kind_come_out_as_they_went_in(samples_s, runs):
    reason = Rejection("clock", "half as fast: 'slow'")
    blocks = (
        Block(tuple(samples_s), runs, {}, session=2, rejected=reason),
        Block((1e-3,), 1, {"temp_c": 1e-320, "throttled": 3}, shared=(True,)),
    )
    warmup_s = ((), tuple(samples_s), (1e-3, 1e-3 / 3))
    assert unpacked(packed(blocks, warmup_s, 1e-3)) == (blocks, warmup_s)


@pytest.mark.parametrize("make", [before_the_house, noisy])
def test_a_store_of_before_has_the_same_samples(make, tmp_path):
    """With one row that nobody can read."""
    path = make(tmp_path / "store")
    with closing(sqlite3.connect(path)) as db:
        migrations.apply(Database(db), stop_before="m019_packed_samples")
        db.execute("UPDATE samples SET blocks = '[{' WHERE measurement = 1")
        db.commit()
        found = db.execute(
            """SELECT measurement, blocks, samples.warmup_s, spec, controls FROM samples
               JOIN measurements ON id = measurement ORDER BY id"""
        ).fetchall()
    with Store(path.parent) as store:
        told = {row["id"]: row for row in store._rows(_ALL)}
        assert [row[0] for row in found] == list(told)
        for id, blocks, warmup_s, spec, controls in found[1:]:
            own = rows.measurement(told[id])
            before = [{**block, "shared": []} for block in json.loads(blocks)]
            assert json.loads(json.dumps([asdict(b) for b in own.blocks])) == before
            assert own.warmup_s == tuple(map(tuple, json.loads(warmup_s)))
            assert asdict(own.spec) | json.loads(spec) == asdict(own.spec)
            assert [c.level_s for c in own.controls] == [
                one["level_s"] for one in json.loads(controls)
            ]
        assert "[{" in zlib.decompress(told[1]["packed"]).decode()
        texts = [spec for *_, spec, _ in found] + [one for *_, one in found if one != "[]"]
        assert store._value("SELECT count(*) FROM texts") == len(set(texts))
