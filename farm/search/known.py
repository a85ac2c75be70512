"""What is known of latency against accuracy, without a search: networks that were measured on a
device, and which of them none beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from farm.core.values import Network
from farm.prediction.central import CentralPredictor
from farm.search.accuracy import accuracy_of
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


def known_front(
    predictor: CentralPredictor, searched: SearchSpace, device: str, data_set: str
) -> KnownFront:
    """data_set: a column of the space's published table, see `accuracy_of`. Raises UsageError where
    there is no table, and UnknownName for the data set."""
    column = predictor.measured(searched.name, device)
    said = accuracy_of(f"table:{searched.name}.npz:{data_set}", searched)
    listed = set(said.listed or ())
    rows = [row for row, network in enumerate(column.networks) if network in listed]
    networks = [column.networks[row] for row in rows]
    latency_s, accuracy = np.asarray(column.latency_s)[rows], said(networks)
    return KnownFront(device, networks, latency_s, accuracy, non_dominated(latency_s, accuracy))
