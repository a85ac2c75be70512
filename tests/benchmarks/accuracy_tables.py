"""A made-up table of accuracies of a space that nobody knows, in the published layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

Fields = dict[str, np.ndarray]

NETWORKS = 60


def fields(seed: int = 0) -> Fields:
    """Three tasks: one of proxies alone, its loss (negative), and one that is the same for all."""
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 3, (NETWORKS, 2, 3)).astype(np.int8)
    work = (code == 2).sum((1, 2)) + rng.normal(0, 0.1, NETWORKS)
    zcp = np.stack([work**3, rng.normal(size=NETWORKS), np.full(NETWORKS, -1e8)], axis=1)
    zcp[3, 1], zcp[4, 0], zcp[5, 0] = -1e8, np.nan, -np.inf
    return {
        "tasks": np.array(["class", "loss", "flat"]),
        "code": code,
        "accuracy": np.stack([90 - 40 * np.exp(-work / 3), -np.exp(-work / 4), 0 * work + 7]),
        "zcp": np.repeat(zcp[None], 3, axis=0).astype(np.float32),
        "zcp_names": np.array(["synflow", "plain", "epe_nas"]),
    }


def with_graphs(found: Fields) -> Fields:
    """The code's six places as operations beside each other."""
    kinds = ("zero", "conv_1x1", "conv_3x3")
    edges = [[0, k] for k in range(1, 7)] + [[k, 7] for k in range(1, 7)]
    texts = [
        json.dumps({"nodes": ["input", *(kinds[k] for k in row.ravel()), "output"], "edges": edges})
        for row in found["code"]
    ]
    return {**found, "graphs": np.array(texts)}


def save(path: Path, found: Fields) -> str:
    np.savez(path, **found)
    return str(path)
