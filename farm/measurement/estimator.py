"""Statistics of raw latency samples. Everything here is a pure function.

`blocks` are what `of_block` says of blocks, in seconds, a row for each session (a fresh process).
`controls` are the control networks that were timed in the same sessions: for each its blocks, in
rows of the same sessions, and what it takes at the device's baseline, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import quantiles

import numpy as np

Rows = Sequence[Sequence[float]]
Controls = Sequence[tuple[Rows, float]]
_Hashable = tuple[tuple[float, ...], ...]

Z_95 = 1.96
"""So many standard deviations of a normal are half the width of its 95 % interval."""

_RESAMPLES = 500

_SHARE = 0.25
"""Of the blocks that `level` is a mean of."""

_PRIOR_DEGREES = 4.0
"""How many sessions the spread of a group counts as, beside a network's own."""

_UNSEEN = 0.003
"""What a network does otherwise than the control networks for minutes, relative, one standard
deviation. Without it, 95 % intervals held the value of a longer run in 83 % of 120 cases
(benchmarks/fidelity.py)."""

_UNCORRECTED = 0.1
"""Share of a slowdown that may not be the network's own, one standard deviation. With it, and with
how far the control networks contradict each other, intervals of two groups agreed in 99 % (one
thread) and 95 % (two) of all pairs; without both, in 98 % and 84 %."""


def of_block(samples_s: Sequence[float], shared: bool = False) -> float:
    """The lower quartile of a block's samples, in seconds.

    A busy host only adds time, and as long as fewer than three in four samples are slowed down, the
    lower quartile is one of the others'. The least sample would repeat worse: it goes after the
    moments in which whoever shares the core or the clock's budget rests. So would the median on a
    busy host.

    shared: whether something else was on the core at times, and these are the samples before and
        after which it was not: then the lower decile, as it may have come and gone in between.
    """
    if len(samples_s) == 1:
        return samples_s[0]
    return quantiles(samples_s, n=10 if shared else 4, method="inclusive")[0]


def level(values: Sequence[float]) -> float:
    """The mean of the lowest quarter, the last value of it by its share.

    Of blocks, for the reason that `of_block` gives: on a busy host some run undisturbed as a whole
    and others do not, and how many is another number each time. Two virtual cores beside a test
    suite, five sessions each: two groups were apart by .4 % (one thread) and 1.8 % (two) in the
    median, where medians over blocks were by .7 % and 4.5 %, and lower quartiles by .5 % and 3 %.
    The control networks, timed in turn with the others, see the same moments.
    """
    ordered, share = sorted(values), _SHARE * len(values)
    whole = int(share)
    rest = (share - whole) * ordered[whole] if share > whole else 0.0
    return (sum(ordered[:whole]) + rest) / share


def latency(blocks: Rows, controls: Controls = ()) -> float:
    """The `level` of the blocks, at the device's baseline, in seconds."""
    return level(_pooled(blocks)) / slowdown(controls)


def slowdown(controls: Controls) -> float:
    """How many times as long as at their baseline the control networks took; 1 without any.

    The geometric mean, each with the weight of its precision, and of that x = log(slowdown) only
    x^3 / (x^2 + 4 s^2), where s is the standard error that they do not share: what is no more than
    their own scatter is not divided out. It is the posterior mean for a prior as wide as x (Efron &
    Morris, Stein's Estimation Rule and Its Competitors, JASA 68 (1973)), and doubts twice as much,
    as a few sessions show too little scatter. With cores that were shared half of the time two
    campaigns were .97 % apart in the median by the plain mean, and .25 % so.
    """
    seen = _seen(controls)
    return math.exp(seen.believed * seen.log)


@dataclass(frozen=True)
class _Slowdown:
    """What control networks say together. log: how much slower, as a logarithm; weights: of each
    of them, 1 in all; contradiction: the standard deviation of what they say, so weighted;
    believed: the share of `log` that is told, see `slowdown`; the posterior's standard deviation is
    the root of the rest, times `log`."""

    log: float
    weights: Sequence[float]
    contradiction: float
    believed: float


_DOUBT = 4.0
"""See `slowdown`."""


def _seen(controls: Controls) -> _Slowdown:
    return _said_by(tuple((_hashable(rows), level_s) for rows, level_s in controls))


@lru_cache(maxsize=64)
def _said_by(controls: tuple[tuple[_Hashable, float], ...]) -> _Slowdown:
    """Kept, since a latency, its spread and its interval each ask for it, of all networks that
    were measured together."""
    if not controls:
        return _Slowdown(0.0, (), 0.0, 1.0)
    logs = np.array([math.log(level(_pooled(rows)) / level_s) for rows, level_s in controls])
    variances = _own_variances([rows for rows, _ in controls])
    weights = 1 / (variances + _UNSEEN**2)
    weights /= weights.sum()
    log = float(weights @ logs)
    doubt = _DOUBT * float(weights**2 @ variances)
    believed = log**2 / (log**2 + doubt) if doubt else 1.0
    contradiction = math.sqrt(weights @ (logs - log) ** 2)
    return _Slowdown(log, weights.tolist(), contradiction, believed)


