"""What a campaign is after: when a device is known well enough, and how far that is off."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from farm.core.errors import UsageError
from farm.core.values import percent
from farm.measurement.spec import MeasureSpec
from farm.prediction.central import DeviceModel
from farm.prediction.decisions import Outlook
from farm.prediction.evaluation import Judgement
from farm.store import Plan
from predictors import FloatArray, IntArray, forecast, metrics

SETTLED = 0.95
"""Odds at which a decision is settled."""

AHEAD = (0, 1, 2, 4, 8, 16, 32, 64)
"""Numbers of further networks that a forecast looks at."""

SLACK = 0.9
"""Of an allowed error: what is predicted of the median is itself off by some per cent."""

_NETWORKS = 300
"""Candidates that errors and ranks are forecast over."""

_MEDIAN_OF_NORMAL = 0.6745
"""The median of the absolute value of a standard normal."""

_DECISION = re.compile(r"\s*latency\s*<\s*([0-9.]+)\s*(us|µs|ms|s)\s*")
_UNIT_S = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def limit_s(decision: str) -> float:
    """The seconds of `latency<20ms`. Raises UsageError."""
    found = _DECISION.fullmatch(decision)
    seconds = float(found[1]) * _UNIT_S[found[2]] if found and found[1].count(".") < 2 else 0.0
    if not seconds > 0:
        raise UsageError(f"--decide takes a limit such as 'latency<20ms', got {decision!r}")
    return seconds


def undecided(model: DeviceModel, rows: IntArray, limit_s: float) -> IntArray:
    """Those of some rows that may be on either side of a limit, none of them measured."""
    from scipy.stats import norm

    rest = np.setdiff1d(rows, model.seen)
    posterior = model.posterior(rest)
    below = norm.cdf((np.log(limit_s) - posterior.mean) / np.maximum(posterior.std, 1e-12))
    tail = (1 - SETTLED) / 2
    return np.asarray(rest[(below > tail) & (below < 1 - tail)])


def outlook(plan: Plan, model: DeviceModel, rows: IntArray, spec: MeasureSpec) -> Outlook | None:
    """Of the plan's goal; None where it has none. rows: of the candidates, the holdout left out.
    spec: as what comes is measured."""
    if plan.decide is not None:
        return _of_decision(model, rows, plan.decide, spec)
    if plan.max_error is not None:
        return _of_error(model, rows, plan.max_error, spec)
    if plan.target_rho is not None:
        return _of_ranks(model, rows, plan.target_rho, plan.seed, spec)
    return None


def confirmed(plan: Plan, model: DeviceModel, found: Judgement) -> bool:
    """Whether the holdout does not speak against it: `found`, of networks that only judge.

    Ranks of so few say little, and of networks that are alike still less: less is asked for where
    the model itself expects less of just these, in one case of twenty.
    """
    if len(found.predictions) < metrics.FEWEST:
        return True
    if plan.max_error is not None:
        return found.error_median is not None and found.error_median <= plan.max_error
    if plan.target_rho is not None:
        rows = model.rows(prediction.network for prediction in found.predictions)
        expected = forecast.ahead(model.posterior(rows, joint=True), [0], plan.seed)[0]
        rho = found.spearman
        return rho is not None and rho >= min(plan.target_rho, expected.low)
    return True


def ceiling(model: DeviceModel, rows: IntArray, seed: int) -> float:
    """The rank correlation that noise allows, were everything known."""
    some = _some(model, rows, seed)
    return forecast.ceiling(model.posterior(some, joint=True), seed).high


def ahead(
    model: DeviceModel, rows: IntArray, numbers: Sequence[int], seed: int
) -> dict[int, forecast.Forecast]:
    """The rank correlation that is expected after so many more of the networks in some rows, for
    as many as leave half of these to rank."""
    few = [n for n in numbers if n <= len(rows) // 2]
    return forecast.ahead(model.posterior(rows, joint=True), few, seed)


def _of_decision(model: DeviceModel, rows: IntArray, decision: str, spec: MeasureSpec) -> Outlook:
    open_rows = undecided(model, rows, limit_s(decision))
    n = len(open_rows)
    left_s = float(_device_s(model, open_rows, spec).sum())
    said = f"{n} of {len(rows)} networks may be on either side of {decision}"
    return Outlook(n == 0, float(n), said, (0, n), left_s)


def _of_error(model: DeviceModel, rows: IntArray, wanted: float, spec: MeasureSpec) -> Outlook:
    some = _some(model, rows, 0)
    posterior = model.posterior(some)
    typical = np.hypot(posterior.std, posterior.noise_std)
    now = float(np.expm1(_MEDIAN_OF_NORMAL * np.median(typical)))
    left = None
    if now > SLACK * wanted:
        # What was not learnt yet shrinks about as the root of what was.
        n, noise = max(len(model.seen), 1), float(np.median(posterior.noise_std))
        own = float(np.median(posterior.std))
        goal = (np.log1p(SLACK * wanted) / _MEDIAN_OF_NORMAL) ** 2 - noise**2
        if goal > 0:
            more = max(1.0, n * (own**2 / goal - 1))
            left = (int(np.ceil(more / 3)), int(np.ceil(3 * more)))
    said = f"errors of {percent(now)} are expected in the median"
    return Outlook(now <= SLACK * wanted, now, said, left, _seconds(model, some, spec, left))


def _of_ranks(
    model: DeviceModel, rows: IntArray, wanted: float, seed: int, spec: MeasureSpec
) -> Outlook:
    some = _some(model, rows, seed)
    expected = ahead(model, some, AHEAD, seed)
    now = expected[0]
    likely = next((n for n, found in expected.items() if found.mean >= wanted), None)
    left = None
    if likely:
        first = next(n for n, found in expected.items() if n and found.high >= wanted)
        sure = next((n for n, found in expected.items() if found.low >= wanted), 2 * likely)
        left = (first, max(sure, likely))
    said = f"a rank correlation of {now.mean:.3f} is expected"
    left_s = _seconds(model, some, spec, left, likely)
    return Outlook(now.mean >= wanted, now.mean, said, left, left_s)


def _some(model: DeviceModel, rows: IntArray, seed: int) -> IntArray:
    """Candidates that were not measured, drawn by the seed."""
    rest = np.setdiff1d(rows, model.seen)
    return np.random.default_rng(seed).permutation(rest)[:_NETWORKS]


def _seconds(
    model: DeviceModel,
    rows: IntArray,
    spec: MeasureSpec,
    left: tuple[int, int] | None,
    likely: int | None = None,
) -> float:
    if left is None:
        return 0.0
    n = likely if likely is not None else round(np.sqrt(left[0] * left[1]))
    return float(n * np.median(_device_s(model, rows, spec)))


def _device_s(model: DeviceModel, rows: IntArray, spec: MeasureSpec) -> FloatArray:
    """(m,) expected device seconds of measuring the networks in some rows like that."""
    return model.expense.device_s(spec, model.posterior(rows).latency_s)
