"""Campaigns that time kernels before networks. TVM compiles, this computer's CPU is measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from farm import Launch
from farm.campaign import kernels
from farm.campaign.summary import sums_of
from farm.compile import alone
from farm.core.errors import BuildError
from farm.core.values import KERNEL, DeviceFacts
from farm.farm import Farm
from farm.measurement.spec import MeasureSpec
from farm.prediction import kernel_times
from farm.prediction.evaluation import judge
from farm.prediction.selection import Candidates
from farm.spaces import space
from farm.store import Plan, Store

CLUSTER = """\
store: results
measure:
  {warmup_s: 0.01, rounds: 2, block_s: 0.005, min_samples: 2, min_sessions: 1, max_sessions: 1}
controls: {tolerated: 0.9}
devices:
  cpu1: {kind: cpu, threads: 1}
  table: {kind: "tests.fakes:FakeAgent"}
"""
NETWORK = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|nor_conv_1x1~1|none~2|"
ASKED = Launch(space="nb201", devices=["cpu1", "table"], budget=1, holdout=3, seed=5)


SPEC = MeasureSpec()


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """A farm whose campaign timed 16 kernels, of which one cannot be built, and what it said."""
    folder = tmp_path_factory.mktemp("farm")
    (folder / "cluster.yaml").write_text(CLUSTER)
    farm, seen, refused = Farm.open(folder / "cluster.yaml"), [], []
    real = alone.artifact

    def artifact(kernel, target, store, cache, once=False):
        if not once and (not refused or kernel == refused[0]):
            refused.append(kernel)
            raise BuildError("LLVM does not like it")
        return real(kernel, target, store, cache, once)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "FOR_EACH_NETWORK", 4)
        patch.setattr(kernels, "_PLANNED", 60)
        patch.setattr(alone, "artifact", artifact)
        summary = farm.launch(ASKED, executor="inline", watch=seen.append)
    return farm, summary, seen


@pytest.mark.slow
def test_kernels_come_first_and_are_counted_apart(launched):
    farm, summary, seen = launched
    assert (summary.campaign.requested, summary.campaign.measured) == (8, 8)
    assert summary.campaign.state == "done"
    found = summary.to_json()["devices"]["cpu1"]
    assert (found["kernels"], found["kernels_failed"]) == (15 + kernel_times.ENTRIES, 1)
    assert 0 < found["kernels_device_s"] < found["device_s"]
    assert summary.to_json()["devices"]["table"]["kernels"] == 0
    events = [event for progress in seen for event in progress.events]
    assert any(e.startswith("cpu1 begins with 16 of ") for e in events)
    assert (
        "table is asked for networks alone: nothing is compiled for it, so it runs no kernels"
        in (events)
    )
    assert "timing kernels" in {progress.devices["cpu1"].doing for progress in seen}
    with farm.store() as store:
        order = [r.purpose for r in store.requests("c1") if r.device == "cpu1"]
        assert order == sorted(order, key=lambda purpose: purpose != KERNEL)
        assert all(m.controls for m in store.measurements(device="cpu1", purpose=KERNEL))
        assert KERNEL not in {r.purpose for r, _ in store.measured("c1")}


@pytest.mark.slow
def test_networks_are_predicted_by_what_was_timed(launched):
    farm, summary, _ = launched
    with farm.store() as store:
        plan = summary.campaign.plan
        heldout = store.measurements("c1", "holdout", device="cpu1")
        found = judge(plan, space("nb201"), [], heldout, sums_of(store, plan))["cpu1"]
        # A sample or two each, on a busy host: neighbours may change places.
        assert all(1 / 3 < p.predicted_s / p.measured_s < 3 for p in found.predictions)
        assert all(0 < p.low_s < p.predicted_s < p.high_s for p in found.predictions)
        called = kernel_times.calls(store, "nb201", [m.network for m in heldout], 1)
        known = kernel_times.times(store, store.facts("cpu1")[-1], called.definitions)
        kinds = {known.times[code].measured for code in called.definitions}
        assert kinds == {True, False}


@pytest.mark.slow
def test_a_prediction_says_which_kernels_the_time_goes_into(launched):
    farm, _, _ = launched
    found = farm.predict([NETWORK], "cpu1", explain=True)
    (one,) = found.networks
    assert (one.source, one.measured, found.timed) == ("kernels", False, 15)
    assert sum(kernel.share for kernel in one.kernels) == pytest.approx(1)
    assert {kernel.source for kernel in one.kernels} == {"measured", "predicted"}
    assert one.low_s < one.latency_s < one.high_s
    assert "kernels" in one.to_json()


@pytest.mark.slow
def test_what_was_timed_is_not_timed_again_unless_it_is_compiled_otherwise(launched, monkeypatch):
    farm, summary, _ = launched
    monkeypatch.setattr(kernels, "_PLANNED", 60)
    with farm.store() as store:
        facts = store.facts("cpu1")[-1]
        plan = summary.campaign.plan
        about = Candidates.of(plan, space("nb201"))
        wanted = kernels.wanted(store, plan, about, facts, SPEC)
        counts = store.kernel_counts("c1")["cpu1"]
        assert len(wanted.networks) == counts.failed
        counted = replace(facts, exact=True, device="counted")
        fewer = kernels.wanted(store, plan, about, counted, SPEC)
        assert sum(not alone.is_once(network) for network in fewer.networks) == 16 // 6
        timed = kernel_times.timed(store, facts, {})
        conv = next(code for code in timed if '"Conv"' in store.kernel(code.split("-")[0]))
        target = {**facts.target, "schedules": {conv: [1, 4, 1]}}
        monkeypatch.setattr(store, "as_now", list)  # as if the device had not changed otherwise
        after = kernel_times.timed(store, replace(facts, target=target), {})
        assert timed - after == {conv}


def test_devices_without_kernels_say_why():
    facts = DeviceFacts("x", "host", (0,), None, {})
    said = {
        kernels.none_on(replace(facts, target=target), spec)
        for target, spec in (
            (None, SPEC),
            ({"kind": "cuda", "arch": "sm_90"}, SPEC),
            ({"kind": "llvm"}, MeasureSpec(flush_bytes=1 << 20)),
            ({"kind": "llvm"}, SPEC),
        )
    }
    assert len(said) == 4
    assert None in said


def test_where_all_networks_are_measured_no_kernel_is(tmp_path):
    few = tuple(n.code for n in space("nb201").sample(5, np.random.default_rng(0)))
    plan = Plan("nb201", ("cpu1",), 3, 2, 0, (SPEC,), networks=few, kernels=60)
    facts = DeviceFacts("cpu1", "host", (0,), {"kind": "llvm"}, {})
    with Store(tmp_path) as store:
        wanted = kernels.wanted(store, plan, Candidates.of(plan, space("nb201")), facts, SPEC)
    assert wanted.networks == ()
    assert "its budget of 3 covers all that there are" in wanted.said


def test_a_campaign_can_do_without(tmp_path):
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    asked = Launch(space="nb201", devices=["table"], budget=2, holdout=2, kernels=False)
    seen = []
    summary = Farm.open(tmp_path / "cluster.yaml").launch(asked, "inline", seen.append)
    assert summary.campaign.measured == 4
    events = [event for progress in seen for event in progress.events]
    assert not [event for event in events if "kernels" in event]
