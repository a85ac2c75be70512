"""The published neural predictors as few-shot methods, trained as far as two CPU cores allow.

The models' own defaults are the papers' settings. Here their training is cut to BUDGET, which is
said on stderr: Multi-Predict gets as many steps as the paper takes on NAS-Bench-201 with nine
devices; HELP fewer and longer steps, with fewer queries; BRP-NAS and NASFLAT narrower layers and
fewer epochs, NASFLAT on as many networks of each device as its authors take.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.contract import Case, FewShot, of_predictor
from predictors import FloatArray
from predictors.encodings.graph import OperationGraph
from predictors.encodings.normalisation import TrainingRows
from predictors.models import brp_nas as brp
from predictors.models import help as help_
from predictors.models import multi_predict as multi
from predictors.models import nasflat as flat
from predictors.models.plain import PlainModel, Rule
from predictors.models.training import Schedule

EDGES = {"nb201": ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))}
"""Of cells with operations on their edges, in the order of the published table; operations of other
spaces follow one another."""

NETWORKS = {"nb201": 512, "fbnet": 800}
"""On each training device of NASFLAT, as in its authors' commands; elsewhere the larger number."""


@dataclass(frozen=True)
class Budget:
    """Steps of gradient descent when pretraining, and settings cut for time."""

    multi_predict_steps: int
    nasflat_steps: int
    help: help_.Settings
    brp_nas: brp.Settings
    nasflat: flat.Settings


BUDGET = Budget(
    multi_predict_steps=16_000,
    nasflat_steps=600,
    help=help_.Settings(episodes=1000, queries=50, learning_rate=1e-3),
    brp_nas=brp.Settings(width=64, training=replace(brp.TRAINING, epochs=80)),
    nasflat=flat.Settings(refining=(64, 64), passing=(64, 64, 64), out=(100, 100, 100)),
)


def multi_predict(case: Case, encoding: str, embedding: multi.EmbeddingKind = "table") -> FewShot:
    """Multi-Predict."""
    features = case.encoding(encoding)
    return _rule(pretrained(case, features, embedding), features)


def pretrained(
    case: Case, features: FloatArray, embedding: multi.EmbeddingKind
) -> multi.MultiPredict:
    """Multi-Predict before any sample. Sample embeddings take ten networks, the others eight
    numbers."""
    size = 10 if embedding in ("sample", "raw") else multi.BITS
    batch = max(multi.Settings.batch // len(case.references.devices), 1)
    schedule = _within(
        "multi_predict",
        multi.PRETRAINING,
        -(-len(case.references.rows.indices) // batch),
        BUDGET.multi_predict_steps,
    )
    settings = multi.Settings(
        embedding=embedding, embedding_size=size, pretraining=schedule, seed=case.seed
    )
    return multi.MultiPredict.pretrained(features, case.references, settings)


def help(case: Case, encoding: str) -> FewShot:
    """HELP, on graphs where the space has more than a chain, as in the paper."""
    del encoding
    vec, settings = case.table.vec, replace(BUDGET.help, seed=case.seed)
    print(f"help: {settings.episodes} episodes, {settings.queries} queries", file=sys.stderr)
    graph = _graph(case) if case.table.name in EDGES else None
    return _rule(help_.Help.pretrained(vec, case.references, settings, graph=graph), vec)


def brp_nas(case: Case, encoding: str) -> FewShot:
    """BRP-NAS; knows no reference."""
    del encoding
    settings = replace(BUDGET.brp_nas, seed=case.seed)
    print(
        f"brp_nas: {settings.training.epochs} epochs, layers of {settings.width}", file=sys.stderr
    )
    return _rule(brp.BrpNas(_graph(case), settings), case.table.vec)


def nasflat(case: Case, encoding: str) -> FewShot:
    """NASFLAT; with zero-cost proxies beside the graph where the encoding is `zcpvec`."""
    others = case.encoding("zcp") if encoding == "zcpvec" else np.empty((len(case.table.vec), 0))
    features = np.column_stack([case.table.vec, others])
    known, rows = case.references, case.references.rows
    first = rows.indices[: NETWORKS.get(case.table.name, max(NETWORKS.values()))]
    fewer = replace(known, rows=TrainingRows(first, rows.held_out))
    entries = int(np.isfinite(known.latency_s[first]).sum())
    schedule = _within(
        "nasflat",
        flat.PRETRAINING,
        -(-entries // (flat.PRETRAINING.batch or entries)),
        BUDGET.nasflat_steps,
    )
    settings = replace(BUDGET.nasflat, pretraining=schedule, seed=case.seed)
    return _rule(flat.Nasflat.pretrained(features, fewer, _graph(case), settings), features)


def _graph(case: Case) -> OperationGraph:
    return OperationGraph.of(case.table.vec, EDGES.get(case.table.name))


def _within(name: str, schedule: Schedule, steps_an_epoch: int, steps: int) -> Schedule:
    """The paper's schedule with as many of its epochs as there are steps for, at least one."""
    epochs = min(schedule.epochs, max(steps // steps_an_epoch, 1))
    print(f"{name}: {epochs} of the paper's {schedule.epochs} epochs", file=sys.stderr)
    return replace(schedule, epochs=epochs)


def _rule(rule: Rule, features: FloatArray) -> FewShot:
    return of_predictor(PlainModel.over(rule, features), features)
