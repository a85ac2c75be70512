"""HELP: what meta-learning and the embedding networks are worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from predictors import FloatArray, metrics
from predictors.encodings.normalisation import TrainingRows
from predictors.models.help import Architecture, Help, Settings, _episode_rows
from tests.neural import QUICK_HELP, chain, meta, operations, references

FEW = replace(QUICK_HELP, episodes=10)


def rho(model: Help, x: FloatArray, latency_s: FloatArray, rows: list[int]) -> float:
    found = metrics.spearman(model(x[rows], np.log(latency_s[rows]))(x), latency_s)
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("with_graph", [False, True])
def test_meta_learning_is_worth_its_while(pool: FloatArray, with_graph: bool) -> None:
    x, known_s = operations(pool), references(pool).latency_s
    latency_s, rows = 3 * known_s @ [0.5, 0.5, 0.0], [0, 1, 2, 3, 4]
    untrained = replace(QUICK_HELP, episodes=0)
    trained, scratch = (
        rho(meta(pool, with_graph, s), x, latency_s, rows) for s in (QUICK_HELP, untrained)
    )
    assert trained > 0.9
    assert trained > scratch + 0.1


def test_it_learns_from_training_rows_alone(pool: FloatArray) -> None:
    rows, x = TrainingRows.of(range(100)), operations(pool)
    known = references(pool, rows)
    changed = replace(known, latency_s=np.where(np.arange(200)[:, None] < 100, known.latency_s, 9))
    a, b = (Help.pretrained(x, r, FEW) for r in (known, changed))
    log_s = np.log(known.latency_s[:6, 0])
    np.testing.assert_array_equal(a(x[:6], log_s)(x), b(x[:6], log_s)(x))


@pytest.mark.slow
def test_what_is_measured_on_the_embedding_networks_describes_the_device(pool: FloatArray) -> None:
    model, x = meta(pool, with_graph=False), operations(pool)
    networks = model.training.rows[model.embedding_networks].tolist()
    odd = references(pool).latency_s[:, 2]
    described = rho(model, x, odd, networks)
    assert described > 0.97


@pytest.mark.slow
def test_devices_need_not_be_measured_everywhere(pool: FloatArray) -> None:
    known = references(pool)
    latency_s = known.latency_s.copy()
    latency_s[::2, 0] = np.nan
    model = Help.pretrained(operations(pool), replace(known, latency_s=latency_s), QUICK_HELP)
    assert rho(model, operations(pool), known.latency_s[:, 1], [0, 1, 2, 3, 4]) > 0.9


def test_episodes_draw_measured_networks_without_repeats(pool: FloatArray) -> None:
    model = Help.pretrained(operations(pool), references(pool), replace(FEW, episodes=0))
    training = replace(model.training, values=model.training.values.copy())
    training.values[:50, 1] = np.nan
    settings, generator = replace(QUICK_HELP, queries=60), torch.Generator().manual_seed(0)
    rows = _episode_rows(training, torch.tensor([1, 2]), settings, generator)
    assert rows.shape == (2, 70)
    assert rows[0].min() >= 50
    assert all(len(set(drawn)) == 70 for drawn in rows.tolist())


def test_a_step_lowers_the_error_on_the_samples(pool: FloatArray) -> None:
    architecture = Architecture(chain(pool), Settings(width=8, embedding_size=3, steps=1))
    torch.manual_seed(0)
    learned = architecture.start(operations(pool).shape[1])
    inputs = architecture.inputs(torch.tensor(operations(pool)[:6], dtype=torch.float32))
    hardware, values = torch.rand(2, 3), torch.rand(2, 6)
    inputs = inputs.expand(2, *inputs.shape)
    noise = torch.zeros(2, architecture.shifts)
    before, _ = architecture.modulated(learned, hardware, noise)
    after = architecture.adapted(before, learned.rates, inputs, hardware, values, True)
    errors = [
        ((architecture.forward(p, inputs, hardware) - values) ** 2).mean(1).detach()
        for p in (before, after)
    ]
    assert (errors[1] < errors[0]).all()
