"""The published neural predictors as few-shot methods.

The models' own defaults are the papers' settings; with the training `published` they are taken as
they are: hours on one core for all tasks. `minutes` cuts the training: fewer epochs, fewer and
longer steps of HELP with fewer queries, narrower layers of BRP-NAS and NASFLAT; what was cut is
said on stderr. NASFLAT learns from as many networks of each device as its authors take.

As in the papers, training devices are also measured on a target's samples, to find the one that it
is like, and HELP and Sample measure the target's describing networks, which count as samples.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.contract import Case, FewShot, of_predictor
from benchmarks.trained import kept
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

EPISODES = {"nb201": 2000, "fbnet": 4000}
"""Of HELP, as in its authors' commands; elsewhere the smaller number."""


@dataclass(frozen=True)
class Budget:
    """Settings, and the most steps of gradient descent when pretraining; None for the paper's."""

    multi_predict: multi.Settings
    help: help_.Settings
    brp_nas: brp.Settings
    nasflat: flat.Settings
    multi_predict_steps: int | None = None
    help_episodes: int | None = None
    nasflat_steps: int | None = None


BUDGETS = {
    "minutes": Budget(
        multi_predict=multi.Settings(),
        help=help_.Settings(queries=50, learning_rate=1e-3, draws=2),
        brp_nas=brp.Settings(width=64, training=replace(brp.TRAINING, epochs=80)),
        nasflat=flat.Settings(refining=(64, 64), passing=(64, 64, 64), out=(100, 100, 100)),
        multi_predict_steps=8_000,
        help_episodes=1000,
        nasflat_steps=600,
    ),
    "published": Budget(multi.Settings(), help_.Settings(), brp.Settings(), flat.Settings()),
}


def multi_predict(case: Case, encoding: str, embedding: multi.EmbeddingKind = "table") -> FewShot:
    """Multi-Predict."""
    model, features = pretrained(
        case, encoding, replace(_budget(case).multi_predict, embedding=embedding)
    )
    return _rule(model, features)


def pretrained(
    case: Case, encoding: str, settings: multi.Settings
) -> tuple[multi.MultiPredict, FloatArray]:
    """Multi-Predict before any sample, and the features that it reads. Sample embeddings take the
    describing networks, the others eight numbers."""
    graph = _graph(case) if case.table.name in EDGES else None
    features = case.encoding(encoding)
    if graph is not None:
        others = features[:, case.table.vec.shape[1] :]
        features = np.column_stack([case.table.vec, others])
    sample = settings.embedding == "sample"
    known = case.described if sample else case.references
    settings = replace(
        settings,
        embedding_size=len(case.describing) if sample else multi.BITS,
        pretraining=_within(
            "multi_predict",
            settings.pretraining,
            -(-len(known.rows.indices) // max(settings.batch // len(known.devices), 1)),
            _budget(case).multi_predict_steps,
        ),
        seed=case.seed,
    )
    describing = case.describing if sample else None
    return kept(
        features,
        known,
        settings,
        lambda: multi.MultiPredict.pretrained(features, known, settings, describing, graph, True),
    ), features


def help(case: Case, encoding: str) -> FewShot:
    """HELP, on graphs where the space has more than a chain, as in the paper."""
    del encoding
    budget, vec = _budget(case), case.table.vec
    paper = EPISODES.get(case.table.name, min(EPISODES.values()))
    episodes = min(paper, budget.help_episodes or paper)
    settings = replace(budget.help, episodes=episodes, seed=case.seed)
    print(f"help: {episodes} of {paper} episodes, {settings.queries} queries", file=sys.stderr)
    graph = _graph(case) if case.table.name in EDGES else None
    known, describing = case.described, case.describing
    pretrain = help_.Help.pretrained
    return _rule(
        kept(vec, known, settings, lambda: pretrain(vec, known, settings, describing, graph, True)),
        vec,
    )


def brp_nas(case: Case, encoding: str) -> FewShot:
    """BRP-NAS; knows no reference."""
    del encoding
    settings = replace(_budget(case).brp_nas, seed=case.seed)
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
        _budget(case).nasflat_steps,
    )
    settings = replace(_budget(case).nasflat, pretraining=schedule, seed=case.seed)
    graph, pretrain = _graph(case), flat.Nasflat.pretrained
    return _rule(
        kept(features, fewer, settings, lambda: pretrain(features, fewer, graph, settings, True)),
        features,
    )


def _budget(case: Case) -> Budget:
    return BUDGETS[case.training]


def _graph(case: Case) -> OperationGraph:
    return OperationGraph.of(case.table.vec, EDGES.get(case.table.name))


def _within(name: str, schedule: Schedule, steps_an_epoch: int, steps: int | None) -> Schedule:
    """The paper's schedule with as many of its epochs as there are steps for, at least one."""
    epochs = schedule.epochs
    if steps is not None:
        epochs = min(epochs, max(steps // steps_an_epoch, 1))
    print(f"{name}: {epochs} of the paper's {schedule.epochs} epochs", file=sys.stderr)
    return replace(schedule, epochs=epochs)


def _rule(rule: Rule, features: FloatArray) -> FewShot:
    return of_predictor(PlainModel.over(rule, features), features)
