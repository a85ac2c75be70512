"""What a campaign learns of one device from another."""

from __future__ import annotations

import numpy as np
import pytest

from farm.core.values import Network
from farm.measurement.record import Block, Measurement
from farm.measurement.spec import MeasureSpec
from farm.prediction.columns import Column
from farm.prediction.evaluation import judge
from farm.prediction.features import Encoder
from farm.spaces import space
from farm.store import Plan
from predictors.encodings.hwl import Normalisation

NB201 = space("nb201")
NETWORKS = NB201.sample(120, np.random.default_rng(0))


def latency_s(network: Network) -> float:
    """Of a device that is slow where no analytic column is: at skips and in the last edge."""
    ops = [word.split("~")[0] for word in network.code.replace("+", "").split("|") if "~" in word]
    own = sum(3.0 for op in ops if op == "skip_connect") + 4.0 * ("conv" in ops[-1])
    return 1e-3 * (5 + own + sum("3x3" in op for op in ops))


def measured(network: Network, device: str, seconds: float) -> Measurement:
    block = Block((seconds,), 1, {}, session=0)
    return Measurement(
        network=network,
        device=device,
        fingerprint="f",
        build_key=None,
        spec=MeasureSpec(),
        blocks=(block,),
        warmup_s=(),
        exact=True,
        device_s=1.0,
        measured_at="",
    )


def plan(*devices: str) -> Plan:
    codes = tuple(network.code for network in NETWORKS)
    specs = (MeasureSpec(),) * len(devices)
    return Plan("nb201", devices, budget=6, holdout=40, seed=0, specs=specs, networks=codes)


def spearman(*devices: str, others: int) -> float:
    """Of device b after six samples, where device a, of the same kind, has `others`."""
    learnt = [measured(n, "b", 2 * latency_s(n)) for n in NETWORKS[:6]]
    learnt += [measured(n, "a", latency_s(n)) for n in NETWORKS[:others]]
    heldout = [measured(n, "b", 2 * latency_s(n)) for n in NETWORKS[80:]]
    found = judge(plan(*devices), NB201, learnt, heldout)["b"].spearman
    assert found is not None
    return found


def test_a_device_learns_from_another_one_s_networks() -> None:
    alone, together = spearman("b", others=0), spearman("a", "b", others=70)
    assert together > alone + 0.02


def test_a_device_that_the_plan_does_not_name_teaches_too() -> None:
    assert spearman("b", others=70) == pytest.approx(spearman("a", "b", others=70))


def test_two_measurements_make_no_reference() -> None:
    assert spearman("a", "b", others=2) == pytest.approx(spearman("b", others=0))


def test_a_reference_is_a_column_of_the_encoding() -> None:
    seconds = np.array([latency_s(n) for n in NETWORKS[:40]])
    encoder = Encoder.of(NB201, NETWORKS)
    known = Column("other", tuple(NETWORKS[:40]), seconds)
    found = encoder.reference(known)
    assert found is not None
    own = Normalisation.fit(found.latency_s(encoder.pool)[:, None])
    hwl = own.values(found.latency_s(encoder.pool)[:, None])
    model = encoder.predictor(hwl, own.scale, encoder.pool)
    assert model.features.shape[1] == encoder.alone.features.shape[1] + 1
    np.testing.assert_array_equal(model.features[:, 0], hwl[:, 0])
    column = model.features[40:, 0]
    truth = [latency_s(n) for n in NETWORKS[40:]]
    assert np.corrcoef(column, np.sqrt(truth))[0, 1] > 0.5
