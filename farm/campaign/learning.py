"""How well a campaign predicted as it went on, told from its rows: a learning curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from farm.campaign.summary import models, seen_on
from farm.inventory.config import FarmConfig
from farm.prediction import goals
from farm.prediction.central import CentralPredictor, DeviceModel
from farm.prediction.decisions import Learnt
from farm.prediction.evaluation import judgement
from farm.prediction.selection import Candidates
from farm.spaces import space
from farm.store import Store, StoredCampaign
from predictors.forecast import Forecast

_POINTS = 6
"""Of a curve: each takes a fit of every device."""

_RANKED = 200
"""Candidates that a forecast looks at."""


@dataclass
class Curve:
    """A device's points, fewest networks first. ahead: the rank correlation that is forecast, by
    how many more networks are learnt from."""

    points: list[Learnt] = field(default_factory=list)
    ahead: Mapping[int, Forecast] = field(default_factory=dict)


def curves(store: Store, stored: StoredCampaign, config: FarmConfig | None) -> dict[str, Curve]:
    """The learning curve of each device of a campaign, with a forecast where it is to learn more.

    A point is what would be predicted from all that was known when so many were measured.
    """
    found = {device: Curve() for device in stored.plan.devices}
    about = Candidates.of(stored.plan, space(stored.plan.space, store.models))
    seen = seen_on(store, stored, about)
    ends = _ends(store.learnt_from(stored.id))
    for until in ends:
        predictor = CentralPredictor.of(store, config, until)
        for model in models(predictor, stored.plan, about, seen):
            judged = judgement(model, seen[model.device].heldout)
            point = Learnt(len(model.seen), judged.error_median, judged.spearman)
            curve = found[model.device]
            curve.points = [p for p in curve.points if p.networks != point.networks] + [point]
            more = stored.plan.budget - len(model.seen)
            if until == ends[-1] and stored.state == "unfinished" and more > 0:
                curve.ahead = _ahead(model, more, stored.plan.seed)
    return found


def _ends(ids: Sequence[int]) -> list[int]:
    """The measurements that points are at: evenly on a logarithmic scale, the last one included."""
    if not ids:
        return []
    at = np.unique(np.geomspace(min(3, len(ids)), len(ids), _POINTS).round().astype(int))
    return [ids[n - 1] for n in at]


def _ahead(model: DeviceModel, more: int, seed: int) -> dict[int, Forecast]:
    rest = np.setdiff1d(np.arange(model.candidates), model.seen)
    rows = np.random.default_rng(seed).permutation(rest)[:_RANKED]
    return goals.ahead(model, rows, [n for n in (*goals.AHEAD, more) if n <= more], seed)
