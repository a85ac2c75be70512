"""Pretrained networks, kept in files from run to run: some train for an hour.

A file's name is a digest of all that a network depends on: the models' code, the settings, and
what was learnt from. They lie in the folder `trained` of the computer's cache (`$XDG_CACHE_HOME`);
any of them may be deleted.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

import predictors
from benchmarks.report import say
from farm.core.hosts import cache_folder
from predictors import FloatArray
from predictors.encodings.hwl import References

Model = TypeVar("Model")


def kept(
    features: FloatArray, references: References, settings: object, build: Callable[[], Model]
) -> Model:
    """What `build` makes of these, or made in an earlier run."""
    folder = cache_folder() / "trained"
    path = folder / f"{_digest(features, references, settings)}.pickle"
    if path.exists():
        say(f"pretrained before: {path}")
        model: Model = pickle.loads(path.read_bytes())
        return model
    model = build()
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(pickle.dumps(model))
    unfinished.replace(path)
    return model


def _digest(features: FloatArray, references: References, settings: object) -> str:
    digest = hashlib.sha256(repr((settings, references.devices)).encode())
    for path in sorted(Path(predictors.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for values in (features, references.latency_s, references.rows.indices):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:32]
