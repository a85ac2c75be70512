"""Two campaigns compared: what changed, what did not, and what cannot be said."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from farm.campaign.compare import change
from farm.core.values import Network
from farm.measurement.record import Block, Measurement
from farm.measurement.spec import MeasureSpec
from farm.store import Store
from tests import database
from tests.fakes import FakeAgent


def measured(*sessions: list[float]) -> Measurement:
    """Of the minima of blocks, in milliseconds, a list for each session."""
    blocks = [
        Block((ms / 1e3,), 1, {}, session=number)
        for number, minima in enumerate(sessions)
        for ms in minima
    ]
    network = Network("nb201", "a")
    rest = {"build_key": None, "spec": MeasureSpec(), "warmup_s": (), "exact": False}
    return Measurement(
        network, "d", "f", blocks=tuple(blocks), device_s=1.0, measured_at="", **rest
    )


def near(ms: float, spread: float = 0.001) -> Measurement:
    """Four sessions of four blocks, evenly spread."""
    steps = [[1 + spread * (i + j) / 6 for i in range(4)] for j in range(4)]
    return measured(*[[ms * step for step in row] for row in steps])


@pytest.mark.parametrize(
    ("second_ms", "spread", "verdict"),
    [
        (10.0, 0.001, "same"),
        (10.1, 0.001, "same"),
        (11.0, 0.001, "slower"),
        (9.0, 0.001, "faster"),
        (10.2, 0.05, "undecided"),
        (20.0, 0.05, "slower"),
    ],
)
def test_verdicts(second_ms, spread, verdict):
    found = change(near(10.0, spread), near(second_ms, spread), 1, 0.02)
    assert found.verdict == verdict
    assert found.low <= found.ratio <= found.high
    assert found.ratio == pytest.approx(second_ms / 10, rel=1e-9)


def test_many_at_once_are_judged_more_carefully():
    alone = change(near(10.0, 0.03), near(10.4, 0.03), 1, 0.02)
    among = change(near(10.0, 0.03), near(10.4, 0.03), 1000, 0.02)
    assert among.low < alone.low < alone.high < among.high


def test_what_the_device_became_slower_by_is_taken_out_once():
    found = change(near(10), near(15), 1, 0.02, factor=1.5)
    assert (found.verdict, found.ratio) == ("same", pytest.approx(1))
    assert (found.first.latency_s, found.factor) == (near(10).latency_s, 1.5)


def test_the_other_way_round_is_the_inverse():
    there, back = (change(*pair, 5, 0.02) for pair in ((near(3), near(4)), (near(4), near(3))))
    assert there.ratio * back.ratio == pytest.approx(1)
    assert (there.verdict, back.verdict) == ("slower", "faster")


def test_a_single_block_decides_nothing():
    found = change(measured([1.0]), measured([9.0]), 1, 0.02)
    assert (found.verdict, found.high) == ("undecided", math.inf)
    assert found.to_json()["high"] is None


INLINE = ("--executor", "inline")


LAUNCH = ("launch", "--devices", "a", "--budget", "6", "--holdout", "2", *INLINE)
REPEAT = ("campaign", "repeat", "c1", *INLINE)


def change_device(options: str) -> None:
    """From now on device `a` has these options."""
    text = Path("cluster.yaml").read_text()
    Path("cluster.yaml").write_text(text.replace('FakeAgent"', f'FakeAgent", {options}', 1))


@pytest.fixture
def campaigns(farm):
    """Launches on `a`, twice, with other options in between; what `compare` then says."""

    def run(options: str, *words: str):
        assert farm(*LAUNCH)[0] == 0
        change_device(options)
        assert farm(*REPEAT)[0] == 0
        code, out, err = farm("compare", *words)
        return code, in_one_line(out), err

    return run


def in_one_line(out: str) -> str:
    """Without the breaks of a page's width."""
    return " ".join(out.split())


@pytest.fixture
def two_campaigns(farm, monkeypatch):
    """The same networks on `a`, which got slower by a half in between and does not show it."""
    real = FakeAgent.facts
    monkeypatch.setattr(
        FakeAgent, "facts", lambda self: replace(real(self), identity={"seed": "0"})
    )
    text = Path("cluster.yaml").read_text()
    Path("cluster.yaml").write_text(f"controls: {{every: 0}}\n{text}")
    assert farm(*LAUNCH)[0] == 0
    change_device("latency_s: 1.5e-3")
    assert farm(*REPEAT)[0] == 0
    return farm


class TestCommand:
    def test_slower_networks_are_a_failure(self, two_campaigns):
        code, out, _ = two_campaigns("compare", "c1", "latest", "--json")
        found = json.loads(out)
        assert code == 1
        assert found["counts"] == {"same": 0, "faster": 0, "slower": 8, "undecided": 0}
        assert all(n["ratio"] == pytest.approx(1.5, rel=0.05) for n in found["networks"])
        assert all(n["same_fingerprint"] for n in found["networks"])
        assert (found["revisions"], found["missing"]) == ([], [])

    def test_faster_ones_are_none(self, two_campaigns):
        code, out, _ = two_campaigns("compare", "c2", "c1")
        assert code == 0
        assert "8 compared, 0 same, 8 faster" in out
        assert "faster" in out.splitlines()[-1]

    def test_a_campaign_is_the_same_as_itself(self, two_campaigns):
        code, out, _ = two_campaigns("compare", "c1", "c1", "--margin", "0.1")
        assert (code, "8 same" in out) == (0, True)

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("c1", "c9"), "no campaign 'c9'"),
            (("c1", "c2", "--margin", "2"), "--margin must lie between 0 and 1, got 2.0"),
        ],
    )
    def test_names_what_is_wrong(self, two_campaigns, words, says):
        code, _, err = two_campaigns("compare", *words)
        assert code == 2
        assert says in err

    def test_campaigns_without_a_common_network(self, two_campaigns):
        two_campaigns("launch", "--devices", "b", "--budget", "1", "--holdout", "0", *INLINE)
        code, _, err = two_campaigns("compare", "c1", "c3")
        assert code == 2
        assert "no network in common" in err


