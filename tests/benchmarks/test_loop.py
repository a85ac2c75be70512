"""The loop's benchmark, on a small table that nobody built and on made-up campaigns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import loop
from benchmarks.loop_report import Campaign, Outlook, Point, ratio, summary


@pytest.fixture
def small(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of `conftest` in place of the published ones."""
    monkeypatch.setenv("FARM_DATA", str(table.parent))
    monkeypatch.setattr(loop, "SPACES", ("own",))
    monkeypatch.setattr(loop, "PRETRAIN", 80)
    monkeypatch.setattr(loop, "JUDGED", 200)


def campaign(device: str, way: str, device_s: float, seed: int = 0) -> Campaign:
    curve = (Point(0, 0.0, 0.5), Point(3, device_s / 2, 0.8), Point(6, device_s, 0.96))
    return Campaign("nb201", device, way, seed, 0.95, curve)


def run(capsys: pytest.CaptureFixture[str], *more: str) -> dict:
    own = ["--spaces", "own", "--seeds", "1", "--multi-predict", "0", "--idle", "0", "--json"]
    assert loop.main([*own, *more]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("small")
def test_it_says_what_each_way_spent(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, "--devices", "new")
    assert {row["way"] for row in found["rows"]} == set(loop.WAYS)
    assert all(row["reached"] for row in found["rows"])
    assert {"machine", "versions", "rows", "summary"} <= set(found)
    assert list(found["summary"]["spearman"]) == ["own/new"]
    assert 0 <= found["summary"]["forecast_coverage"] <= 1
    assert found["summary"]["device_seconds_ratio_multipredict"] is None


@pytest.mark.usefixtures("small")
def test_equal_seeds_give_equal_campaigns(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (run(capsys, "--devices", "new", "--seed", "3") for _ in range(2))
    assert first["rows"] == second["rows"]
    assert first["summary"] == second["summary"]


@pytest.mark.usefixtures("small")
def test_the_new_device_is_not_its_own_reference() -> None:
    space = loop.Space.of("own")
    case = space.without("new")
    assert case.references.devices == ("slow", "fast", "wide")
    case.references.without("new")
    assert case.mixture.roots.known.real == 3


@pytest.mark.usefixtures("small")
def test_words_that_are_not_known_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert loop.main(["--spaces", "own", "--devices", "nwe", "--multi-predict", "0"]) == 2
    assert "no device 'nwe'" in capsys.readouterr().err
    assert loop.main(["--spaces", "nb301"]) == 2


def test_a_campaign_ends_at_its_goal() -> None:
    own = campaign("a", "loop", 12.0)
    assert own.reached
    assert own.end == Point(6, 12.0, 0.96)


def test_a_ratio_is_the_median_over_devices_and_seeds() -> None:
    spent = {"a": (1.0, 4.0), "b": (2.0, 4.0), "c": (4.0, 4.0)}
    both = [
        campaign(device, way, s)
        for device, seconds in spent.items()
        for way, s in zip(("loop", "random"), seconds, strict=True)
    ]
    assert ratio(both, "loop", "random") == 0.5
    assert ratio(both, "loop", "multi_predict") is None


def test_a_device_that_needs_no_sample_is_counted_apart() -> None:
    known = [
        Campaign("nb201", "k", way, 0, 0.5, (Point(0, 0.0, 0.6),)) for way in ("loop", "random")
    ]
    both = [*known, campaign("a", "loop", 1.0), campaign("a", "random", 4.0)]
    assert ratio(both, "loop", "random") == 0.25
    assert summary(both)["known_before"] == ["nb201/k"]


def test_a_forecast_is_right_inside_its_interval() -> None:
    assert Outlook(3, 2, 0.8, 0.9, 0.85).right
    assert not Outlook(3, 2, 0.8, 0.9, 0.95).right


@pytest.mark.usefixtures("small")
def test_what_is_measured_less_precisely_costs_less(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "GOAL", 0.98)  # more than is known of the device before any sample
    monkeypatch.setattr(loop, "SHARE_OF_CEILING", 2.0)
    found = run(capsys, "--devices", "new")
    each_s = {row["way"]: row["device_s"] / row["samples"] for row in found["rows"]}
    assert each_s["random_coarse"] < each_s["random"] / 2
    assert each_s["loop"] < each_s["loop_fine"] / 2


@pytest.mark.usefixtures("small")
def test_learning_curves_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "--devices", "new", "--plot", str(tmp_path / "plots" / "loop.png"))
    assert (tmp_path / "plots" / "loop.png").read_bytes().startswith(b"\x89PNG")
