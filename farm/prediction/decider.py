"""What a campaign measures next on a device, and whether it is done there.

`Decider` is a plain object over a store: an executor holds it, in this process or in an actor of
its own, which is made anew from the store when it dies.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np

from farm.core.values import Network, percent
from farm.inventory.config import FarmConfig
from farm.measurement.record import Measurement
from farm.measurement.spec import MeasureSpec
from farm.prediction import goals
from farm.prediction.central import BLIND, CentralPredictor, DeviceModel
from farm.prediction.decisions import Decision, Learnt, Outlook, Question
from farm.prediction.evaluation import Judgement, judgement
from farm.prediction.precision import most_telling
from farm.prediction.selection import Candidates
from farm.spaces import space
from farm.store import Plan, Store
from predictors import IntArray, metrics
from predictors.acquisition import ACQUISITIONS, Pool

ACQUISITION = "robust"
"""How networks are chosen by what is believed, see `predictors.acquisition`."""

ENOUGH = 10
"""Networks from which on a device's noise is known well enough to say what it does not allow."""

LOOKED_AT = 300
"""Candidates by which it is decided how precisely networks are measured."""

AT_ONCE = 1000
"""Candidates that networks are chosen among; as many again join when those are nearly used up."""


class Decider:
    """Answers questions about the campaigns of one store. Equal rows, equal answers."""

    def __init__(self, store: Store, config: FarmConfig) -> None:
        self._store = store
        self._predictor = CentralPredictor.of(store, config)
        self._about: dict[str, tuple[Plan, Candidates]] = {}
        self._judging: dict[tuple[str, str], list[Measurement]] = {}

    @classmethod
    def at(cls, folder: Path, config: FarmConfig) -> Decider:
        """Over the store in a folder. Raises StoreError."""
        return cls(Store(folder, create=False), config)

    def close(self) -> None:
        """Close the store."""
        self._store.__exit__(None, None, None)

    def decide(self, question: Question) -> Decision:
        """Raises UnknownName for a campaign or device that there is not."""
        plan, about = self._of(question.campaign)
        batch = plan.spec_of[question.device].batch if question.kernels else None
        judged = self._holdout(question)
        networks = tuple(m.network for m in judged)
        only = self._own(question) if plan.fresh else None
        model = self._predictor.model(about, question.device, batch, networks, only)
        free = _free(model, about)
        found = judgement(model, judged)
        # References alone say how networks compare, and not how fast the device is.
        at_all = len(model.seen) > 0 or model.source == "kernels"
        learnt = Learnt(len(model.seen), found.error_median if at_all else None, found.spearman)
        own = plan.spec_of[question.device]
        spec = _precision(plan, model, free)
        outlook = goals.outlook(plan, model, free, spec)
        if outlook and question.judged and _is_reached(plan, model, outlook, found):
            stop = f"{outlook.said}; {len(model.seen)} networks were enough"
            return Decision(question.device, (), "", learnt, outlook, stop)
        rows, why = _chosen(plan, model, free, question, spec)
        chosen = tuple(model.networks[row] for row in rows)
        remark = _too_much(plan, model, free) if outlook and len(model.seen) >= ENOUGH else None
        half_width = None
        if spec != own:
            half_width = spec.half_width
            why += f"; to {100 * half_width:g} % each, by which a second tells most"
        return Decision(
            question.device, chosen, why, learnt, outlook, remark=remark, half_width=half_width
        )

    def _of(self, campaign: str) -> tuple[Plan, Candidates]:
        if campaign not in self._about:
            plan = self._store.campaign(campaign).plan
            about = Candidates.of(plan, space(plan.space, self._store.models))
            self._about[campaign] = plan, about
        return self._about[campaign]

    def _holdout(self, question: Question) -> list[Measurement]:
        """The networks that only judge, as far as they were measured on the device."""
        key = (question.campaign, question.device)
        if key not in self._judging:
            found = self._store.measurements(question.campaign, "holdout", question.device)
            if not question.judged:
                return self._store.as_now(found)
            self._judging[key] = self._store.as_now(found)
        return self._judging[key]

    def _own(self, question: Question) -> list[Network]:
        """The networks that the campaign itself measured on the device."""
        found = self._store.measurements(question.campaign, device=question.device)
        return [m.network for m in found]


