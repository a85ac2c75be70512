"""A store and a cluster.yaml that an earlier version made."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from farm.campaign.export import write
from farm.store import Store

OLDER = Path(__file__).parent / "older"
SAID = json.loads((OLDER / "before-the-house.json").read_text())


@pytest.fixture
def older(farm, tmp_path):
    """The command in a folder with the older store and its configuration, with today's keys."""
    folder = tmp_path / "results"
    folder.mkdir()
    with sqlite3.connect(folder / "farm.db") as db:
        db.executescript((OLDER / "before-the-house.sql").read_text())
    db.close()
    config = (OLDER / "before-the-house.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text(config.replace("anchors:", "controls:"))
    return farm


def test_shows_the_same_campaigns(older):
    code, out, _ = older("campaign", "list", "--json")
    assert (code, json.loads(out)) == (0, SAID["list"])
    code, out, _ = older("campaign", "show", "c1", "--json")
    said = json.loads(out)
    assert code == 0
    assert {key: said[key] for key in SAID["show"] if key != "devices"} == {
        key: value for key, value in SAID["show"].items() if key != "devices"
    }
    for device, row in SAID["show"]["devices"].items():
        found = {key: said["devices"][device][key] for key in row}
        assert found.pop("busy_fraction") == pytest.approx(row["busy_fraction"])
        assert found == {key: value for key, value in row.items() if key != "busy_fraction"}


@pytest.mark.usefixtures("older")
def test_has_the_same_latencies_verdicts_and_rejected_blocks(tmp_path):
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
        assert (m.latency_s, *m.interval_s) == pytest.approx(
            (row["latency_s"], row["low_s"], row["high_s"]), rel=1e-9
        )
        assert m.verdict == row["verdict"]
        assert sum(b.rejected is not None for b in m.blocks) == row["rejected_blocks"]


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
