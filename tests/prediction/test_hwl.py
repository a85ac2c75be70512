"""One HWL: what is printed is what models consume, by a normalisation that is fitted once."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.contract import Case
from benchmarks.methods import METHODS
from farm.core.errors import UsageError
from farm.farm import Farm
from farm.prediction.central import CentralPredictor
from farm.prediction.encoding import Encoding
from farm.prediction.hwl import FEWEST_TO_FIT, encode, look_up
from farm.spaces import space
from farm.store import Store
from predictors.encodings import ENCODINGS
from predictors.encodings.analytic import AnalyticColumns
from predictors.encodings.hwl import HardwareLatencies, References
from predictors.encodings.normalisation import TrainingRows
from predictors.models.multi_predict import MultiPredict
from predictors.models.plain import PlainModel

CLUSTER = """\
store: results
references: [b, a]
measure: {min_sessions: 1, max_sessions: 1, rounds: 1, block_s: 0.001}
controls: {every: 0}
devices:
  a: {kind: "tests.fakes:FakeAgent"}
  b: {kind: "tests.fakes:FakeAgent", seed: 1, latency_s: 4e-3}
  c: {kind: "tests.fakes:FakeAgent", seed: 2}
"""
NB201 = space("nb201")
LAUNCH = ("launch", "--executor", "inline", "--select", "random", "--holdout", "0")
NEW = NB201.sample(40, np.random.default_rng(5))


@pytest.fixture
def measured(farm, tmp_path):
    """Three devices that know some networks each."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    assert farm(*LAUNCH, "--devices", "a,b,c", "--budget", "12")[0] == 0
    return farm


@pytest.fixture
def opened(measured):  # noqa: ARG001
    farm = Farm.open()
    with Store(farm.config.store) as store:
        yield farm.config, store


def printed(farm, network) -> dict:
    code, out, err = farm("hwl", network.id, "--measure", "never", "--json")
    assert code == 0, err
    return json.loads(out)


def test_the_farms_model_consumes_what_is_printed(measured):
    config = Farm.open().config
    with Store(config.store) as store:
        predictor = CentralPredictor.of(store, config)
        model = predictor.model(predictor.whole(NB201), "c", others=NEW)
    said = [printed(measured, network) for network in NEW[:3]]
    devices = [entry["device"] for entry in said[0]["references"]]
    assert devices == ["b", "a"]
    consumed = model.features[model.rows(NEW[:3])]
    order = [("a", "b").index(device) for device in devices]  # the model's own is by name
    assert model.references == 2
    np.testing.assert_array_equal([one["values"] for one in said], consumed[:, order])
    assert model.encode is not None
    np.testing.assert_array_equal(model.encode(NEW[:3])[:, :2], consumed[:, :2])


TAKES_HWL = [
    (name, encoding)
    for name, method in METHODS.items()
    for encoding in method.encodings
    if "hwl" in ENCODINGS[encoding]
]


@pytest.mark.parametrize(("name", "encoding"), TAKES_HWL)
def test_every_model_on_hwl_is_given_what_is_printed(name, encoding, monkeypatch):
    """What is printed is by `Normalisation`, as these values are."""
    structure = NB201.features(NEW)
    latency_s = np.random.default_rng(0).uniform(1e-3, 5e-3, (len(NEW), 3))
    rows = TrainingRows.every(structure)
    references = References(latency_s, ("x", "y", "z"), rows)
    hwl = HardwareLatencies.of(references, structure)
    table = SimpleNamespace(vec=structure, name="made up", structure=structure, zcp_names=())
    analytic = AnalyticColumns.of(np.abs(structure[:, -3:]), "abc", rows)
    case = Case(table, references, hwl, analytic, None)  # type: ignore[arg-type]
    made = []

    def stop(*words, **named):
        made.extend([*words, *named.values()])
        raise InterruptedError

    monkeypatch.setattr(PlainModel, "over", stop)
    monkeypatch.setattr(MultiPredict, "pretrained", stop)
    with pytest.raises(InterruptedError):
        METHODS[name].prepare(case, encoding)
    (features,) = [given for given in made if isinstance(given, np.ndarray)]
    np.testing.assert_array_equal(features[:, :3], hwl.values)


def test_a_later_campaign_changes_no_version_and_no_value(measured):
    with Store(Farm.open().config.store) as store:
        known = store.measurements(device="a")[0].network
    before = printed(measured, known)
    assert before["fitted_on"] > FEWEST_TO_FIT
    assert measured(*LAUNCH, "--devices", "a,b", "--budget", "12", "--seed", "1")[0] == 0
    after = printed(measured, known)
    assert after["version"] == before["version"]
    assert after["values"] == before["values"]


