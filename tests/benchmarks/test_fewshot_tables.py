"""Tables that nobody prepared: what cannot be used is told, what can be used is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fewshot, published
from farm.core.errors import UsageError
from tests.benchmarks.conftest import Fields, Refused, Run

Save = Callable[[Fields], None]


def rho(found: dict, method: str = "mixture") -> float:
    value = found["summary"]["mean_spearman"][method]["own:new"]["8"]
    assert isinstance(value, float)
    return value


def without(fields: Fields, *names: str) -> Fields:
    return {name: values for name, values in fields.items() if name not in names}


def replaced(fields: Fields, **others: np.ndarray) -> Fields:
    return {**fields, **others}


def column(fields: Fields, device: int) -> np.ndarray:
    return fields["latency_ms"][device]


def test_without_analytic_columns_structure_and_references_carry_it(
    save: Save, fields: Fields, run: Run, refused: Refused
) -> None:
    save(without(fields, "features", "feature_names"))
    assert rho(run()) > 0.9
    assert "no `features` column `macs` or `flops`" in refused("--method", "flops")


def test_where_references_mislead_the_operations_carry_it(
    save: Save, fields: Fields, run: Run
) -> None:
    """References that rank networks by chance; nothing else is known than `ops`."""
    rng = np.random.default_rng(0)
    ops = rng.integers(0, 6, (300, 12))
    target_ms = 1 + np.array([0.0, 1, 2, 4, 8, 16])[ops].sum(1)
    latency_ms = np.array([*(rng.permutation(target_ms) for _ in range(3)), target_ms])
    own = replaced(fields, ops=ops, op_names=np.array(list("abcdef")), latency_ms=latency_ms)
    save(without(own, "features", "feature_names"))
    found = run("--samples", "20", "--seeds", "2")
    assert found["summary"]["mean_spearman"]["mixture"]["own:new"]["20"] > 0.9
    assert found["summary"]["coverage_95"]["mixture"] > 0.9


def test_analytic_columns_can_be_left_aside(run: Run) -> None:
    assert rho(run("--without-analytic")) != rho(run())


def test_networks_may_be_spelled(save: Save, fields: Fields, run: Run) -> None:
    texts = np.array(["+".join(fields["op_names"][row]) for row in fields["ops"]])
    save(replaced(without(fields, "ops", "op_names"), arch_str=texts))
    assert rho(run()) > 0.9


def test_spelled_networks_may_differ_in_length(save: Save, fields: Fields, run: Run) -> None:
    """`none` is left out of the text, so that positions shift; counts and costs still tell."""
    texts = [" ".join(w for w in fields["op_names"][row] if w != "none") for row in fields["ops"]]
    save(replaced(without(fields, "ops", "op_names"), arch_str=np.array(texts)))
    assert rho(run()) > 0.8


def test_missing_entries_are_neither_sampled_nor_judged(
    save: Save, fields: Fields, run: Run
) -> None:
    rng = np.random.default_rng(5)
    latency_ms = fields["latency_ms"].copy()
    latency_ms[rng.random(latency_ms.shape) < 0.3] = np.nan
    save(replaced(fields, latency_ms=latency_ms))
    assert rho(run()) > 0.9
    assert rho(run("--protocol", "help", "--select", "random")) > 0.8
    assert rho(run("--method", "nearest"), "nearest") > 0.7


def test_a_target_that_is_measured_here_and_there(save: Save, fields: Fields, run: Run) -> None:
    latency_ms = fields["latency_ms"].copy()
    latency_ms[3, 14:] = np.nan
    save(replaced(fields, latency_ms=latency_ms))
    rows = run()["rows"]
    assert [row["samples"] for row in rows] == [3, 8]
    assert all(row["coverage_95"] is not None for row in rows)


def test_a_target_that_no_test_network_was_measured_on(
    save: Save, fields: Fields, refused: Refused
) -> None:
    training = np.random.default_rng(0).permutation(300)[:80]
    latency_ms = fields["latency_ms"].copy()
    latency_ms[3, np.setdiff1d(np.arange(300), training)] = np.nan
    save(replaced(fields, latency_ms=latency_ms))
    assert "0 of the networks that `--protocol help` tests on" in refused("--protocol", "help")


@pytest.mark.parametrize("measured", [0, 1, 10])
def test_a_target_with_too_few_networks_is_named(
    save: Save, fields: Fields, refused: Refused, measured: int
) -> None:
    latency_ms = fields["latency_ms"].copy()
    latency_ms[3, measured:] = np.nan
    save(replaced(fields, latency_ms=latency_ms))
    said = refused()
    assert f"'new' has {measured} measured networks; 8 samples and 3 to judge by need 11" in said


def test_a_reference_without_any_measurement_is_named(
    save: Save, fields: Fields, refused: Refused
) -> None:
    latency_ms = fields["latency_ms"].copy()
    latency_ms[1] = np.nan
    save(replaced(fields, latency_ms=latency_ms))
    assert "reference 'fast' has no measured training network; leave it out" in refused()


def test_a_target_that_never_changes_cannot_be_ranked(save: Save, fields: Fields, run: Run) -> None:
    latency_ms = fields["latency_ms"].copy()
    latency_ms[3] = 7.0
    save(replaced(fields, latency_ms=latency_ms))
    found = run("--method", "mixture,nearest,ridge")
    assert all(row["spearman"] is None for row in found["rows"])
    assert all(row["within_10"] > 0.9 for row in found["rows"] if row["method"] == "mixture")
    assert found["summary"]["mean_spearman"]["mixture"]["own:new"] == {"3": None, "8": None}


def test_a_reference_that_never_changes_teaches_nothing_and_harms_nothing(
    save: Save, fields: Fields, run: Run
) -> None:
    latency_ms = fields["latency_ms"].copy()
    latency_ms[1] = 7.0
    save(replaced(fields, latency_ms=latency_ms))
    assert rho(run()) > 0.9


def test_whole_milliseconds_with_spikes(save: Save, fields: Fields, run: Run) -> None:
    latency_ms = np.round(fields["latency_ms"] / 2)
    spikes = np.random.default_rng(1).random(300) < 0.03
    latency_ms[3, spikes] *= 20
    save(replaced(fields, latency_ms=latency_ms))
    found = run("--samples", "20", "--select", "random")
    assert found["summary"]["mean_spearman"]["mixture"]["own:new"]["20"] > 0.7
    assert found["summary"]["coverage_95"]["mixture"] > 0.85


def test_latencies_that_are_not_positive_count_as_not_measured(
    save: Save, fields: Fields, run: Run
) -> None:
    latency_ms = fields["latency_ms"].copy()
    latency_ms[0, 5], latency_ms[3, :2], latency_ms[1, 7] = 0.0, -1.0, np.inf
    save(replaced(fields, latency_ms=latency_ms))
    found = run("--method", "ridge")
    assert "2 latencies of 'new' are not positive: they count as not measured" in found["notes"]
    assert "1 latencies of 'fast' are not positive" in found["notes"]
    assert rho(found, "ridge") > 0.5


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_another_unit_is_told(save: Save, fields: Fields, refused: Refused, factor: float) -> None:
    latency_ms = fields["latency_ms"].astype(float)
    latency_ms[3] *= factor
    save(replaced(fields, latency_ms=latency_ms))
    said = refused()
    assert "'new' takes" in said
    assert "times as long as the training device nearest to it" in said
    assert "milliseconds" in said


def test_a_reference_in_another_unit_is_told(save: Save, fields: Fields, refused: Refused) -> None:
    latency_ms = fields["latency_ms"].astype(float)
    latency_ms[1] *= 1e-3
    save(replaced(fields, latency_ms=latency_ms))
    assert "'fast' takes" in refused()


def test_a_device_that_is_thirty_times_slower_is_no_mistake(
    save: Save, fields: Fields, run: Run
) -> None:
    latency_ms = fields["latency_ms"].astype(float)
    latency_ms[3] *= 30
    save(replaced(fields, latency_ms=latency_ms))
    assert rho(run()) > 0.9


def test_the_same_networks_twice(save: Save, fields: Fields, run: Run) -> None:
    twice = {name: np.concatenate([fields[name]] * 2) for name in ("ops", "features")}
    save(replaced(fields, latency_ms=np.concatenate([fields["latency_ms"]] * 2, axis=1), **twice))
    assert rho(run("--method", "mixture,ridge")) > 0.9


def test_networks_that_nothing_tells_apart(save: Save, fields: Fields, refused: Refused) -> None:
    same = {name: np.repeat(fields[name][:1], 300, axis=0) for name in ("ops", "features")}
    save(replaced(fields, **same))
    assert "the 80 training networks of 'own' are all the same" in refused()


def test_networks_that_are_spelled_alike(save: Save, fields: Fields, refused: Refused) -> None:
    """Not one position is left where they differ."""
    texts = np.array(["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"] * 300)
    save(replaced(without(fields, "ops", "op_names", "features"), arch_str=texts))
    assert "training networks of 'own' are all the same" in refused()


def test_a_table_smaller_than_its_pretraining(save: Save, fields: Fields, run: Run) -> None:
    small = {name: fields[name][:15] for name in ("ops", "features")}
    save(replaced(fields, latency_ms=fields["latency_ms"][:, :15], **small))
    assert rho(run("--pretrain", "900")) > 0


def test_features_that_are_no_costs_are_left_out(save: Save, fields: Fields, run: Run) -> None:
    odd = fields["features"].copy()
    odd[3, 1] = np.nan
    below = np.column_stack([odd, -fields["features"][:, 0], np.ones(300)])
    names = np.array(["macs", "kernels", "less", "same"])
    save(replaced(fields, features=below, feature_names=names))
    found = run("--method", "mixture,flops")
    assert "features kernels, less are left out" in found["notes"]
    assert rho(found) > 0.8


def test_a_table_may_bring_its_proxies(save: Save, fields: Fields, run: Run) -> None:
    macs = fields["features"][:, 0]
    proxies = np.column_stack([1e6 * macs, np.exp(macs), macs])
    proxies[200:] = np.nan
    names = np.array(["params", "synflow", "epe_nas"])
    save(replaced(fields, zcp=proxies, zcp_names=names))
    assert rho(run("--method", "ridge:zcp"), "ridge:zcp") > 0.8


def test_proxies_in_a_file_beside_the_table(table: Path, fields: Fields, run: Run) -> None:
    macs = fields["features"][:, :1]
    np.savez(table.with_name("zcp_own.npz"), zcp=macs, names=np.array(["log1p_synflow"]))
    assert rho(run("--method", "ridge:zcpvec"), "ridge:zcpvec") > 0.4


def test_a_table_of_the_published_cells_under_another_name(tmp_path: Path) -> None:
    """The farm knows the cells by what they say, not by the file's name, and counts every edge."""
    cells = [
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    ]
    path = tmp_path / "mine.npz"
    np.savez(path, arch_str=np.array(cells), devices=np.array(["a"]), latency_ms=np.ones((1, 2)))
    table = published.load(path)
    macs = table.costs[:, table.cost_names.index("macs")]
    assert macs[0] > 5 * macs[1], "the convolution is run, though nothing needs it"


