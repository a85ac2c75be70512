"""MAML, ANIL and BOIL: one step against one by hand, and a start that was learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from predictors import metrics
from predictors.models.cell_gcn import CellNetwork, Size
from predictors.models.meta import (
    Episodes,
    Learner,
    MetaLearned,
    Settings,
    Task,
    adapted,
    meta_loss,
    squared,
    trust,
)
from predictors.models.training import tensor
from tests.neural import bags

BODY, LAST, RATE, FAR = 2.0, 3.0, 0.1, 1e9
X, Z, QUERY, WANTED = 1.0, 1.0, 2.0, 5.0


class Product(nn.Module):
    """x (M, 1) -> out * body * x, (M,)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(1, 1, bias=False)
        self.out = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.body.weight, BODY)
        nn.init.constant_(self.out.weight, LAST)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.body(x))[:, 0]
        return found


def by_hand(learner: Learner, second_order: bool) -> tuple[float, float, float]:
    """The loss of a query after one inner step, and its slopes in the body and the last layer."""
    off = LAST * BODY * X - Z
    body, last = BODY, LAST
    if learner in ("maml", "boil"):
        body -= RATE * 2 * off * LAST * X
    if learner in ("maml", "anil"):
        last -= RATE * 2 * off * BODY * X
    query = last * body * QUERY - WANTED
    to_body, to_last = 2 * query * last * QUERY, 2 * query * body * QUERY
    if not second_order:
        return query**2, to_body, to_last
    # Slopes of the inner step: of the two slopes of off^2, in body and in last.
    twice_body, twice_last = 2 * (LAST * X) ** 2, 2 * (BODY * X) ** 2
    mixed = 2 * (off + LAST * BODY * X) * X
    moves_body, moves_last = learner != "anil", learner != "boil"
    body_of = (1 - RATE * twice_body * moves_body, -RATE * mixed * moves_body)
    last_of = (-RATE * mixed * moves_last, 1 - RATE * twice_last * moves_last)
    return (
        query**2,
        to_body * body_of[0] + to_last * last_of[0],
        to_body * body_of[1] + to_last * last_of[1],
    )


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("learner", ["maml", "anil", "boil"])
def test_a_step_is_the_one_by_hand(learner: Learner, second_order: bool) -> None:
    settings = Settings(learner, second_order, inner_steps=1, inner_rate=RATE, limit=FAR)
    network = Product().double()
    x, z, query, wanted = (torch.tensor([[v], [v]]).double() for v in (X, Z, QUERY, WANTED))
    loss = meta_loss(network, Episodes(x[..., None], z, query[..., None], wanted), settings)
    loss.backward()
    slopes = [network.body.weight.grad.item(), network.out.weight.grad.item()]
    assert [loss.item(), *slopes] == pytest.approx(by_hand(learner, second_order))


def test_each_inner_step_starts_where_the_last_one_ended() -> None:
    settings = Settings("anil", inner_steps=2, inner_rate=RATE, limit=FAR)
    network = Product().double()
    x, z = torch.tensor([[[X]]]).double(), torch.tensor([[Z]]).double()
    found = adapted(network, x, z, settings)
    last = LAST
    for _ in range(2):
        last -= RATE * 2 * (last * BODY * X - Z) * BODY * X
    assert found["out.weight"].item() == pytest.approx(last)
    assert found["body.weight"].item() == BODY


def test_a_descent_that_runs_away_is_not_followed() -> None:
    counts, x = bags(12)
    wild = Settings("maml", size=Size(8, 1, 0.0), iterations=0, tuning_rate=1e30, steps=5, starts=1)
    model = MetaLearned.of([Task(x, counts[:, 0])], wild)
    assert np.isfinite(model(x, counts @ [1.0, 2.0, 3.0])(x)).all()


def test_a_start_is_left_as_far_as_samples_rank_otherwise() -> None:
    values = np.arange(5.0)
    assert trust(values, 7 + values**3) == pytest.approx(0)
    # Two of five in each other's place: a rank correlation of .9, and .1 against 1/5.
    assert trust(values, values[[1, 0, 2, 3, 4]]) == pytest.approx(1 / 3)
    # Nothing is known of how alike two are: 1 against 1/2.
    assert trust(values[:2], values[:2]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("learner", ["maml", "anil", "boil"])
def test_the_papers_inner_steps_descend_at_the_papers_width(learner: Learner) -> None:
    counts, x = bags(10)
    settings = replace(Settings(learner), size=replace(Settings().size, dropout=0.0))
    torch.manual_seed(0)
    network = CellNetwork(settings.size)
    rows, z = tensor(x)[None], tensor(Task(x, counts[:, 0]).z)[None]
    start = {name: value[None] for name, value in network.named_parameters()}
    end = adapted(network, rows, z, settings)
    assert squared(network, end, rows, z).item() < squared(network, start, rows, z).item()


QUICK = Settings(
    size=Size(width=32, depth=2, dropout=0.0, even=True),
    iterations=100,
    outer_rate=1e-2,
    inner_steps=2,
    tuning_rate=0.035,
    steps=5,
    starts=2,
)


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["maml", "anil", "boil"])
def test_a_start_that_was_learnt_knows_tasks_like_those(learner: Learner) -> None:
    counts, x = bags(60)
    tasks = [Task(x, counts @ weights - 50) for weights in np.array([[1, 4, 2], [2, 5, 1]])]
    model = MetaLearned.of(tasks, replace(QUICK, learner=learner))
    target = counts @ [1.0, 5.0, 3.0] - 100
    assert (metrics.spearman(model.known(x), target) or 0) > 0.6
    before = model.known(x).copy()
    assert (metrics.spearman(model(x[:5], target[:5])(x), target) or 0) > 0.8
    np.testing.assert_array_equal(model.known(x), before)
