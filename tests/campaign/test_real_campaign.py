"""The main job with nothing replaced: TVM compiles, this computer's CPU is measured."""

from __future__ import annotations

import numpy as np
import pytest

from farm import Launch
from farm.core.errors import BuildError, TargetError
from farm.devices import controls
from farm.farm import Farm

pytestmark = pytest.mark.slow

CLUSTER = """\
store: results
references: [cpu1]
measure:
  {warmup_s: 0.02, rounds: 3, block_s: 0.01, min_samples: 2, min_sessions: 1, max_sessions: 1}
controls: {tolerated: 0.9} # rounds of milliseconds are far apart
devices:
  cpu1: {kind: cpu, threads: 1}
  again: {kind: cpu, threads: 1}
"""

CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    """A farm whose first campaign was run by Ray."""
    folder = tmp_path_factory.mktemp("farm")
    (folder / "cluster.yaml").write_text(CLUSTER)
    opened = Farm.open(folder / "cluster.yaml")
    opened.launch(
        Launch(
            space="nb201", devices=["cpu1", "again"], budget=2, holdout=1, seed=5, kernels=False
        ),
        executor="ray",
    )
    return opened


def test_ray_builds_each_network_once_and_measures_it_on_each_device(farm):
    with farm.store() as store:
        stored = store.campaign("c1")
        assert (stored.state, stored.measured, stored.failed) == ("done", 6, 0)
        assert store.builds("c1") == (3, 0)
        assert len({m.build_key for m in store.measurements()}) == 3


def test_each_device_measured_the_controls(farm):
    with farm.store() as store:
        found = store.measurements(purpose="control")
        assert {m.network for m in found} == set(controls.controls_of({"nb201"}))
        assert {m.device for m in found} == {"cpu1", "again"}
        for device in ("cpu1", "again"):
            light_s, heavy_s = (
                min(m.latency_s for m in found if (m.device, m.network) == (device, network))
                for network in controls.controls_of({"nb201"})
            )
            assert light_s < heavy_s


def test_a_measurement_has_its_samples_its_spec_and_its_device(farm):
    spec = farm.config.device("cpu1").spec
    with farm.store() as store:
        (facts,) = store.facts("cpu1")
        for m in store.measurements(campaign="c1", device="cpu1"):
            assert m.fingerprint == facts.fingerprint
            assert m.spec == spec
            assert len(m.blocks) == 3
            assert all(len(block.samples_s) >= 2 for block in m.blocks)
            assert 1e-7 < m.latency_s < 1  # a cell that computes a constant takes a microsecond
            assert m.warmup_s
    identity = " ".join(facts.identity)
    for needed in ("cpu", "governor", "kernel", "threads", "tvm"):
        assert needed in identity, f"no {needed} in {list(facts.identity)}"


def test_the_same_seed_builds_nothing_again_whatever_carries_it_out(farm):
    summary = farm.launch(
        Launch(
            space="nb201",
            devices=["cpu1", "again"],
            budget=2,
            holdout=1,
            seed=5,
            kernels=False,
            fresh=True,
        ),
        executor="inline",
    )
    assert (summary.built, summary.cached, summary.campaign.measured) == (0, 3, 6)


def test_fbnet_goes_the_same_way(farm):
    summary = farm.launch(
        Launch(space="fbnet32", devices=["cpu1"], budget=1, holdout=1, kernels=False),
        executor="inline",
    )
    assert (summary.built, summary.campaign.measured) == (2, 2)


def test_hwl_builds_and_measures_a_new_network_once(farm):
    first, second = farm.hwl(CELL), farm.hwl(CELL)
    assert [r.source for r in first.references] == ["measured"]
    assert [r.source for r in second.references] == ["cached"]
    assert first.references[0].latency_s == second.references[0].latency_s
    assert np.isfinite(first.values).all()


def test_a_changed_device_is_measured_again(farm, tmp_path):
    """Another number of threads is another fingerprint: what was measured before does not count."""
    farm.hwl(CELL)
    text = CLUSTER.replace(
        "cpu1: {kind: cpu, threads: 1}", "cpu1: {kind: cpu, threads: 1, cores: [0]}"
    )
    (tmp_path / "cluster.yaml").write_text(text)
    moved = Farm.open(tmp_path / "cluster.yaml", farm.config.store)
    fingerprint = moved.facts("cpu1").fingerprint
    assert fingerprint != farm.facts("cpu1").fingerprint
    with farm.store() as store:
        store.see(moved.facts("cpu1"))
    assert [r.source for r in moved.hwl(CELL).references] == ["measured"]


def test_a_network_that_does_not_compile_fails_and_the_rest_goes_on(farm, monkeypatch, tmp_path):
    from farm.compile import build as build_module

    # Control networks would be compiled first.
    (tmp_path / "cluster.yaml").write_text(CLUSTER.replace("tolerated: 0.9", "every: 0"))
    farm = Farm.open(tmp_path / "cluster.yaml", farm.config.store)

    real = build_module.build
    refused = []

    def build(model, *rest):
        if not refused:
            refused.append(model.graph.name)
            raise BuildError("LLVM does not like it")
        return real(model, *rest)

    monkeypatch.setattr(build_module, "build", build)
    summary = farm.launch(
        Launch(
            space="nb201", devices=["cpu1", "again"], budget=1, holdout=1, seed=6, kernels=False
        ),
        executor="inline",
    )
    assert (summary.campaign.state, summary.campaign.measured, summary.campaign.failed) == (
        "done",
        2,
        2,
    )
    assert len({request.network for request, _ in summary.failures}) == 1
    for _, failure in summary.failures:
        assert (failure.kind, failure.message) == ("build", "LLVM does not like it")


def test_a_target_that_tvm_does_not_know_stores_nothing(tmp_path):
    text = CLUSTER.replace("again: {kind: cpu, ", "again: {kind: cpu, target: no/such-chip, ")
    (tmp_path / "cluster.yaml").write_text(text)
    opened = Farm.open(tmp_path / "cluster.yaml")
    for executor in ("inline", "ray"):
        with pytest.raises(TargetError, match="no target tag 'no/such-chip'"):
            opened.launch(
                Launch(space="nb201", devices=["cpu1", "again"], budget=2), executor=executor
            )
    with opened.store() as store:
        assert store.campaigns() == []
