"""Networks of a search space as the predictor sees them.

Without reference devices of the same space, what is known beforehand are virtual devices: costs
that follow from the graph (multiply-accumulates, parameters, kernels, traffic), each of which some
real device resembles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farm.spaces import SearchSpace
from farm.types import Network
from predictors.encodings.analytic import VirtualDevices
from predictors.encodings.normalisation import TrainingRows
from predictors.models.mixture_gp import MixtureGP

_LOG = "log_"
"""How a space marks the columns that are log(1 + cost)."""


def predictor(space: SearchSpace, networks: Sequence[Network], pool: int) -> MixtureGP:
    """The predictor over `networks` (N); row i of its `features` (N, F) encodes networks[i].

    pool: scales are fitted on so many of the first networks, which are known without measuring.
    """
    features = space.features(networks)
    logs = [i for i, name in enumerate(space.feature_names) if name.startswith(_LOG)]
    names = [space.feature_names[i].removeprefix(_LOG) for i in logs]
    rows = TrainingRows.of(np.arange(pool), np.arange(pool, len(networks)))
    virtual = VirtualDevices.of(np.expm1(features[:, logs]), names, rows)
    no_references = np.empty((len(networks), 0))
    return MixtureGP.over(no_references, virtual.values, features, rows, np.empty(0))
