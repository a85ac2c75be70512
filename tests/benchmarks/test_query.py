"""The benchmark of questions runs, small, and says what its contract has."""

from __future__ import annotations

import json
import os

import numpy as np

from benchmarks import query
from farm.spaces import space
from tests.fakes import FakeOptions, fake_latency_s


def test_every_figure_is_there(tmp_path, monkeypatch, capsys):
    codes = [network.code for network in space("nb201").sample(500, np.random.default_rng(0))]
    made_up = [FakeOptions(seed=seed) for seed in range(3)]
    latency_ms = [[1e3 * fake_latency_s(code, options) for code in codes] for options in made_up]
    columns = {"devices": ["x", "y", "z"], "arch_str": codes, "latency_ms": latency_ms}
    np.savez(tmp_path / "nb201.npz", **columns)
    monkeypatch.setenv("FARM_DATA", str(tmp_path))
    for name, small in (("ASKED", 30), ("REFERENCES", 2), ("REPEATS", 1)):
        monkeypatch.setattr(query, name, small)
    cores = os.sched_getaffinity(0)
    try:
        query.main(["--measured", "12", "--stored", "300", "--json"])
    finally:
        os.sched_setaffinity(0, cores)
    said = json.loads(capsys.readouterr().out)
    figures = ("batch_10k_s", "batch_again_s", "cached_ms", "cached_latency_ms", "cold_cpu_s")
    figures += ("stored_hwl_ms", "stored_predict_ms", "full_hwl_ms", "full_predict_ms")
    figures += ("hwl_ratio", "predict_ratio")
    assert tuple(said["summary"]) == figures
    assert all(row["fastest"] <= row["median"] <= row["slowest"] for row in said["rows"])
    assert said["summary"]["cold_cpu_s"] > 0
