"""A store and a cluster.yaml that an earlier version made."""

from __future__ import annotations

import json
import lzma
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farm.campaign.export import write
from farm.measurement.record import Control
from farm.measurement.verdict import VERDICTS
from farm.store import Store
from tests import database

OLDER = Path(__file__).parent / "older"
RETOLD = ("busy_fraction", "verdicts")
SAID = json.loads((OLDER / "before-the-house.json").read_text())


def before_the_house(folder: Path) -> Path:
    folder.mkdir()
    with closing(sqlite3.connect(folder / "farm.db")) as db, db:
        db.executescript((OLDER / "before-the-house.sql").read_text())
    return folder / "farm.db"


@pytest.fixture
def older(farm, tmp_path):
    """The command in a folder with the older store and its configuration, with today's keys."""
    before_the_house(tmp_path / "results")
    config = (OLDER / "before-the-house.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text(config.replace("anchors:", "controls:"))
    return farm


def test_shows_the_same_campaigns(older):
    code, out, _ = older("campaign", "list", "--json")
    found = json.loads(out)["campaigns"]
    assert [one.pop("run_by") for one in found] == [None] * len(found)
    assert [one.pop("wanted") for one in found] == [one["requested"] for one in found]
    assert (code, {"campaigns": found}) == (0, SAID["list"])
    code, out, _ = older("campaign", "show", "c1", "--json")
    said = json.loads(out)
    assert code == 0
    assert {key: said[key] for key in SAID["show"] if key != "devices"} == {
        key: value for key, value in SAID["show"].items() if key != "devices"
    }
    for device, row in SAID["show"]["devices"].items():
        found = {key: said["devices"][device][key] for key in row}
        # They are given anew, of today's intervals, where they were not stored.
        verdicts = found.pop("verdicts")
        assert sum(verdicts.values()) == sum(row["verdicts"].values())
        assert found.pop("busy_fraction") == pytest.approx(row["busy_fraction"])
        assert found == {key: value for key, value in row.items() if key not in RETOLD}


def fastest_quarter(values: Sequence[float]) -> float:
    """The mean of the lowest quarter of four times as many, a whole number of them."""
    return float(np.sort(np.repeat(values, 4))[: len(values)].mean())


def blocks_and_slowdown(path: Path) -> list[tuple[str, list[dict[str, Any]], list[float]]]:
    """Of each measurement that counts, as the older schema has it: its purpose."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            """SELECT purpose, blocks, slowdown FROM measurements
               JOIN requests ON requests.id = request WHERE retired IS NULL
               ORDER BY measurements.id"""
        )
        return [(purpose, json.loads(b), json.loads(slow)) for purpose, b, slow in rows]


def by_hand(path: Path) -> list[float]:
    """What today's estimator makes of each measurement, without the farm; controls left out."""
    found = []
    for purpose, blocks, slowdown in blocks_and_slowdown(path):
        good = [b for b in blocks if not (b["rejected"] or "").startswith("clock:")] or blocks
        quartiles = [np.quantile(block["samples_s"], 0.25) for block in good]
        sessions = sorted({block["session"] for block in good})
        slow = [slowdown[i] for i in sessions] if slowdown else [1.0]
        if purpose != "anchor":
            found.append(fastest_quarter(quartiles) / fastest_quarter(slow))
    return found


@pytest.mark.usefixtures("older")
def test_has_the_latencies_that_its_samples_say(tmp_path):
    expected_s = by_hand(tmp_path / "results" / "farm.db")
    with Store(tmp_path / "results") as store:
        found = store.measured()
    assert len(found) == len(SAID["measurements"])
    assert [m.latency_s for _, m in found] == pytest.approx(expected_s, rel=1e-9)
    # A few samples of a busy computer: what was a median is a mean of the fastest quarter now.
    before_s = np.array([row["latency_s"] for row in SAID["measurements"]])
    ratio = np.array([m.latency_s for _, m in found]) / before_s
    assert 0.95 < np.median(ratio) < 1.0
    for (_, m), row in zip(found, SAID["measurements"], strict=True):
        assert max(m.interval_s[0], row["low_s"]) < min(m.interval_s[1], row["high_s"])


@pytest.mark.usefixtures("older")
def test_has_the_same_requests_and_rejected_blocks(tmp_path):
    with Store(tmp_path / "results") as store:
        found = store.measured()
        assert {m.rules for _, m in found} == {0}
        rejections = [b.rejected for _, m in found for b in m.blocks if b.rejected is not None]
        assert {one.kind for one in rejections} <= {"clock", "throttled", "contended"}
        assert all(one.reason and ": " not in one.reason for one in rejections)
        assert write(store, tmp_path / "m.csv", "csv") == len(SAID["measurements"]) == len(found)
    for (request, m), row in zip(found, SAID["measurements"], strict=True):
        assert (request.campaign, request.purpose, m.network.id, m.device) == (
            *(row["campaign"] or None, row["purpose"], row["network"], row["device"]),
        )
        assert m.verdict in VERDICTS
        assert sum(b.rejected is not None for b in m.blocks) == row["rejected_blocks"]


def test_slowdowns_of_sessions_are_controls_at_a_baseline_of_one(older, tmp_path):
    path = tmp_path / "results" / "farm.db"
    slowdowns = [slow for purpose, _, slow in blocks_and_slowdown(path) if purpose != "anchor"]
    assert older("campaign", "list")[0] == 0
    with Store(tmp_path / "results") as store:
        found = store.measurements()
        assert "slowdown" not in database.rows(store, "SELECT * FROM measurements")[0]
        assert database.rows(store, "PRAGMA foreign_key_check") == []
        assert store.stretches("cpu1") == store.stretches("cpu2") == []
    assert any(slowdowns)
    for m, slow in zip(found, slowdowns, strict=True):
        kept = Control(("", None), tuple((times,) for times in slow), 1.0)
        assert m.controls == ((kept,) if slow else ())


def first_controls(path: Path) -> dict[tuple[str, str, str | None], float]:
    """What each control network took in its first round that counts: the baseline of before, the
    median over the blocks that counted."""
    found: dict[tuple[str, str, str | None], float] = {}
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            """SELECT fingerprint, measurements.network, build_key, blocks FROM measurements
               JOIN requests ON requests.id = request
               WHERE purpose = 'anchor' AND retired IS NULL ORDER BY measurements.id"""
        )
        for fingerprint, network, build_key, text in rows:
            blocks = json.loads(text)
            good = [block for block in blocks if block["rejected"] is None] or blocks
            level_s = float(np.median([np.quantile(b["samples_s"], 0.25) for b in good]))
            found.setdefault((fingerprint, network, build_key), level_s)
    return found


