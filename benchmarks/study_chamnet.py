"""ChamNet's predictor: a Gaussian process that picks what it is trained on.

Dai et al., ChamNet: Towards Efficient Network Design through Platform-Aware Model Adaptation, CVPR
2019: a squared exponential kernel with a width for each input (automatic relevance
determination) and noise; from a few samples on, those are measured next of which it is most
uncertain, and it is fitted again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.study_contract import Samples, Setting, Studied, scaled
from benchmarks.study_regressions import Data, Regression
from predictors import FloatArray, IntArray

FIRST = 10
"""Random networks that it begins with; then there are twice as many each time it is fitted."""

POOL = 3000
"""Networks that it picks from."""

WIDTHS_ON = 120
"""Samples that widths are fitted on, at most: more change little, and thirty widths take long."""


def chamnet() -> Studied:
    return Studied(Regression(process), most=682, seeds=1, choose=choose)


def process(data: Data) -> Any:
    """Widths, amplitude and noise by evidence."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    return GaussianProcessRegressor(_kernel(data.x, data.y), optimizer=None)


def choose(setting: Setting, latency_s: FloatArray, rows: IntArray, n: int) -> IntArray:
    """As `study_contract.Choose`: those of largest variance, one after the other."""
    pool = rows[:POOL]
    picked: list[int] = list(range(min(FIRST, n)))
    while len(picked) < n:
        own = Samples(pool[picked], latency_s[pool[picked]], 0)
        kernel = _kernel(setting.one_hot[own.rows], scaled(own)[0])
        picked = _most_uncertain(kernel, setting.one_hot[pool], picked, min(2 * len(picked), n))
    return np.asarray(pool[picked], np.intp)


def _kernel(x: FloatArray, y: FloatArray) -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    widths = RBF(np.full(x.shape[1], 3.0), (0.3, 100.0))
    kernel = ConstantKernel(1.0, (1e-2, 1e3)) * widths + WhiteKernel(1e-2, (1e-6, 1.0))
    return GaussianProcessRegressor(kernel).fit(x[:WIDTHS_ON], y[:WIDTHS_ON]).kernel_


def _most_uncertain(kernel: Any, x: FloatArray, picked: list[int], n: int) -> list[int]:
    """Until there are n. What is measured lessens the variance of all others, whatever it is: a
    Cholesky decomposition with pivots."""
    smooth, noise = kernel.k1, kernel.k2.noise_level
    variance, columns = smooth.diag(x), np.empty((n, len(x)))
    found: list[int] = []
    while len(found) < n:
        row = picked[len(found)] if len(found) < len(picked) else int(np.argmax(variance))
        done = columns[: len(found)]
        column = smooth(x[[row]], x)[0] - done[:, row] @ done
        columns[len(found)] = column / np.sqrt(column[row] + noise)
        variance = variance - columns[len(found)] ** 2
        found.append(row)
        variance[found] = -np.inf
    return found
