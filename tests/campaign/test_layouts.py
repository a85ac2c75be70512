"""Exported tables are read as the programs that they are for read them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from farm import Export, Farm, Launch
from farm.campaign.layouts import nb201_networks
from farm.core.errors import UnknownName, UsageError
from farm.spaces import space
from tests.fakes import FakeOptions, fake_latency_s

CLUSTER = """\
store: results
measure: {min_sessions: 1, max_sessions: 2, rounds: 1, block_s: 0.001}
controls: {every: 0}
devices:
  a: {kind: "tests.fakes:FakeAgent"}
  b: {kind: "tests.fakes:FakeAgent", latency_s: 3e-3, measure: {batch: 4, max_sessions: 2}}
  c: {kind: "tests.fakes:FakeAgent"}
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory) -> Farm:
    folder = tmp_path_factory.mktemp("farm")
    (folder / "cluster.yaml").write_text(CLUSTER)
    farm = Farm.open(folder / "cluster.yaml")
    for name, budget in (("nb201", 12), ("fbnet32", 4)):
        asked = {"space": name, "budget": budget, "holdout": 0, "select": "random"}
        farm.launch(Launch(devices=["a", "b"], kernels=False, **asked), "inline")
    return farm


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def true_ms(code: str, latency_s: float = 1e-3) -> float:
    return 1e3 * fake_latency_s(code, FakeOptions(latency_s=latency_s))


def sources(path: Path, column: str) -> list[str]:
    return pyarrow.csv.read_csv(path)[column].to_pylist()


def test_a_wide_table_has_units_and_batch_sizes_in_its_columns(farm):
    found = farm.export(Export(layout="wide", output=Path("t.parquet")))
    rows = pyarrow.parquet.read_table("t.parquet").to_pylist()
    assert (found.rows, found.sources) == (len(rows), None)
    assert set(rows[0]) == {"index", "network"} | {
        f"{device}_{what}"
        for device in ("a_b1", "b_b4")
        for what in ("ms", "low_ms", "high_ms", "source")
    }
    for row in rows:
        assert row["a_b1_ms"] == pytest.approx(true_ms(row["network"].split("/")[1]), rel=0.02)
        assert row["a_b1_low_ms"] < row["a_b1_ms"] < (row["a_b1_high_ms"] or np.inf)
        assert (row["a_b1_source"], row["b_b4_source"]) == ("measured", "measured")
    other = space("nb201").sample(1, np.random.default_rng(8))[0].id
    asked = [other, rows[0]["network"]]
    assert farm.export(Export(layout="wide", networks=asked, devices=["a"])).path == Path(
        "nb201.csv"
    )
    assert pyarrow.csv.read_csv("nb201.csv")["network"].to_pylist() == asked
    assert sources(Path("nb201.csv"), "a_b1_source") == ["networks", "measured"]


@pytest.mark.slow
def test_hw_nas_benchs_lookups_find_a_users_devices(farm, published):
    found = farm.export(Export(layout="hw-nas-bench"))
    with found.path.open("rb") as file:
        metrics = pickle.load(file)["nasbench201"]["cifar10"]
    codes = [str(code) for code in published("nb201.npz")["arch_str"]]
    measured = np.array(sources(found.sources, "a_b1_source")) == "measured"
    assert (measured.sum(), len(measured)) == (12, 15_625)
    for index in [*np.flatnonzero(measured)[:5], 0]:
        config = metrics["config"][index]
        assert config == {
            **config,
            "name": "infer.tiny",
            "arch_str": codes[index],
            "num_classes": 10,
        }
        allowed = 0.02 if measured[index] else 1.0
        latency_ms = float(metrics["a_latency"][index])
        assert latency_ms == pytest.approx(true_ms(config["arch_str"]), rel=allowed)
        assert float(metrics["b_4_latency"][index]) > latency_ms


@pytest.mark.slow
def test_help_loads_a_users_devices_beside_the_published_ones(farm, published):
    found = farm.export(Export(layout="help", devices=["b"]))
    latency = torch.FloatTensor(torch.load(found.path / "latency" / "b_4.pt"))
    index_of = torch.load(found.path / "str_arch2idx.pt")
    codes = [str(code) for code in published("nb201.npz")["arch_str"]]
    assert list(index_of) == codes
    (row,) = np.flatnonzero(np.array(sources(found.sources, "b_b4_source")) == "measured")[:1]
    assert latency.shape == (len(codes),)
    assert float(latency[index_of[codes[row]]]) == pytest.approx(
        true_ms(codes[row], 3e-3), rel=0.02
    )
    train = torch.arange(len(codes))[:900]
    kept = train[np.argsort(latency[train].numpy())[int(len(train) * 0.1) : int(len(train) * 0.9)]]
    assert latency[kept].max() < latency[train].max()


@pytest.mark.slow
def test_help_reads_fbnet_in_the_order_of_its_networks(farm):
    asked = [network.id for network in space("fbnet32").sample(30, np.random.default_rng(1))]
    found = farm.export(Export(layout="help", space="fbnet32", networks=asked, output=Path("help")))
    arch = torch.load(found.path / "metainfo.pt")["arch"]
    codes = ["".join(map(str, one["op_idx_list"])) for one in arch]
    assert [f"fbnet32/{code}" for code in codes] == asked
    latency = torch.FloatTensor(torch.load(found.path / "latency" / "a.pt"))
    assert latency.shape == (30,)
    assert (latency > 0).all()
    assert set(sources(found.sources, "a_b1_source")) == {"networks"}


def test_cells_are_in_the_published_order(published):
    codes = [network.code for network in nb201_networks()]
    assert codes == [str(code) for code in published("nb201.npz")["arch_str"]]


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"layout": "tall"}, UnknownName, "no layout 'tall'"),
        ({"layout": "wide", "output": Path("x.xls")}, UnknownName, "no format 'xls'; known: csv"),
        ({"layout": "wide", "format": "xls"}, UnknownName, "no format 'xls'"),
        ({"layout": "wide", "space": "nb301"}, UnknownName, "no search space 'nb301'"),
        ({"layout": "wide", "devices": ["d"]}, UnknownName, "no device 'd'"),
        ({"layout": "wide", "devices": ["c"]}, UsageError, "nothing was measured on c yet"),
        ({"layout": "wide", "space": "fbnet"}, UsageError, "has measured networks of fbnet;"),
        ({"layout": "wide", "space": "fbnet", "devices": ["a"]}, UsageError, "no network of fbnet"),
        ({"layout": "long", "devices": ["a"]}, UsageError, "--layout long has all devices"),
        ({"layout": "wide", "campaign": "c1"}, UsageError, "--campaign goes with --layout long"),
        (
            {"layout": "wide", "networks": ["fbnet/" + 22 * "0"]},
            UsageError,
            "must be of --space nb201",
        ),
        ({"layout": "help", "networks": ["nb201/x"]}, UsageError, "leave --networks out"),
        ({"layout": "help", "space": "fbnet32"}, UsageError, "needs --networks FILE"),
        (
            {"layout": "hw-nas-bench", "space": "fbnet32", "networks": ["fbnet32/" + 22 * "0"]},
            UsageError,
            "HW-NAS-Bench has times of FBNet's blocks",
        ),
        (
            {"layout": "help", "output": Path("/proc/x")},
            UsageError,
            "/proc/x/latency cannot be made",
        ),
        ({"layout": "wide", "output": Path("no/x.csv")}, UsageError, "there is no folder"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(farm, asked, error, said):
    with pytest.raises(error, match=said):
        farm.export(Export(**asked))
    assert list(Path().iterdir()) == []