def _own_variances(controls: Sequence[Rows]) -> np.ndarray:
    """(C,) squared standard errors of the logarithm of each `level`: of what control networks do
    not share from session to session, by the scatter of each; 0 for one, which shows no such thing.

    Of a single session it is by its blocks.
    """
    n, count = len(controls[0]), len(controls)
    if n == 1:
        controls = [[[value] for value in rows[0]] for rows in controls]
        n = min(map(len, controls))
    if n == 1 or count == 1:
        return np.zeros(count)
    logs = np.array([_resampled(_hashable(rows)) for rows in controls])
    own = (logs - logs.mean(axis=0)).var(axis=1).sum() * count / (count - 1)
    each = logs.var(axis=1)
    share = own / each.sum() * n / (n - 1) if each.any() else 0.0
    return np.asarray(each * share)


def spread(blocks: Rows, controls: Controls = ()) -> float | None:
    """Standard deviation of `latency` from session to session, relative; None for one session.

    By a bootstrap over sessions, each with all its rounds and what the control networks took in it:
    resampling the blocks within them as well would count their scatter twice (Davison & Hinkley,
    Bootstrap Methods and their Application, 1997, section 3.8). Resamples differ less than sessions
    do, by n - 1 to n in the variance. The generator is seeded, so that the same samples give the
    same spread.
    """
    n = len(blocks)
    if n < 2:
        return None
    logs, seen = _resampled(_hashable(blocks)), _seen(controls)
    for (rows, _), weight in zip(controls, seen.weights, strict=True):
        logs = logs - seen.believed * weight * _resampled(_hashable(rows))
    return float(np.std(logs, ddof=1)) * n / math.sqrt(n - 1)


def half_width(
    blocks: Rows,
    controls: Controls = (),
    group_spread: float | None = None,
    sessions: int | None = None,
) -> float:
    """Half of a 95 % interval of `latency`, relative; infinite for a single block.

    group_spread: `spread` of the networks that took part in the same sessions, root mean square;
        None where it was alone. They saw the same host, so that a network's own spread is moderated
        by it (Smyth, Linear Models and Empirical Bayes Methods, Stat. Appl. Genet. Mol. Biol. 3
        (2004), section 3), and a few sessions tell enough.
    sessions: as it would be after so many, if they go on like these; by default after these.

    To that comes what sessions of one time do not show: what differs from hour to hour, how much
    the control networks contradict each other, and a share of the slowdown that was divided out.
    One session is judged by the spread of its blocks.
    """
    alone = len(blocks) == 1
    rows = [[value] for value in _pooled(blocks)] if alone else blocks
    own = spread(rows, () if alone else controls)
    if own is None:
        return math.inf
    degrees, variance = len(rows) - 1.0, own**2
    more = (sessions or len(blocks)) / len(blocks)
    prior = 0.0 if alone or group_spread is None else _PRIOR_DEGREES
    if group_spread is not None and prior:
        variance = (prior * group_spread**2 + degrees * variance) / (prior + degrees)
    error = math.sqrt(variance / (len(rows) * more))
    return math.hypot(_student(prior + len(rows) * more - 1.0) * error, Z_95 * unseen(controls))


def unseen(controls: Controls = ()) -> float:
    """Standard deviation, relative, of what stays the same over all these sessions and is another
    time otherwise."""
    seen = _seen(controls)
    left = math.hypot(_UNCORRECTED, math.sqrt(1 - seen.believed)) * seen.log
    return math.hypot(_UNSEEN, seen.contradiction, left)


def describe(samples_s: Sequence[float]) -> dict[str, float]:
    """What is said beside the latency: of all samples that count, in seconds; `cv` is a ratio.

    mad_s: the median absolute deviation from the median, as it is, not scaled to a normal's.
    """
    samples = np.asarray(samples_s)
    median_s, p90_s, p99_s = np.percentile(samples, [50, 90, 99])
    return {
        "median_s": float(median_s),
        "p90_s": float(p90_s),
        "p99_s": float(p99_s),
        "mad_s": float(np.median(np.abs(samples - median_s))),
        "cv": float(samples.std() / samples.mean()),
    }


def _hashable(rows: Rows) -> _Hashable:
    return tuple(map(tuple, rows))


@lru_cache(maxsize=64)
def _resampled(rows: _Hashable) -> np.ndarray:
    """(_RESAMPLES,) logarithms of `level`, each of as many rows as there are, drawn from them: the
    same ones of everything that took part in the same sessions.

    Kept, since the networks of a group share their control networks, and each is judged by its
    spread before its interval is.
    """
    chosen, sizes = _drawn(len(rows)), np.array([len(row) for row in rows])
    most = max(map(len, rows))
    padded = np.array([[*row, *[math.inf] * (most - len(row))] for row in rows])
    ordered = np.sort(padded[chosen].reshape(len(chosen), -1))
    return np.asarray(np.log(_levels(ordered, sizes[chosen].sum(axis=1))))


@cache
def _drawn(rows: int) -> np.ndarray:
    """(_RESAMPLES, rows), which row is drawn for which."""
    return np.random.default_rng(0).integers(0, rows, (_RESAMPLES, rows))


def _levels(ordered: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(N,) `level` of the first `counts` (N,) values of each sorted row."""
    width = math.ceil(_SHARE * int(counts.max()))
    shares = np.clip(_SHARE * counts[:, None] - np.arange(width), 0.0, 1.0)
    lowest = np.where(shares > 0, ordered[:, :width], 0.0)
    return np.asarray((lowest * shares).sum(axis=1) / shares.sum(axis=1))


@cache
def _student(degrees: float) -> float:
    """The 97.5 % point of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def _pooled(blocks: Rows) -> list[float]:
    if not blocks or not all(blocks):
        raise ValueError(f"every session must have a block, got {[len(row) for row in blocks]}")
    return [value for row in blocks for value in row]
