"""Networks by the thousand from Python: arrays of a batch, and a predictor for search loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from farm.core.errors import NetworkSyntaxError, UsageError
from farm.farm import Farm
from farm.spaces import space
from farm.store import Store
from tests.cli.test_cli_predict import CLUSTER

NB201 = space("nb201")
LAUNCH = ("launch", "--executor", "inline", "--select", "random", "--holdout", "0")
NEW = [network.id for network in NB201.sample(300, np.random.default_rng(5))]


@pytest.fixture
def opened(farm, tmp_path) -> Farm:
    (tmp_path / "cluster.yaml").write_text(CLUSTER + "references: [a, b]\n")
    assert farm(*LAUNCH, "--devices", "a,b", "--budget", "12")[0] == 0
    return Farm.open()


def test_a_predictor_says_what_predict_says(opened):
    with Store(opened.config.store) as store:
        known = store.measurements(device="a")[0].network
    asked = [*NEW, known.id, f" {known.code}"]
    found, said = opened.predictor("a")(asked), opened.predict(asked, "a")
    for name in ("latency_s", "low_s", "high_s"):
        np.testing.assert_allclose(getattr(found, name), getattr(said, name), rtol=1e-9)
        assert getattr(found, name).flags.c_contiguous
    assert found.measured.tolist() == [one.measured for one in said.networks]
    assert found.measured[-2:].all()


def test_a_predictor_remembers_and_needs_the_store_no_more(opened, monkeypatch):
    predictor = opened.predictor("a")
    first = predictor(NEW)
    monkeypatch.setattr(Farm, "store", None)
    again = predictor([*NEW[:10], NB201.parse(NEW[11].removeprefix("nb201/"))])
    np.testing.assert_array_equal(again.latency_s[:10], first.latency_s[:10])
    assert again.latency_s[10] == pytest.approx(first.latency_s[11])
    assert predictor([]).latency_s.shape == (0,)


def test_a_predictor_of_what_nobody_knows_says_what_to_do(opened):
    with pytest.raises(UsageError, match="0 networks of fbnet were measured on a"):
        opened.predictor("a")(["fbnet/" + "0" * 22])
    with pytest.raises(NetworkSyntaxError):
        opened.predictor("a")(["nb201/x"])


def test_arrays_are_torchs_without_a_copy(opened):
    encoding = opened.hwl(NEW)
    assert encoding.values.shape == (len(NEW), 2)
    shared = torch.from_numpy(encoding.values)
    encoding.values[0, 0] = 7.0
    assert shared[0, 0] == 7.0
    assert torch.from_numpy(opened.predictor("a")(NEW).latency_s).shape == (len(NEW),)


def test_an_encoder_says_what_hwl_says(opened, monkeypatch):
    with Store(opened.config.store) as store:
        known = store.measurements(device="a")[0].network
    said = opened.hwl([*NEW, known.id])
    encoder = opened.encoder()
    first = encoder([*NEW, known])
    monkeypatch.setattr(Farm, "store", None)
    again = encoder([known.id, NEW[3]])
    assert first.version == again.version == said.version
    np.testing.assert_array_equal(first.values, said.values)
    np.testing.assert_array_equal(first.source, said.source)
    np.testing.assert_array_equal(again.values, said.values[[-1, 3]])
    assert again.of(0).references == said.of(len(NEW)).references
    for networks in ([], [NEW[0], "fbnet/" + "0" * 22]):
        with pytest.raises(UsageError, match="networks of one space can be encoded at once"):
            encoder(networks)


def test_python_is_told_which_row_is_wrong(opened):
    for ask in (opened.hwl, lambda networks: opened.predict(networks, "a")):
        with pytest.raises(UsageError, match="row 2 of 2: a NAS-Bench-201 cell has the form"):
            ask([NEW[0], "nb201/x"])


def test_networks_of_two_spaces_do_not_mix(opened):
    with pytest.raises(UsageError, match=r"hwl-\w+ \(of nb201\) and unfitted-\w+ \(of fbnet\)"):
        opened.hwl([NEW[0], "fbnet/" + "0" * 22])
