"""What is known of latency against accuracy, without a search: networks that were measured on a
device or can be predicted there, and which of them none beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from farm.core.values import Network
from farm.prediction.central import CentralPredictor
from farm.search.accuracy import Accuracy, accuracy_of
from farm.search.front import non_dominated
from farm.spaces.base import SearchSpace
from predictors import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class KnownFront:
    """N networks that were measured on a device and have an accuracy. latency_s, accuracy: (N,).
    front: rows that none beats, fastest first."""

    device: str
    networks: Sequence[Network]
    latency_s: FloatArray
    accuracy: FloatArray
    front: IntArray


@dataclass(frozen=True, eq=False)
class BelievedFront:
    """The F networks that none beats, fastest first, of N with an accuracy that were measured on a
    device or else predicted: some of these are there by luck. What is less accurate than half of
    the N nobody would choose, and is left out, as `farm search` does.

    latency_s, low_s, high_s: (F,) seconds, with the interval of 95 %. accuracy: (F,). measured:
    (F,), which of them were. among: N.
    """

    networks: Sequence[Network]
    latency_s: FloatArray
    low_s: FloatArray
    high_s: FloatArray
    accuracy: FloatArray
    measured: Sequence[bool]
    among: int


def believed_front(
    predictor: CentralPredictor, searched: SearchSpace, device: str, data_set: str
) -> BelievedFront | None:
    """None where too little was measured to predict from. data_set, errors: see `known_front`."""
    model = predictor.model(predictor.whole(searched), device)
    if model.encode is None or not model.can_tell:
        return None
    said = _accuracies(searched, data_set)
    column = predictor.measured(searched.name, device)
    own = {m.network: (m.latency_s, *m.interval_s) for m in column.measurements}
    listed = list(said.listed or ())
    others = [network for network in listed if network not in own]
    posterior = model.fitted.posterior(model.encode(others), device)
    told = zip(posterior.latency_s, *posterior.interval_s(), strict=True)
    known = own | dict(zip(others, told, strict=True))
    latency_s, low_s, high_s = np.array([known[network] for network in listed]).T
    accuracy = said(listed)
    rows = non_dominated(latency_s, accuracy)
    rows = rows[accuracy[rows] >= np.median(accuracy)]
    networks = [listed[row] for row in rows]
    return BelievedFront(
        networks,
        *(latency_s[rows], low_s[rows], high_s[rows], accuracy[rows]),
        measured=[network in own for network in networks],
        among=len(listed),
    )


def known_front(
    predictor: CentralPredictor, searched: SearchSpace, device: str, data_set: str
) -> KnownFront:
    """data_set: a column of the space's published table, see `accuracy_of`. Raises UsageError where
    there is no table, and UnknownName for the data set."""
    column = predictor.measured(searched.name, device)
    said = _accuracies(searched, data_set)
    listed = set(said.listed or ())
    rows = [row for row, network in enumerate(column.networks) if network in listed]
    networks = [column.networks[row] for row in rows]
    latency_s, accuracy = np.asarray(column.latency_s)[rows], said(networks)
    return KnownFront(device, networks, latency_s, accuracy, non_dominated(latency_s, accuracy))


def _accuracies(searched: SearchSpace, data_set: str) -> Accuracy:
    return accuracy_of(f"table:{searched.name}.npz:{data_set}", searched)
