"""Vec: a network as its operations, one by one (White et al., A Study on Encodings for Neural
Architecture Search, NeurIPS 2020, section 2; Multi-Predict, section 3.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from predictors import FloatArray


def one_hot(ops: NDArray[np.integer], kinds: int) -> FloatArray:
    """Operations (N, P), each in 0..kinds-1, one for each position -> (N, P * kinds) of 0 and 1.

    Where every network of a space has the same edges, as in NAS-Bench-201 and FBNet, the
    adjacency matrix is the same for all and left out. Raises ValueError for an unknown operation.
    """
    if ops.size and not (ops.min() >= 0 and ops.max() < kinds):
        raise ValueError(
            f"operations must be 0 to {kinds - 1}, got {ops.min()} to {ops.max()}; "
            "check that `ops` and `op_names` are of one file"
        )
    return np.asarray(np.eye(kinds)[ops].reshape(len(ops), -1))


def counts(ops: NDArray[np.integer], kinds: int) -> FloatArray:
    """Operations (N, P) -> how often each occurs, (N, kinds)."""
    return np.asarray(one_hot(ops, kinds).reshape(*ops.shape, kinds).sum(1))


def tallies(ops: NDArray[np.integer], kinds: int) -> FloatArray:
    """How often each operation occurs, (N, 3 * kinds): in all, in the first half of the positions
    and in the second.

    What is left to go by where no cost is known. Halves, since the same operation takes another
    time at the start of a network, on large maps, than at its end.
    """
    parts = [ops, *np.array_split(ops, 2, axis=1)]
    return np.concatenate([counts(part, kinds) for part in parts], axis=1)
