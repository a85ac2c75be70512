"""A few kills of the benchmark that kills: it finds what it shall find, and nothing is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from benchmarks import faults
from benchmarks.struck import Setting, Tally, judged
from farm import Launch
from farm.farm import Farm

WELL = {"lost": 0, "duplicated": 0, "torn": 0, "failed": 0, "unfinished": 0, "leaked": 0}


@pytest.mark.slow
def test_nothing_is_lost_by_a_few_kills():
    few = {"executor": "inline", "budget": 4}
    setting = Setting(faults=3, cluster=faults.CLUSTER, devices=["pixel", "raspi"], **few)
    rows, summary = faults.run(setting, None)
    assert {name: summary[name] for name in WELL} == WELL
    assert summary["kills"] == 3 == sum(row["times"] for row in rows)


def test_it_sees_what_is_lost_torn_and_twice(tmp_path):
    (tmp_path / "cluster.yaml").write_text(faults.CLUSTER)
    asked = Launch(space="nb201", devices=["pixel"], budget=2, holdout=0, select="random")
    Farm.open(tmp_path / "cluster.yaml").launch(asked, "inline")
    with closing(sqlite3.connect(tmp_path / "results" / "farm.db")) as db, db:
        of_campaign = "FROM measurements AS m JOIN requests ON requests.id = m.request"
        rows = db.execute(f"SELECT m.id, m.request {of_campaign} WHERE campaign = 'c1'").fetchall()
        (first, request), (second, _) = rows
        failure = (request, "crash", "by a test", 1, "2026-01-01T00:00:00+00:00")
        into = "INSERT INTO failures (request, kind, message, final, failed_at)"
        db.execute(f"{into} VALUES (?, ?, ?, ?, ?)", failure)
        db.execute("UPDATE samples SET packed = x'00' WHERE measurement = ?", [second])
    tally = Tally(seen={("measurement", first), ("measurement", 10**6)})
    found = judged(tmp_path, tally)
    assert (found["lost"], found["duplicated"], found["torn"]) == (1, 1, 1)
    assert found["failed"] == 1
