"""What others published, as references; and what a device knows of another search space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from farm.campaign.planning import Launch, planned
from farm.core.errors import ConfigError, FarmError, UsageError
from farm.core.values import Network
from farm.farm import Farm
from farm.prediction.across_spaces import carried
from farm.prediction.columns import Column, published
from farm.prediction.features import Encoder
from farm.spaces import space

NB201, FBNET = space("nb201"), space("fbnet32")
CELLS = NB201.sample(60, np.random.default_rng(0))


def latency_ms(network: Network, per_kernel: float) -> float:
    return 1 + per_kernel * network.code.count("conv") + 0.1 * network.code.count("3x3")


@pytest.fixture
def farm(tmp_path: Path):
    """Writes a table of two devices beside a cluster.yaml that says `published`; opens it."""
    rows = [[latency_ms(cell, kernel) for cell in CELLS] for kernel in (1.0, 0.3)]
    rows[1][0] = float("nan")
    codes = np.array([cell.code for cell in CELLS])
    np.savez(tmp_path / "nb201.npz", devices=["x", "y"], latency_ms=rows, arch_str=codes)

    def opened(said: str, devices: str = 'a: {kind: "tests.fakes:FakeAgent"}') -> Farm:
        text = f"published: {said}\ndevices:\n  {devices}\n"
        (tmp_path / "cluster.yaml").write_text(text)
        return Farm.open(tmp_path / "cluster.yaml")

    return opened


def test_a_column_is_in_seconds_and_without_what_nobody_measured(farm) -> None:
    x, y = published(farm("{file: nb201.npz}").config, "nb201")
    assert (x.device, y.device) == ("published x", "published y")
    assert x.latency_s[3] == pytest.approx(latency_ms(CELLS[3], 1.0) * 1e-3)
    assert (len(x.networks), len(y.networks)) == (60, 59)


def test_only_the_devices_that_are_named_count(farm) -> None:
    (found,) = published(farm("[{file: nb201.npz, devices: [y]}]").config, "nb201")
    assert found.device == "published y"


def test_a_table_of_another_space_says_nothing_and_that_is_said(farm) -> None:
    config = farm("{file: nb201.npz}").config
    assert published(config, "fbnet") == []
    plan = planned(Launch(space="fbnet", devices=["a"], budget=3, kernels=False), config)
    assert plan.refused == {"nb201.npz": "its networks are of nb201, which says nothing of fbnet"}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{file: nb201.npz, devices: [z]}", "nb201.npz has no device 'z'; known: x, y"),
        ("{file: ./none.npz, space: nb201}", "no latency table in"),
        ("{file: nb201.npz, devices: []}", "at least 1 item"),
        ("{table: nb201}", "unknown key `table`"),
        ("[3]", "dictionary"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(farm, tmp_path, said, message) -> None:
    with pytest.raises(ConfigError, match="published") as raised:
        planned(Launch(space="nb201", devices=["a"], budget=3), farm(said).config)
    assert message in str(raised.value)
    assert not (tmp_path / "farm-data").exists()


def test_a_device_does_not_predict_itself(farm, tmp_path: Path) -> None:
    table = f"x: {{kind: replay, table: {tmp_path / 'nb201.npz'}}}"
    asked = Launch(space="nb201", devices=["x"], budget=3)
    with pytest.raises(UsageError, match="it would predict itself"):
        planned(asked, farm("{file: nb201.npz}", table).config)
    assert planned(asked, farm("{file: nb201.npz, devices: [y]}", table).config).plan.budget == 3


def test_goals_that_contradict_each_other_are_refused(farm) -> None:
    config = farm("[]").config
    for options, message in (
        ({"target_rho": 0.9, "max_error": 0.1}, "one goal, got --target-rho and --max-error"),
        ({}, "say when it is enough"),
        ({"target_rho": 1.5}, "--target-rho must be between 0 and 1, got 1.5"),
        ({"decide": "latency>3"}, "--decide takes a limit such as 'latency<20ms'"),
        ({"decide": "latency<0ms"}, "got 'latency<0ms'"),
        ({"decide": "latency<1.2.3ms"}, "got 'latency<1.2.3ms'"),
    ):
        with pytest.raises(FarmError, match="--") as raised:
            planned(Launch(space="nb201", devices=["a"], **options), config)  # type: ignore[arg-type]
        assert message in str(raised.value)


def test_another_search_space_tells_networks_apart() -> None:
    """Of a device that goes by multiply-accumulates alone, forty cells teach FBNet's ranks."""

    def macs(searched, networks) -> np.ndarray:
        column = searched.feature_names.index("log_macs")
        return np.expm1(searched.features(list(networks))[:, column])

    cells, nets = (
        NB201.sample(40, np.random.default_rng(1)),
        FBNET.sample(80, np.random.default_rng(1)),
    )
    seconds = 1e-3 + 1e-11 * macs(NB201, cells)
    known = Column("a", tuple(cells), seconds)
    encoder = Encoder.of(FBNET, nets[:60])
    found = carried(known, NB201, FBNET, encoder.pool, ())
    assert found is not None
    predicted_s = found.latency_s(encoder.describe(nets))
    assert np.corrcoef(predicted_s, macs(FBNET, nets))[0, 1] > 0.95
    assert (found.belief(encoder.describe(nets))[1] > 0).all()
    assert carried(known.first(5), NB201, FBNET, encoder.pool, ()) is None
