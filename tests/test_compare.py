"""Two campaigns compared: what changed, what did not, and what cannot be said."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from farm.compare import change
from farm.types import Block, Measurement, MeasureSpec, Network


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


def test_the_other_way_round_is_the_inverse():
    there, back = (change(*pair, 5, 0.02) for pair in ((near(3), near(4)), (near(4), near(3))))
    assert there.ratio * back.ratio == pytest.approx(1)
    assert (there.verdict, back.verdict) == ("slower", "faster")


def test_a_single_block_decides_nothing():
    found = change(measured([1.0]), measured([9.0]), 1, 0.02)
    assert (found.verdict, found.high) == ("undecided", math.inf)
    assert found.to_json()["high"] is None


INLINE = ("--executor", "inline")


@pytest.fixture
def two_campaigns(farm):
    """The same networks on `a`, which got slower by a half in between."""
    launch = ("launch", "--devices", "a", "--budget", "6", "--holdout", "2", *INLINE)
    assert farm(*launch)[0] == 0
    slower = Path("cluster.yaml").read_text().replace("FakeAgent", 'FakeAgent"@')
    slower = slower.replace('FakeAgent"@"', 'FakeAgent", latency_s: 1.5e-3')
    Path("cluster.yaml").write_text(slower)
    assert farm(*launch)[0] == 0
    return farm


class TestCommand:
    def test_slower_networks_are_a_failure(self, two_campaigns):
        code, out, _ = two_campaigns("compare", "c1", "latest", "--json")
        found = json.loads(out)
        assert code == 1
        assert found["counts"] == {"same": 0, "faster": 0, "slower": 8, "undecided": 0}
        assert all(n["ratio"] == pytest.approx(1.5, rel=0.05) for n in found["networks"])
        assert not any(n["same_fingerprint"] for n in found["networks"])

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
