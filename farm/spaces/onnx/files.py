"""ONNX files as a search space: as many networks as there are files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto

from farm.core.errors import NetworkSyntaxError, StoreError
from farm.core.values import Network
from farm.spaces import batch as batches
from farm.spaces.base import ONNX
from farm.spaces.codes import quoted
from farm.spaces.counts import ANALYTIC_NAMES, COUNTS, analytic_features
from farm.spaces.onnx.counts import count_vector, depth
from farm.spaces.onnx.normal import normalise
from farm.spaces.onnx.read import read
from farm.spaces.ops import Shape

_CODE_DIGITS = 16
"""Of SHA-256: among a million files, the odds that two share a code are 3 in 10^8."""


class OnnxFiles:
    """The search space of some models in normal form (`normal`), given by their codes.

    A network's code is a digest of its model, so that the same network is measured once under
    whatever name it comes.
    """

    name = ONNX

    def __init__(self, models: Mapping[str, bytes]) -> None:
        self._models = models

    @property
    def size(self) -> int:
        """How many models there are."""
        return len(self._models)

    def parse(self, text: str) -> Network:
        """The network of a code. Raises NetworkSyntaxError for one that was never imported."""
        code = text.strip()
        if code not in self._models:
            raise NetworkSyntaxError(
                f"no ONNX file was imported as {quoted(code)}; import one by its path, "
                "such as `farm hwl model.onnx`"
            )
        return Network(self.name, code)

    def sample(self, n: int, rng: np.random.Generator) -> list[Network]:
        """n distinct networks, each set equally likely. Raises ValueError if there are fewer."""
        codes = sorted(self._models)
        if not 0 <= n <= len(codes):
            raise ValueError(f"a sample of onnx holds 0 to {len(codes)} networks, got {n}")
        return [Network(self.name, codes[i]) for i in rng.choice(len(codes), n, replace=False)]

    def model(self, network: Network) -> ModelProto:
        """The model. Raises StoreError where it is not the one that was imported."""
        data = self._models[self.parse(network.code).code]
        try:
            model = onnx.load_from_string(data)
        except DecodeError:
            model = ModelProto()
        if code_of(model) != network.code:
            raise StoreError(f"the model of {network.id} is damaged; import its ONNX file again")
        return model

    def input_shape(self, network: Network, batch: int) -> Shape:
        """What the network is measured with on a device of this batch size."""
        return batches.input_shape(self.model(network), batch)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of `features`."""
        return ANALYTIC_NAMES

    def features(self, networks: Sequence[Network]) -> NDArray[np.float64]:
        """(N, 11) float64, not standardised: `counts.analytic_features`."""
        models = [self.model(network) for network in networks]
        counts = np.array([count_vector(model) for model in models])
        depths = np.array([float(depth(model)) for model in models])
        return analytic_features(counts.reshape(len(models), len(COUNTS)), depths)


def code_of(model: ModelProto) -> str:
    """16 hex digits that name what a model in normal form computes; its nodes' names do not."""
    bare = ModelProto()
    bare.CopyFrom(model)
    for node in bare.graph.node:
        node.ClearField("name")
    return sha256(bare.SerializeToString(deterministic=True)).hexdigest()[:_CODE_DIGITS]


def import_file(path: Path, input_shape: str | None = None) -> dict[str, bytes]:
    """The model of a file in normal form, by its code.

    input_shape: see `onnx_read.read`. Raises NetworkSyntaxError, which names the file.
    """
    try:
        model = normalise(read(path, input_shape))
    except NetworkSyntaxError as e:
        raise NetworkSyntaxError(f"{path}: {e}") from e
    return {code_of(model): model.SerializeToString(deterministic=True)}


def import_folder(folder: Path, input_shape: str | None = None) -> dict[str, bytes]:
    """The models of all .onnx files in a folder; files of one network are one.

    Raises NetworkSyntaxError for the first file that cannot be imported.
    """
    files = sorted(folder.glob("*.onnx"))
    if not files:
        raise NetworkSyntaxError(f"no .onnx files in {folder}; name the folder that has them")
    models: dict[str, bytes] = {}
    for file in files:
        models |= import_file(file, input_shape)
    return models