BAD: dict[str, tuple[Callable[[Fields], Fields], str]] = {
    "no devices": (lambda f: without(f, "devices"), "has no `devices`; it holds"),
    "no latencies": (lambda f: without(f, "latency_ms"), "has no `latency_ms`; it holds"),
    "no networks": (lambda f: without(f, "ops"), "has neither `ops` nor `arch_str`"),
    "no names": (lambda f: without(f, "op_names"), "has no `op_names`"),
    "no feature names": (lambda f: without(f, "feature_names"), "has no `feature_names`"),
    "transposed": (
        lambda f: replaced(f, latency_ms=f["latency_ms"].T),
        "must be (4, N), a row for each of `devices`, got (300, 4); transpose it",
    ),
    "words as latencies": (
        lambda f: replaced(f, latency_ms=f["latency_ms"].astype(str)),
        "`latency_ms` must be numbers",
    ),
    "a device twice": (
        lambda f: replaced(f, devices=np.array(["slow", "slow", "wide", "new"])),
        "`devices` must be different names, got ['slow']",
    ),
    "numbers as devices": (
        lambda f: replaced(f, devices=np.arange(4)),
        "`devices` must be a list of words",
    ),
    "an unknown operation": (
        lambda f: replaced(f, ops=f["ops"] + 1),
        "`ops` must be 0 to 2, the positions in `op_names`, got 1 to 3",
    ),
    "broken operations": (
        lambda f: replaced(f, ops=f["ops"] + 0.5),
        "`ops` must be (300, P) whole numbers, got (300, 5) float64",
    ),
    "too few networks": (
        lambda f: replaced(f, ops=f["ops"][:7]),
        "`ops` must be (300, P) whole numbers, got (7, 5) int8",
    ),
    "too few texts": (
        lambda f: replaced(f, arch_str=np.array(["a"])),
        "`arch_str` must have 300 entries, got 1",
    ),
    "too few features": (
        lambda f: replaced(f, features=f["features"][:, :1]),
        "`features` must be (300, 2), a column for each of `feature_names`, got (300, 1)",
    ),
    "a list of objects": (
        lambda f: replaced(f, devices=np.array([{}, [], 1, "new"], dtype=object)),
        "is not a .npz file of plain arrays",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_field_that_does_not_fit_is_named(
    save: Save, fields: Fields, refused: Refused, kind: str
) -> None:
    spoil, message = BAD[kind]
    save(spoil(fields))
    said = refused()
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"no table at all"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"own.npz is not a .npz file of plain arrays"):
        published.load(tmp_path / "own.npz")


def test_a_missing_table_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(tmp_path), "--space", "dart", "--train", "a", "--test", "b"]
    assert fewshot.main(words) == 2
    assert "no table" in capsys.readouterr().err
