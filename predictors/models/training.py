"""Training of torch networks as every neural predictor here does it: repeatable, on one core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from predictors import FloatArray

CHUNK = 1024
"""Networks that are predicted at once."""


@dataclass(frozen=True)
class Schedule:
    """AdamW (Loshchilov & Hutter, ICLR 2019) with a learning rate that falls to 0 as a cosine.

    batch: rows in one step; None for all.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    batch: int | None = None


@contextmanager
def repeatable(seed: int) -> Iterator[torch.Generator]:
    """Networks made within have weights drawn by `seed`; the generator is for all other draws.

    One thread: sums of several threads differ from run to run. The caller's random state and
    threads are put back.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            torch.set_num_threads(threads)


def train(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[Tensor], Tensor],
    rows: int,
    schedule: Schedule,
    generator: torch.Generator,
) -> None:
    """Minimise `loss` of row numbers (b,), drawn anew each epoch from 0 to rows - 1."""
    optimizer = torch.optim.AdamW(
        list(parameters),
        lr=schedule.learning_rate,
        weight_decay=schedule.weight_decay,
        fused=True,
    )
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(schedule.epochs, 1))
    for _ in range(schedule.epochs):
        order = torch.randperm(rows, generator=generator)
        for batch in torch.split(order, schedule.batch or max(rows, 1)):
            optimizer.zero_grad()
            loss(batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        falling.step()


def least_squares(
    network: nn.Module,
    x: FloatArray,
    z: FloatArray,
    schedule: Schedule,
    generator: torch.Generator,
) -> None:
    """Train a float64 network from rows x (n, F) to z (n,): to (n,), or (n, 1)."""
    inputs, wanted = torch.tensor(x), torch.tensor(z)

    def loss(rows: Tensor) -> Tensor:
        off: Tensor = network(inputs[rows]).flatten() - wanted[rows]
        return (off**2).mean()

    train(network.parameters(), loss, len(x), schedule, generator)


def tensor(values: FloatArray, like: Tensor | None = None) -> Tensor:
    """float32, or the type of `like`. Copies: numpy's arrays stay theirs."""
    return torch.tensor(np.asarray(values), dtype=torch.float32 if like is None else like.dtype)


def layers(sizes: Iterable[int], last: nn.Module | None = None) -> nn.Sequential:
    """Linear layers with ReLU between them; `last`, if any, after the last one."""
    pairs = list(pairwise(sizes))
    steps: list[nn.Module] = []
    for i, (a, b) in enumerate(pairs):
        steps.append(nn.Linear(a, b))
        if i < len(pairs) - 1:
            steps.append(nn.ReLU())
    return nn.Sequential(*steps, *([] if last is None else [last]))


def predicted(network: Callable[[Tensor], Tensor], features: FloatArray) -> FloatArray:
    """(M, F) -> (M, D), or (M,), by a network in float64."""
    with repeatable(0), torch.no_grad():
        parts = [network(torch.tensor(part)).numpy() for part in chunks(features)]
    return np.concatenate(parts)


def chunks(features: FloatArray) -> Iterator[FloatArray]:
    """(M, F) in parts that stay in the cache; one empty part where M is 0."""
    for start in range(0, max(len(features), 1), CHUNK):
        yield np.ascontiguousarray(features[start : start + CHUNK])
