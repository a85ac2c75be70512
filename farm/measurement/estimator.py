"""Statistics of raw latency samples. Everything here is a pure function.

`blocks` are what `of_block` says of blocks, in seconds, a row for each session (a fresh process).
`controls` are the control networks that were timed in the same sessions: for each its blocks, in
rows of the same sessions, and what it takes at the device's baseline, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from statistics import quantiles

import numpy as np

Rows = Sequence[Sequence[float]]
Controls = Sequence[tuple[Rows, float]]

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


def of_block(samples_s: Sequence[float]) -> float:
    """The lower quartile of a block's samples, in seconds.

    A busy host only adds time, and as long as fewer than three in four samples are slowed down, the
    lower quartile is one of the others'. The least sample would repeat worse: it goes after the
    moments in which whoever shares the core or the clock's budget rests. So would the median on a
    busy host.
    """
    if len(samples_s) == 1:
        return samples_s[0]
    return quantiles(samples_s, n=4, method="inclusive")[0]


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
    """How many times as long as at their baseline the control networks took: the geometric mean;
    1 without any."""
    logs = _log_slowdowns(controls)
    return math.exp(sum(logs) / len(logs)) if logs else 1.0


def _log_slowdowns(controls: Controls) -> list[float]:
    return [math.log(level(_pooled(rows)) / level_s) for rows, level_s in controls]


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
    logs = _resampled(_hashable(blocks))
    for rows, _ in controls:
        logs = logs - _resampled(_hashable(rows)) / len(controls)
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
    logs = _log_slowdowns(controls)
    if not logs:
        return _UNSEEN
    return math.hypot(_UNSEEN, float(np.std(logs)), _UNCORRECTED * sum(logs) / len(logs))


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


def _hashable(rows: Rows) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, rows))


@lru_cache(maxsize=64)
def _resampled(rows: tuple[tuple[float, ...], ...]) -> np.ndarray:
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
