"""`farm predict` on devices that are not there."""

from __future__ import annotations

import io
import json

import pytest

from farm.store import Store
from tests.fakes import FakeOptions, fake_latency_s

CLUSTER = """\
store: results
measure: {min_sessions: 1, max_sessions: 1, rounds: 1, block_s: 0.001}
controls: {every: 0}
devices:
  a: {kind: "tests.fakes:FakeAgent"}
  b: {kind: "tests.fakes:FakeAgent"}
"""
CELL = "|avg_pool_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|nor_conv_3x3~1|none~2|"


@pytest.fixture
def measured(farm, tmp_path):
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    launch = ("launch", "--devices", "a", "--budget", "8", "--holdout", "0")
    assert farm(*launch, "--executor", "inline")[0] == 0
    return farm


def test_what_was_measured_and_what_was_not(measured, tmp_path):
    (tmp_path / "networks.txt").write_text(f"nb201/{CELL}\n\n")
    with Store(tmp_path / "results") as store:
        seen = store.measurements()[0].network.id
    code, out, err = measured("predict", seen, "networks.txt", "--device", "a", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert (said["device"], said["learnt"], said["kernels"]) == ("a", 8, 0)
    first, second = said["networks"]
    assert (first["network"], first["source"], first["measured"]) == (seen, "cached", True)
    assert (second["source"], second["measured"]) == ("networks", False)
    assert second["low_s"] < second["latency_s"] < second["high_s"]
    assert 0.3 < second["latency_s"] / fake_latency_s(CELL, FakeOptions()) < 3


def test_networks_come_from_stdin_and_a_person_reads_a_table(measured, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{CELL}\n"))
    code, out, _ = measured("predict", "-", "--device", "a", "--explain")
    assert code == 0
    assert "95 % interval" in out
    assert "On a, from 8 measured networks and 0 timed kernels." in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((CELL, "--device", "b"), "nothing was measured on b yet; `farm launch --space nb201"),
        (("fbnet/" + "0" * 22, "--device", "a"), "0 networks of fbnet were measured on a"),
        ((CELL, "--device", "c"), "no device 'c'; known: a, b"),
        (("nb201/x", "--device", "a"), "a NAS-Bench-201 cell has the form"),
    ],
)
def test_what_cannot_be_said_is_an_error_of_usage(measured, words, said):
    code, _, err = measured("predict", *words)
    assert code == 2
    assert said in err
    assert len(err.splitlines()) == 1