def _is_reached(plan: Plan, model: DeviceModel, outlook: Outlook, found: Judgement) -> bool:
    """By the model's own word, and not against the holdout's."""
    return outlook.reached and not model.blind and goals.confirmed(plan, model, found)


def _too_much(plan: Plan, model: DeviceModel, free: IntArray) -> str | None:
    """What is to be said of a goal that noise does not allow."""
    if plan.target_rho is None:
        return None
    most = goals.ceiling(model, free, plan.seed)
    if most >= plan.target_rho:
        return None
    return (
        f"a rank correlation of {plan.target_rho:g} cannot be reached: measurements there are so "
        f"noisy that {most:.3f} is the most; it goes on until the budget is spent"
    )


def _free(model: DeviceModel, about: Candidates) -> IntArray:
    """Rows of the candidates that something may be learnt from."""
    pool = model.networks[: model.candidates]
    return np.array([row for row, n in enumerate(pool) if n not in about.withheld], np.intp)


def _precision(plan: Plan, model: DeviceModel, free: IntArray) -> MeasureSpec:
    """How networks are measured on the device. Where all of them are, none is left to predict."""
    own = plan.spec_of[model.device]
    if not plan.coarser or len(free) <= plan.budget:
        return own
    some = np.random.default_rng(plan.seed).permutation(free)[:LOOKED_AT]
    latency_s = model.posterior(some).latency_s
    return most_telling(own, model.expense, model.belief, model.features[some], latency_s)


def _chosen(
    plan: Plan, model: DeviceModel, free: IntArray, question: Question, spec: MeasureSpec
) -> tuple[IntArray, str]:
    """Rows of networks to measure, and why those."""
    most = model.candidates
    taken, ended = (
        [row for network in networks if (row := model.row.get(network, most)) < most]
        for networks in (question.taken, question.ended)
    )
    measured = model.seen[model.seen < most]
    wanted = free
    if plan.decide is not None and len(model.seen) >= BLIND:
        wanted = goals.undecided(model, free, goals.limit_s(plan.decide))
    known = np.union1d(measured, [*taken, *ended])
    order = np.random.default_rng(plan.seed).permutation(wanted)
    steps = ceil((len(known) + question.more + AT_ONCE / 2) / AT_ONCE)
    left = np.setdiff1d(order[: steps * AT_ONCE], known)
    n = min(question.more, len(left))
    if n == 0:
        return np.empty(0, np.intp), "no other network is left"
    looked_at = np.concatenate([left, measured, taken]).astype(np.intp)
    barred = np.setdiff1d(np.arange(most), looked_at)
    pool = Pool(model.features[:most], plan.seed, barred, measured)
    if plan.select == "random":
        return ACQUISITIONS["random"](pool, taken, n, prior=model.belief), "at random"
    if model.source == "kernels":
        # What is left to learn is what networks have in common, and the odd ones that are least
        # known lack that: six of either made errors of .5 % and 1.1 % (benchmarks/kernels.py).
        rows = ACQUISITIONS["random"](pool, taken, n, prior=model.belief)
        return rows, "as they come, since kernels tell what is odd about a network"
    if model.blind:
        # What is known and what is in flight count alike: nothing that came of them is looked at.
        pool = replace(pool, measured=np.empty(0, np.intp))
        rows = ACQUISITIONS["variance"](pool, [*measured, *taken], n, prior=model.belief)
    else:
        price_s = np.ones(most)
        price_s[looked_at] = model.expense.price_s(spec, model.posterior(looked_at).latency_s)
        rows = ACQUISITIONS[ACQUISITION](pool, taken, n, prior=model.belief, cost_s=price_s)
    return rows, _why(model, rows, left)


def _why(model: DeviceModel, rows: IntArray, left: IntArray) -> str:
    def off(some: IntArray) -> float:
        return float(np.expm1(1.96 * np.median(model.posterior(some).std)))

    if len(model.seen) < metrics.FEWEST:
        return "that tell most about the others, by what is known of them without measuring"
    by = f"{len(model.seen)} networks"
    if model.references:
        by += f" and {model.references} other devices"
    here, elsewhere = (percent(off(some)) for some in (rows, left[:200]))
    return f"known to {here} by {by}, where others are known to {elsewhere}"
