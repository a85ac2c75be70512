"""Published tables as devices."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from agents.replay import ReplayAgent, ReplayOptions, load
from farm import Launch
from farm.core.errors import DeviceUnfit, MeasureTimeout
from farm.core.values import Network
from farm.farm import Farm
from farm.inventory.config import load as load_config
from farm.measurement.spec import MeasureSpec
from tests.agents.conftest import measure_one

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CELL = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
DEVICES = ("near", "far", "odd")
HEAVY, LIGHT = (CELL.format(*[op] * 6) for op in ("nor_conv_3x3", "skip_connect"))

CLUSTER = """\
store: results
references: [near]
measure: {rounds: 3, min_samples: 2, block_s: 1.0e-4}
devices:
  near: {kind: replay, noise: 0.01}
  far: {kind: replay, noise: 0.01}
  odd: {kind: replay, noise: 0.01}
"""


def made_up_ms(cell: tuple[str, ...]) -> list[float]:
    """A latency on each of DEVICES: sums over edges, as accelerators' are."""
    large, small, pools = (
        cell.count(op) for op in ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
    )
    return [
        1.7 + 1.5 * large + 0.3 * small + 0.2 * pools,
        1.1 + 1.3 * large + 0.5 * small + 0.4 * pools,
        3.0 + 0.8 * large + 0.1 * small + 0.1 * pools,
    ]


