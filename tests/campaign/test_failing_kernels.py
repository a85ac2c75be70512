"""A campaign two of whose kernels crash and hang, on this computer's CPU."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from farm import Launch
from farm.campaign import kernels
from farm.campaign.summary import sums_of
from farm.compile import alone
from farm.compile.artifacts import ArtifactStore
from farm.farm import Farm
from farm.prediction import kernel_times
from tests.agents.conftest import misbehaving_like
from tests.system import need

pytestmark = pytest.mark.slow

CLUSTER = """\
store: results
measure:
  {warmup_s: 0.01, rounds: 2, block_s: 0.005, min_samples: 2, min_sessions: 1, max_sessions: 1,
   timeout_s: 5}
controls: {tolerated: 0.9}
devices:
  cpu1: {kind: cpu, threads: 1}
"""
ASKED = Launch(space="nb201", devices=["cpu1"], budget=1, holdout=3, seed=5)
FAULTS = ("crash", "hang")


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """A farm, what its campaign came to, and the codes of its kernels that fail, by fault."""
    need(gcc="gcc")
    folder = tmp_path_factory.mktemp("farm")
    (folder / "cluster.yaml").write_text(CLUSTER)
    apart, bad = ArtifactStore(folder / "apart"), {}
    real = alone.artifact

    def artifact(kernel, target, store, cache, once=False):
        name = alone.name_of(kernel)
        if not once and name not in bad.values() and len(bad) < len(FAULTS):
            bad[FAULTS[len(bad)]] = name
        faults = [fault for fault, code in bad.items() if code == name and not once]
        if not faults:
            return real(kernel, target, store, cache, once)
        (folder / faults[0]).mkdir(exist_ok=True)
        good = real(kernel, target, apart, cache)
        library = misbehaving_like(good, faults[0], folder / faults[0]).library.read_bytes()
        return store.put(alone.key(kernel, target), library, good.program, 0.0)

    farm = Farm.open(folder / "cluster.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "FOR_EACH_NETWORK", 4)
        patch.setattr(kernels, "_PLANNED", 60)
        patch.setattr(alone, "artifact", artifact)
        summary = farm.launch(ASKED, executor="inline")
    return farm, summary, bad, folder


def test_the_campaign_goes_on_and_counts_them(launched):
    _, summary, bad, _ = launched
    assert sorted(bad) == sorted(FAULTS)
    assert (summary.campaign.state, summary.campaign.measured) == ("done", 4)
    found = summary.to_json()["devices"]["cpu1"]
    assert found["kernels_failed"] == len(FAULTS)
    assert found["kernels"] == 4 * 4 - len(FAULTS) + kernel_times.ENTRIES


def test_what_went_wrong_is_recorded_for_each(launched):
    *_, bad, folder = launched
    sql = """SELECT network, kind FROM failures JOIN requests ON requests.id = request
             WHERE final AND purpose = 'kernel'"""
    with closing(sqlite3.connect(folder / "results" / "farm.db")) as database:
        found = dict(database.execute(sql).fetchall())
    assert found == {f"kernel/{bad['crash']}": "crash", f"kernel/{bad['hang']}": "timeout"}


def test_networks_that_call_them_are_predicted_with_what_is_left_and_wider(launched):
    farm, summary, bad, _ = launched
    with farm.store() as store:
        networks = [m.network for m in store.measurements("c1")]
        called = kernel_times.calls(store, "nb201", networks, 1)
        known = kernel_times.times(store, store.facts("cpu1")[-1], called.definitions)
        for code in set(bad.values()) & set(called.definitions):
            assert not known.times[code].measured
            assert known.times[code].std > 2 * kernel_times.LEAST_STD
        sums = sums_of(store, summary.campaign.plan)("cpu1", networks)
        assert np.isfinite(sums.latency_s).all()
