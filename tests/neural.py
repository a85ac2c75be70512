"""Neural predictors as their tests use them: three training devices, and settings for seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from predictors import FloatArray, Predictor
from predictors.encodings.hwl import References
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.models import multi_predict
from predictors.models.multi_predict import MultiPredict, SpaceTransfer, TransferSettings
from predictors.models.plain import PlainModel, Rule

SIZE = 4
"""Column of the made-up pool that grows with a network's work."""

DEVICES = ("small", "large", "odd")

QUICK = multi_predict.Settings(
    encoder=(32, 16),
    interaction=64,
    pretraining=replace(multi_predict.PRETRAINING, epochs=40, learning_rate=4e-3),
    tuning=replace(multi_predict.TUNING, epochs=20),
)


def references(pool: FloatArray, rows: TrainingRows | None = None) -> References:
    """Latencies (N, 3), seconds: each device favours one of the pool's counts."""
    latency_s = 1e-9 * pool[:, [SIZE]] * [1.0, 0.5, 2.0] + 1e-3 * pool[:, :3] * [0.5, 1.0, 1.5]
    return References(latency_s, DEVICES, rows or TrainingRows.every(pool))


def standardised(pool: FloatArray) -> FloatArray:
    return Standardisation.fit(pool, TrainingRows.every(pool)).apply(pool)


def multi(pool: FloatArray, settings: multi_predict.Settings = QUICK) -> MultiPredict:
    return MultiPredict.pretrained(standardised(pool), references(pool), settings)


def transfer(pool: FloatArray, epochs: int = 40) -> SpaceTransfer:
    """From a space whose networks are those of the pool at 64 times the resolution."""
    latency_s = references(pool).latency_s
    pretraining = replace(multi_predict.TRANSFER_PRETRAINING, epochs=epochs)
    settings = TransferSettings(width=32, pretraining=pretraining)
    return SpaceTransfer.pretrained(hwl(pool), 64 * latency_s @ [0.2, 0.3, 0.5], settings)


def hwl(pool: FloatArray) -> FloatArray:
    """On seven reference devices, some of which the target is like."""
    others_s = 1e-3 * (1 + pool[:, :4])
    return standardised(np.sqrt(np.column_stack([references(pool).latency_s, others_s])))


def subject(
    pool: FloatArray, rule: Callable[[FloatArray], Rule], encode: Callable[[FloatArray], FloatArray]
) -> tuple[Predictor, FloatArray]:
    """A predictor and the pool as it sees it, for the suite that every model passes."""
    features = encode(pool)
    return PlainModel.over(rule(pool), features), features


NEURAL: dict[str, Callable[[FloatArray], tuple[Predictor, FloatArray]]] = {
    "multi_predict": partial(subject, rule=multi, encode=standardised),
    "multi_predict_sample": partial(
        subject,
        rule=partial(multi, settings=replace(QUICK, embedding="sample")),
        encode=standardised,
    ),
    "multi_predict_index": partial(
        subject,
        rule=partial(multi, settings=replace(QUICK, embedding="index")),
        encode=standardised,
    ),
    "space_transfer": partial(subject, rule=transfer, encode=hwl),
}
"""By name, for `SUBJECTS` of the conformance suite."""