@pytest.mark.slow
class TestRevisions:
    """A device that changes in between; the fake one's options are in its fingerprint."""

    def test_one_factor_is_taken_out_and_said(self, campaigns, farm):
        code, out, _ = campaigns("latency_s: 1.5e-3", "c1", "c2", "--margin", "0.1")
        assert code == 0
        assert "8 compared, 8 same, 0 faster" in out
        told = "a changed in between: latency_s was '0.001' and is '0.0015'; "
        told += "control networks changed alike"
        assert told in out
        assert "The first latencies of 8 networks are multiplied by 1.5" in out
        code, out, _ = farm("compare", "c2", "c1", "--margin", "0.1", "--json")
        found = json.loads(out)
        assert (code, found["counts"]["same"]) == (0, 8)
        (revision,) = found["revisions"]
        assert (revision["device"], revision["networks"]) == ("a", 8)
        assert revision["factor"] == pytest.approx(1 / 1.5, rel=0.01)
        for network in found["networks"]:
            assert network["first_s"] / network["second_s"] == pytest.approx(1.5, rel=0.05)
            expected = network["second_s"] / network["first_s"] / revision["factor"]
            assert network["ratio"] == pytest.approx(expected)
        code, out, _ = farm("compare", "c1", "c2", "--as-measured")
        assert code == 1
        assert "8 compared, 0 same, 0 faster, 8 slower" in out
        assert "8 networks are compared as measured" in in_one_line(out)

    def test_results_that_no_longer_hold_are_not_compared(self, campaigns, farm):
        code, out, err = campaigns("seed: 5", "c1", "c2")
        assert (code, out) == (2, "")
        assert "c1 and c2 are of different revisions: a changed: seed was '0' and is '5'" in err
        assert "not shown to be one factor" in err
        assert "--as-measured compares them all the same" in err
        code, out, _ = farm("compare", "c1", "c2", "--as-measured", "--json")
        assert len(json.loads(out)["networks"]) == 8

    def test_nor_are_those_that_nothing_is_known_of(self, campaigns):
        text = Path("cluster.yaml").read_text()
        Path("cluster.yaml").write_text(f"controls: {{every: 0}}\n{text}")
        code, _, err = campaigns("latency_s: 1.5e-3", "c1", "c2")
        assert code == 2
        assert "(no control networks showed whether older results hold)" in err

    def test_other_devices_are_compared_nevertheless(self, farm):
        launch = (*LAUNCH[:2], "a,b", *LAUNCH[3:])
        farm(*launch)
        change_device("seed: 5")
        farm(*REPEAT)
        code, out, _ = farm("compare", "c1", "c2", "--margin", "0.1")
        assert code == 0
        assert "8 compared, 8 same" in out
        assert "8 networks are not compared there; --as-measured compares" in in_one_line(out)

    def test_results_that_were_invalidated_are_missed(self, farm):
        farm(*LAUNCH)
        farm(*REPEAT)
        with Store(Path("results")) as store:
            ids = database.column(store, "SELECT id FROM measurements ORDER BY id")
            assert len(ids) > 4
            sql = "UPDATE measurements SET invalidated = 'by a test' WHERE id > ?"
            database.rows(store, sql, ids[-5])
        code, out, _ = farm("compare", "c1", "c2", "--margin", "0.1")
        assert code == 0
        assert "networks of c2 on a have no result that counts: not measured" in in_one_line(out)
        farm("device", "retire", "a", "--yes")
        code, _, err = farm("compare", "c1", "c2")
        assert code == 2
        assert "; 8 networks of c1 on a have no result that counts" in err
        assert "`farm campaign resume c1` measures them" in err


@pytest.mark.slow
def test_hwl_is_of_what_still_holds(farm):
    """A device that is half as fast as before has the same set, and takes twice as long; one that
    is another device has none, and that is said."""
    cell = "nb201/|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"

    same = ("--select", "random", "--fresh")  # the same networks each time
    launch = ("launch", "--budget", "10", "--holdout", "2", *same, *INLINE)

    def hwl():
        return json.loads(farm("hwl", cell, "--json")[1])

    farm(*launch, "--devices", "a,b")
    before = hwl()
    change_device("latency_s: 2e-3")
    farm(*launch, "--devices", "a")
    after = hwl()
    assert before["fitted_on"] > 0
    assert after["version"] == before["version"]
    assert after["values"][0] > before["values"][0] + 1
    assert after["values"][1] == before["values"][1]
    change_device("seed: 5")
    farm(*launch, "--devices", "a")
    code, out, err = farm("hwl", cell)
    assert (code, out) == (2, "")
    assert f"reference set {before['version']} is of a in revision" in err
