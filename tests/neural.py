"""Neural predictors as their tests use them: three training devices, and settings for seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any, TypeVar, cast

import numpy as np

from predictors import FloatArray, Predictor
from predictors.encodings import cells
from predictors.encodings.cells import VOCABULARY, CellGraph
from predictors.encodings.graph import OperationGraph
from predictors.encodings.hwl import References
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.encodings.vec import one_hot
from predictors.models import brp_nas, cell_gcn, help, multi_predict, nasflat
from predictors.models import meta as meta_learning
from predictors.models.accuracies import FromScratch, Transferred
from predictors.models.brp_nas import BrpNas
from predictors.models.cell_gcn import CellsFromScratch
from predictors.models.help import Help
from predictors.models.meta import MetaLearned, Task
from predictors.models.multi_predict import MultiPredict, SpaceTransfer, TransferSettings
from predictors.models.nasflat import Nasflat
from predictors.models.plain import PlainModel, Rule

Build = TypeVar("Build", bound=Callable[..., Any])

SIZE = 4
"""Column of the made-up pool that grows with a network's work."""

DEVICES = ("small", "large", "odd")

QUICK = multi_predict.Settings(
    encoder=(32, 16),
    convolutions=(24, 24),
    connected=(24, 16),
    interaction=64,
    pretraining=replace(multi_predict.PRETRAINING, epochs=40, learning_rate=4e-3),
    tuning=replace(multi_predict.TUNING, epochs=20),
)


def once(build: Build) -> Build:
    """Trains once for all tests: they share one pool, and nothing changes what was trained."""
    trained: dict[object, Any] = {}

    @wraps(build)
    def found(pool: FloatArray, *settings: Any, **named: Any) -> Any:
        key = (settings, tuple(named.items()))
        if key not in trained:
            trained[key] = build(pool, *settings, **named)
        return trained[key]

    return cast(Build, found)


def references(pool: FloatArray, rows: TrainingRows | None = None) -> References:
    """Latencies (N, 3), seconds: each device favours one of the pool's counts."""
    latency_s = 1e-9 * pool[:, [SIZE]] * [1.0, 0.5, 2.0] + 1e-3 * pool[:, :3] * [0.5, 1.0, 1.5]
    return References(latency_s, DEVICES, rows or TrainingRows.every(pool))


def standardised(pool: FloatArray) -> FloatArray:
    return Standardisation.fit(pool, TrainingRows.every(pool)).apply(pool)


@once
def multi(pool: FloatArray, settings: multi_predict.Settings = QUICK) -> MultiPredict:
    return MultiPredict.pretrained(standardised(pool), references(pool), settings)


@once
def multi_on_graphs(pool: FloatArray) -> MultiPredict:
    return MultiPredict.pretrained(operations(pool), references(pool), QUICK, graph=chain(pool))


@once
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


def operations(pool: FloatArray) -> FloatArray:
    """(200, 120): the four counts and the switch as operations at five positions, none of which
    occurs at two."""
    ops = np.column_stack([pool[:, :SIZE], pool[:, SIZE + 1]]).astype(np.intp)
    return one_hot(ops + 6 * np.arange(5), 30)


def chain(pool: FloatArray) -> OperationGraph:
    return OperationGraph.of(operations(pool))


QUICK_HELP = help.Settings(
    width=32, episodes=80, devices=3, queries=40, learning_rate=5e-3, draws=3, convolutions=2
)
QUICK_BRP = brp_nas.Settings(
    width=32,
    depth=2,
    dropout=0.0,
    training=replace(brp_nas.TRAINING, epochs=60, learning_rate=1e-2),
)
QUICK_NASFLAT = nasflat.Settings(
    embedding=12,
    state=16,
    refining=(16,),
    passing=(24, 24),
    out=(32,),
    dropout=0.0,
    pretraining=replace(nasflat.PRETRAINING, epochs=20, learning_rate=5e-3),
    tuning=replace(nasflat.TUNING, epochs=15),
)


@once
def meta(pool: FloatArray, with_graph: bool, settings: help.Settings = QUICK_HELP) -> Help:
    graph = chain(pool) if with_graph else None
    return Help.pretrained(operations(pool), references(pool), settings, graph=graph)


def graph_alone(pool: FloatArray) -> BrpNas:
    return BrpNas(chain(pool), QUICK_BRP)


@once
def flat(pool: FloatArray, settings: nasflat.Settings = QUICK_NASFLAT) -> Nasflat:
    return Nasflat.pretrained(operations(pool), references(pool), chain(pool), settings)


def bags(count: int) -> tuple[FloatArray, FloatArray]:
    """Cells of a few operations beside each other: how many of three kinds (N, 3), and rows."""
    numbers = np.random.default_rng(5).integers(0, 4, (count, 3)).astype(float)
    return numbers, beside(numbers)


def beside(numbers: FloatArray) -> FloatArray:
    """(N, K) counts -> rows of cells that have so many of each operation, all from the input."""
    kinds = VOCABULARY[2 : 2 + numbers.shape[1]]
    found = []
    for row in numbers.astype(int):
        ops = [kind for kind, count in zip(kinds, row, strict=True) for _ in range(count)]
        last = len(ops) + 1
        edges = [(0, k) for k in range(1, last)] + [(k, last) for k in range(1, last)]
        found.append(CellGraph(("input", *ops, "output"), tuple(edges)))
    return cells.rows(found)


def cells_of(pool: FloatArray) -> FloatArray:
    return beside(pool[:, :SIZE])


QUICK_CELLS = replace(cell_gcn.BRP_NAS, epochs=60, learning_rate=1e-2)
SMALL = cell_gcn.Size(width=24, depth=2, dropout=0.0)
QUICK_META = meta_learning.Settings(
    learner="maml",
    size=SMALL,
    iterations=80,
    starts=1,
    outer_rate=1e-2,
    inner_steps=2,
    tuning_rate=0.03,
    steps=30,
)


@once
def learnt(pool: FloatArray) -> MetaLearned:
    x, latency_s = cells_of(pool), references(pool).latency_s
    return MetaLearned.of([Task(x, np.log(column)) for column in latency_s.T], QUICK_META)


QUICK_TRANSFER = TransferSettings(
    width=32, pretraining=replace(multi_predict.TRANSFER_PRETRAINING, epochs=40)
)


@once
def transferred(pool: FloatArray) -> Transferred:
    values = np.log(references(pool).latency_s[:, 0])
    return Transferred.pretrained(standardised(pool), values, QUICK_TRANSFER)


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
    "multi_predict_graph": partial(subject, rule=multi_on_graphs, encode=operations),
    "space_transfer": partial(subject, rule=transfer, encode=hwl),
    "help": partial(subject, rule=partial(meta, with_graph=False), encode=operations),
    "help_graph": partial(subject, rule=partial(meta, with_graph=True), encode=operations),
    "brp_nas": partial(subject, rule=graph_alone, encode=operations),
    "nasflat": partial(subject, rule=flat, encode=operations),
    "from_scratch": partial(
        subject, rule=lambda _: FromScratch(QUICK_TRANSFER), encode=standardised
    ),
    "transferred": partial(subject, rule=transferred, encode=standardised),
    "cells": partial(subject, rule=lambda _: CellsFromScratch(SMALL, QUICK_CELLS), encode=cells_of),
    "meta": partial(subject, rule=learnt, encode=cells_of),
}
"""By name, for `SUBJECTS` of the conformance suite."""
