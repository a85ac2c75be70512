"""Statistics of raw latency samples. Everything here is a pure function.

`blocks` are what `of_block` says of blocks, in seconds, a row for each session (a fresh process).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import quantiles

import numpy as np

_RESAMPLES = 500


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


def latency(blocks: Sequence[Sequence[float]]) -> float:
    """The median over blocks, in seconds.

    They are apart in time and in several processes: it drops a lucky or unlucky one.
    """
    return float(np.median(_pooled(blocks)))


def interval(blocks: Sequence[Sequence[float]], unseen: float = 0.0) -> tuple[float, float]:
    """A 95 % interval of `latency`, in seconds.

    unseen: standard deviation, relative, of what stays the same over all these sessions and is
        another time otherwise.

    The standard error is a bootstrap's over sessions, each with all its rounds: resampling the
    blocks within them as well would count their scatter twice (Davison & Hinkley, Bootstrap Methods
    and their Application, 1997, section 3.8). With n sessions it is widened as the percentile
    interval of a few groups must be (Hesterberg, What Teachers Should Know About the Bootstrap,
    arXiv 1411.5279, section 4.5): by sqrt(n / (n - 1)) and Student's t of n - 1 degrees. One
    session is resampled by its blocks. A single block says nothing about its spread: its interval
    is (0, inf). The generator is seeded, so that the same samples give the same interval.
    """
    groups = [list(row) for row in blocks] if len(blocks) > 1 else [[m] for m in _pooled(blocks)]
    n = len(groups)
    if n == 1:
        return 0.0, math.inf
    error_s = float(np.std(_resampled(groups), ddof=1))
    middle_s = latency(blocks)
    seen_s = _student(n - 1) * math.sqrt(n / (n - 1)) * error_s
    half_s = math.hypot(seen_s, 1.96 * unseen * middle_s)
    return max(0.0, middle_s - half_s), middle_s + half_s


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


def _resampled(groups: Sequence[Sequence[float]]) -> np.ndarray:
    """(_RESAMPLES,) values of `latency` over resampled groups."""
    rng = np.random.default_rng(0)
    sizes = np.array([len(group) for group in groups])
    widest = int(sizes.max())
    padded = np.array([[*group, *[math.inf] * (widest - len(group))] for group in groups])
    chosen = rng.integers(0, len(groups), (_RESAMPLES, len(groups)))
    drawn = padded[chosen].reshape(_RESAMPLES, -1)
    return _medians(np.sort(drawn), sizes[chosen].sum(axis=1))


def _medians(ordered: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of the first `counts` values of each sorted row."""
    rows = np.arange(len(ordered))
    low, high = ordered[rows, (counts - 1) // 2], ordered[rows, counts // 2]
    return np.asarray((low + high) / 2)


@cache
def _student(degrees: int) -> float:
    """The 97.5 % point of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def _pooled(blocks: Sequence[Sequence[float]]) -> list[float]:
    if not blocks or not all(blocks):
        raise ValueError(f"every session must have a block, got {[len(row) for row in blocks]}")
    return [value for row in blocks for value in row]