def test_a_network_has_the_same_values_alone_and_among_others(opened):
    config, store = opened
    known = store.measurements(device="a")[0].network
    batch = encode(store, config, [*NEW, known])
    for row in (0, 17, len(NEW)):
        alone = encode(store, config, [batch.networks[row]])
        np.testing.assert_array_equal(alone.values[0], batch.values[row])
        assert alone.of(0).values == batch.of(row).values
    assert set(batch.source[-1]) == {"cached"}
    assert set(batch.source[:-1].ravel()) <= {"cached", "predicted"}
    assert (batch.std[batch.source == "predicted"] > 0).all()
    assert np.isnan(batch.std[-1]).all()  # of a single session, which does not tell
    truth = batch.of(0).references[0]
    assert truth.low_s < truth.latency_s < truth.high_s


def test_what_few_networks_ask_for_is_what_many_do(opened):
    config, store = opened
    predictor = CentralPredictor.of(store, config)
    known = [m.network for m in store.measurements(device="a")]
    few = look_up(store, predictor, known[:3], config.device("a"))
    many = look_up(store, predictor, [*known, *NEW], config.device("a"))
    assert {n: many[n].latency_s for n in few} == {n: m.latency_s for n, m in few.items()}
    assert set(known) <= set(many)


def test_encodings_of_different_versions_refuse_to_mix_and_name_both(opened):
    config, store = opened
    one = encode(store, config, NEW[:3])
    both = Encoding.together([one, encode(store, config, NEW[3:5])])
    assert both.values.shape == (5, 2)
    np.testing.assert_array_equal(both.values[:3], one.values)
    other = encode(store, config, space("fbnet").sample(2, np.random.default_rng(0)))
    with pytest.raises(UsageError) as raised:
        Encoding.together([one, other])
    assert one.version in str(raised.value)
    assert other.version in str(raised.value)


def test_a_set_of_a_device_that_is_another_one_now_does_not_hold(measured, tmp_path):
    before = printed(measured, NEW[0])
    (tmp_path / "cluster.yaml").write_text(CLUSTER.replace("seed: 1,", "seed: 7,"))
    assert measured(*LAUNCH, "--devices", "b", "--budget", "12")[0] == 0
    code, _, err = measured("hwl", NEW[0].id, "--measure", "never")
    assert code == 2
    assert before["version"] in err
    assert "of b in revision" in err
    assert "`farm references use b,a --space nb201` makes a new set" in err


def test_another_batch_size_is_another_set(measured, tmp_path):
    before = printed(measured, NEW[0])
    text = CLUSTER.replace("measure: {", "measure: {batch: 4, ")
    (tmp_path / "cluster.yaml").write_text(text)
    code, out, _ = measured("hwl", NEW[0].id, "--measure", "never", "--json")
    assert code == 1
    assert json.loads(out)["version"] != before["version"]
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    assert printed(measured, NEW[0])["version"] == before["version"]


def test_a_reference_that_is_the_target_does_not_predict_itself(opened):
    config, store = opened
    predictor = CentralPredictor.of(store, config)
    model = predictor.model(predictor.whole(NB201), "a")
    assert model.references == 2  # b and c
    only = predictor.model(predictor.whole(NB201), "a", only=[])
    store_of_a = {m.network: m.latency_s for m in store.measurements(device="a")}
    guessed = only.posterior(only.rows(list(store_of_a)[:5])).latency_s
    assert not np.allclose(guessed, list(store_of_a.values())[:5], rtol=1e-3)


def test_a_device_that_is_gone_is_named_and_its_set_is_still_listed(measured, tmp_path):
    version = printed(measured, NEW[0])["version"]
    gone = CLUSTER.replace("  a: {", "  z: {")
    (tmp_path / "cluster.yaml").write_text(gone)
    code, _, err = measured("hwl", NEW[0].id)
    assert (code, "references.1: no device 'a'" in err) == (2, True)
    (tmp_path / "cluster.yaml").write_text(gone.replace("[b, a]", "[b]"))
    code, out, err = measured("references", "list", "--json")
    assert code == 0, err
    (kept,) = json.loads(out)["sets"]
    assert (kept["version"], kept["devices"], kept["used"]) == (version, ["b", "a"], False)
    assert printed(measured, NEW[0])["version"] != version
    code, _, err = measured("references", "use", version)
    assert (code, "no device 'a'" in err) == (2, True)
