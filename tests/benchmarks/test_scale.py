"""The stores that `benchmarks.scale` measures are as it says, and are asked as it says."""

from __future__ import annotations

import pytest

from benchmarks import published, scale
from farm.store import Store


def test_a_store_is_filled_with_campaigns_that_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "TEMPLATES", 4)  # six of ten are copies
    scale.fill(tmp_path, total=60, devices=3, seed=0)
    with Store(tmp_path) as store:
        campaigns = store.campaigns()
        assert [(c.measured, c.requested, c.state) for c in campaigns] == [(20, 20, "done")] * 3
        assert len(store.measurements()) == 60
        assert {m.network.space for m in store.measurements()} == {scale.SPACE}


@pytest.mark.slow
def test_decisions_are_made_in_it():
    row = scale.of_store(128, seed=0)
    assert row["rows"] == 128
    assert row["bytes"] > 0
    assert row["decision_s"] > 0
    assert row["first_decision_s"] > 0


@pytest.mark.slow
def test_the_drivers_own_work_is_told_from_others():
    if not (published.folder() / "nb201.npz").exists():
        pytest.skip(f"no nb201.npz in {published.folder()}")
    row = scale.driver(devices=2, seed=0)
    assert row["measurements"] == 8
    assert row["driver_cpu_ms_per_measurement"] > 0