PUBLISHED_IN = os.environ.get("FARM_DATA")
"""Before a test puts a table of its own there."""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with a table of all NAS-Bench-201 networks, and one of four FBNets."""
    folder = tmp_path_factory.mktemp("data")
    cells = list(product(OPS, repeat=6))
    np.savez(
        folder / "nb201.npz",
        arch_str=np.array([CELL.format(*cell) for cell in cells]),
        devices=np.array(DEVICES),
        latency_ms=np.array([made_up_ms(cell) for cell in cells], np.float32).T,
    )
    ops = np.array([[i] * 22 for i in range(4)], np.int8)
    latency_ms = np.array([[1.0, np.nan, 0.0, np.inf]], np.float32)
    np.savez(folder / "fbnet.npz", ops=ops, devices=np.array(["phone"]), latency_ms=latency_ms)
    return folder


@pytest.fixture(autouse=True)
def published_here(data, monkeypatch) -> None:
    monkeypatch.setenv("FARM_DATA", str(data))


def agent(name: str = "near", **options) -> ReplayAgent:
    return ReplayAgent(name, ReplayOptions(**options))


def measured(code: str, spec: MeasureSpec, name: str = "near", **options):
    with agent(name, **options) as device:
        return measure_one(device, Network("nb201", code), None, spec)


class TestLatencies:
    def test_without_noise_are_the_tables_in_seconds(self, quick):
        found = measured(HEAVY, quick, noise=0.0)
        assert len({sample for row in found.samples_s for sample in row}) == 1
        assert found.latency_s == pytest.approx(10.7e-3, rel=1e-6)
        assert found.latency_s == found.blocks[0].telemetry["published_s"]
        assert found.interval_s == (found.latency_s, found.latency_s)
        assert found.build_key is None

    def test_have_noise_of_their_own(self, quick):
        found = [measured(HEAVY, quick, noise=0.02, seed=seed) for seed in range(40)]
        ratios = np.array([m.latency_s / m.blocks[0].telemetry["published_s"] for m in found])
        assert 0.005 < ratios.std() < 0.03
        assert abs(np.median(ratios) - 1) < 0.02
        assert len(set(ratios)) == 40
        assert all(len(set(row)) == len(row) for row in found[0].samples_s)

    def test_are_the_same_again_and_others_under_another_seed(self, quick):
        first, again = measured(HEAVY, quick), measured(HEAVY, quick)
        assert first.samples_s == again.samples_s
        assert measured(HEAVY, replace(quick, seed=1)).samples_s != first.samples_s
        assert measured(LIGHT, quick).samples_s != first.samples_s

    def test_of_a_column_may_go_by_another_name(self, quick):
        found = measured(HEAVY, quick, "mine", column="far", noise=0.0)
        assert found.device == "mine"
        assert found.latency_s == pytest.approx(8.9e-3, rel=1e-6)

    def test_of_rows_of_operations_are_found_by_their_digits(self, quick):
        with agent("phone", table="fbnet", noise=0.0) as device:
            found = measure_one(device, Network("fbnet32", "0" * 22), None, quick)
        assert found.latency_s == pytest.approx(1e-3)


class TestTime:
    spec = MeasureSpec(
        min_sessions=1,
        max_sessions=1,
        warmup_s=1.0,
        rounds=2,
        block_s=3.0,
        sample_s=0.1,
        pause_s=0.5,
    )

    def test_is_recorded_and_not_spent(self):
        started_s = time.monotonic()
        found = measured(LIGHT, self.spec, noise=0.0)
        assert found.blocks[0].runs_per_sample * found.samples_s[0][0] >= 0.1
        assert found.device_s == pytest.approx(1.0 + 2 * 3.0 + 0.5, rel=0.05)
        assert time.monotonic() - started_s < found.device_s

    def test_is_spent_in_part_where_that_is_wanted(self):
        started_s = time.monotonic()
        found = measured(LIGHT, self.spec, speed_up=50.0)
        assert time.monotonic() - started_s >= found.device_s / 50

    def test_has_a_limit(self):
        with pytest.raises(MeasureTimeout, match=r"within 2 s; it takes 7\.5"):
            measured(LIGHT, replace(self.spec, timeout_s=2.0), noise=0.0)


class TestWhatIsNotThere:
    def test_a_device(self):
        with agent("nearr") as device, pytest.raises(DeviceUnfit, match="did you mean 'near'"):
            device.facts()
        with agent("zzz") as device, pytest.raises(DeviceUnfit, match="known: near, far, odd"):
            device.facts()

    @pytest.mark.parametrize("table", ["nb202", "./nb201.npz", "/proc/version.npz"])
    def test_a_file(self, table):
        with (
            agent(table=table) as device,
            pytest.raises(DeviceUnfit, match=r"No such file.*FARM_D"),
        ):
            device.facts()

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({}, "devices is not a file"),
            ({"devices": ["a"], "latency_ms": [[1.0]]}, "ops is not a file"),
            ({"devices": ["a"], "latency_ms": [[1.0]], "arch_str": ["x", "y"]}, r"got \(1, 1\)"),
            ({"devices": ["a"], "latency_ms": [["fast"]], "arch_str": ["x"]}, "could not convert"),
        ],
    )
    def test_a_field(self, tmp_path, fields, says):
        path = tmp_path / "table.npz"
        np.savez(path, **fields)
        with agent("a", table=str(path)) as device, pytest.raises(DeviceUnfit, match=says):
            device.facts()

    def test_what_is_no_table(self, tmp_path):
        path = tmp_path / "table.npz"
        path.write_bytes(b"PK\x03\x04 and then nothing")
        with agent("a", table=str(path)) as device, pytest.raises(DeviceUnfit, match="no latency"):
            device.facts()

    @pytest.mark.parametrize("code", ["1" * 22, "2" * 22, "3" * 22])
    def test_a_latency(self, code, quick):
        with agent("phone", table="fbnet") as device:
            with pytest.raises(DeviceUnfit, match=f"no latency of fbnet32/{code} on phone"):
                measure_one(device, Network("fbnet32", code), None, quick)
            assert measure_one(device, Network("fbnet32", "0" * 22), None, quick).latency_s > 0

    @pytest.mark.parametrize("network", [Network("nb201", "|none~0|"), Network("fbnet32", LIGHT)])
    def test_a_network(self, network, quick):
        with agent() as device, pytest.raises(DeviceUnfit, match=r"15625 networks of nb201, and"):
            measure_one(device, network, None, quick)


class TestFacts:
    def test_need_no_artifact_and_no_core(self):
        with agent() as device:
            facts = device.facts()
        assert (facts.target, facts.cores) == (None, ())

    def test_differ_by_what_a_latency_depends_on(self, data, tmp_path):
        copy = tmp_path / "nb201.npz"
        with np.load(data / "nb201.npz") as table:
            np.savez(copy, **{**table, "latency_ms": 2 * table["latency_ms"]})
        options = [{}, {"noise": 0.5}, {"seed": 1}, {"column": "far"}, {"table": str(copy)}]
        prints = set()
        for changed in options:
            with agent(**changed) as device:
                prints.add(device.facts().fingerprint)
        assert len(prints) == len(options)

    def test_a_file_that_changes_is_read_again(self, tmp_path):
        path = tmp_path / "table.npz"
        for latency_ms in (1.0, 2.0):
            np.savez(path, devices=["a"], latency_ms=[[latency_ms]], arch_str=["x"])
            assert load(path).latency_s[0, 0] == pytest.approx(latency_ms * 1e-3)


@pytest.mark.slow
def test_a_campaign_over_tables_learns_their_truth(tmp_path):
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    farm = Farm.open(tmp_path / "cluster.yaml")
    summary = farm.launch(
        Launch(space="nb201", devices=DEVICES, budget=30, holdout=20), executor="inline"
    )
    assert summary.counts == dict.fromkeys(DEVICES, (50, 0))
    assert (summary.built, summary.cached) == (0, 0)
    with farm.store() as store:
        for m in store.measurements():
            assert m.latency_s == pytest.approx(m.blocks[0].telemetry["published_s"], rel=0.05)
    for judgement in summary.judgements.values():
        assert judgement.spearman > 0.6
    (reference,) = farm.hwl(f"nb201/{HEAVY}").references
    assert reference.latency_s == pytest.approx(10.7e-3, rel=0.05)


def test_the_example_is_every_device_of_the_published_table(published):
    config = load_config(Path(__file__).parents[2] / "examples" / "replay.yaml")
    assert list(config.devices) == [str(name) for name in published("nb201.npz")["devices"]]
    assert {device.kind for device in config.devices.values()} == {"replay"}


def test_the_published_tables_are_devices(published, monkeypatch, quick):
    monkeypatch.delenv("FARM_DATA")
    if PUBLISHED_IN is not None:
        monkeypatch.setenv("FARM_DATA", PUBLISHED_IN)
    for name, space in (("nb201", "nb201"), ("fbnet", "fbnet32")):
        data = published(f"{name}.npz")
        code = str(data["arch_str"][7]) if "arch_str" in data else "".join(map(str, data["ops"][7]))
        for column, latency_ms in zip(data["devices"], data["latency_ms"][:, 7], strict=True):
            with agent(str(column), table=name, noise=0.0) as device:
                found = measure_one(device, Network(space, code), None, quick)
            assert found.latency_s == pytest.approx(float(latency_ms) * 1e-3)
