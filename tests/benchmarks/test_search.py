"""The benchmark of searches says what its summary promises."""

from __future__ import annotations

import json

import pytest

from benchmarks import search


@pytest.mark.slow
def test_a_verified_front_grows_with_what_was_measured(published, capsys):
    published("nb201.npz")
    words = ("--devices", "fpga", "--seeds", "1", "--budget", "20", "--parts", "upper", "--json")
    assert search.main([*words, "--goals", "pareto", "strategy"]) == 0
    told = json.loads(capsys.readouterr().out)["summary"]
    assert told["measured_networks"] == 20
    by_measured = told["by_measured"]["upper"]
    few, more = (by_measured[n]["verified"]["fpga"] for n in ("10", "20"))
    assert few < more == told["hypervolume_verified"]["fpga"] <= 1
    assert 0.9 < told["hypervolume_predicted"]["fpga"] <= 1 + 1e-9
    for lost in told["strategies"].values():
        assert lost["50"]["fpga"] >= lost["1000"]["fpga"] >= 0


def test_a_device_that_is_not_there_is_refused(published, capsys):
    published("nb201.npz")
    assert search.main(["--devices", "pixel9"]) == 2
    assert "no device 'pixel9'" in capsys.readouterr().err