def noisy(folder: Path) -> Path:
    """The store of a campaign on a busy machine; skips the test where it is missing."""
    data = Path(os.environ.get("FARM_DATA", Path(__file__).parents[3] / "shared" / "data"))
    packed = data / "noisy-demo.db.xz"
    if not packed.exists():
        pytest.skip(f"no {packed}; set FARM_DATA to the folder that holds noisy-demo.db.xz")
    folder.mkdir()
    (folder / "farm.db").write_bytes(lzma.decompress(packed.read_bytes()))
    return folder / "farm.db"


@pytest.mark.parametrize("make", [before_the_house, noisy])
def test_baselines_of_before_are_fixed_at_what_they_were(make, tmp_path):
    path = make(tmp_path / "store")
    expected = first_controls(path)
    assert len(expected) >= 4
    with Store(path.parent) as store:
        for device in ("cpu1", "cpu2"):
            fingerprint = store.facts(device)[-1].fingerprint
            known = store.baselines(device)[fingerprint]
            assert known.levels_s == pytest.approx(
                {(n, key): s for (f, n, key), s in expected.items() if f == fingerprint}
            )
            assert known.probes == {}  # of a clock's probe that was another piece of work
            # However fast a round is, it does not move what older latencies were told at.
            control = store.measurements(purpose="control", device=device)[0]
            (request,) = store.control_requests([control.network], device)
            fast = [
                replace(b, samples_s=tuple(s / 10 for s in b.samples_s)) for b in control.blocks
            ]
            store.record(request, replace(control, blocks=tuple(fast)))
            assert store.baselines(device)[fingerprint].controls == known.controls


def test_a_campaign_on_a_busy_machine_keeps_its_counts(tmp_path):
    """With today's intervals, which say that some are well known that were called contended."""
    path = noisy(tmp_path / "store")
    expected_s = by_hand(path)
    with Store(path.parent) as store:
        (campaign,) = store.campaigns()
        assert (campaign.requested, campaign.measured, campaign.failed) == (60, 46, 0)
        assert store.counts("c1") == {"cpu1": (30, 0), "cpu2": (16, 0)}
        assert len(store.pending("c1")) == 14
        found = store.measurements()
        held = store.quarantined("cpu2")
        assert database.column(store, "SELECT count(*) FROM measurements") == [102]
        assert database.rows(store, "PRAGMA foreign_key_check") == []
    assert held is not None
    assert [m.latency_s for m in found] == pytest.approx(expected_s, rel=1e-9)
    assert all(0 < m.half_width < 0.2 for m in found)
    on_cpu1 = [m for m in found if m.device == "cpu1"]
    assert {m.verdict for m in on_cpu1} <= {"ok", "noisy", "throttled"}


@pytest.mark.usefixtures("older")
def test_keeps_what_is_known_of_devices(tmp_path):
    with Store(tmp_path / "results") as store:
        (quarantine,) = store.quarantines("cpu2")
        assert quarantine.reason == "moved to another desk"
        assert quarantine.released_at is not None
        assert [one.decision for one in store.revisions("cpu1")] == ["first"]
        assert store.certificate("cpu1") is not None
        assert len(store.baselines("cpu1")) == 1


@pytest.mark.slow
def test_goes_on_with_what_was_killed(older):
    code, out, _ = older("campaign", "resume", "c3", "--executor", "inline", "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["state"], said["requested"], said["measured"]) == ("done", 10, 10)


def test_the_configuration_says_which_key_to_rename(older, tmp_path):
    (tmp_path / "cluster.yaml").write_text((OLDER / "before-the-house.yaml").read_text())
    code, _, err = older("device", "list")
    assert code == 2
    assert "cluster.yaml:4: anchors: `anchors` is called `controls` now" in err


def test_what_happened_before_there_were_events_is_told(older):
    code, out, _ = older("watch", "c1", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert (code, events[0]["kind"], events[-1]["kind"]) == (0, "began", "ended")
    code, out, _ = older("watch", "c1", "--after", "0")
    assert (code, out.splitlines()[0][20:]) == (0, "c1 asked for")
    code, _, err = older("watch", "c9")
    assert code == 2
    assert "no campaign 'c9'" in err
