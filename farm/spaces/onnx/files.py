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
from farm.core.values import GivenInput, Network
from farm.spaces.base import ONNX
from farm.spaces.batch import given_inputs
from farm.spaces.codes import quoted
from farm.spaces.counts import ANALYTIC_NAMES, COUNTS, analytic_features
from farm.spaces.onnx.counts import count_vector, depth
from farm.spaces.onnx.normal import normalise
from farm.spaces.onnx.read import read
from farm.spaces.sizes import AS_DECLARED, Sizes

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

    def inputs(self, network: Network, batch: int) -> tuple[GivenInput, ...]:
        """What the network is measured with on a device of this batch size."""
        return given_inputs(self.model(network), batch)

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
    """16 hex digits that name what a model in normal form computes, whatever its parts are
    called."""
    bare = ModelProto()
    bare.CopyFrom(model)
    for node in bare.graph.node:
        node.ClearField("name")
    for value in bare.graph.input:
        value.ClearField("doc_string")
    return sha256(bare.SerializeToString(deterministic=True)).hexdigest()[:_CODE_DIGITS]


def import_file(path: Path, sizes: Sizes = AS_DECLARED) -> dict[str, bytes]:
    """The model of a file in normal form, by its code.

    sizes: of inputs that the file leaves open. Raises NetworkSyntaxError, which names the file.
    """
    try:
        model = normalise(read(path, sizes))
    except NetworkSyntaxError as e:
        raise NetworkSyntaxError(f"{path}: {e}") from e
    except UnicodeDecodeError as e:  # protobuf reads names late
        raise NetworkSyntaxError(f"{path}: it is no valid ONNX model: {e}") from e
    return {code_of(model): model.SerializeToString(deterministic=True)}


def import_folder(
    folder: Path, sizes: Sizes = AS_DECLARED, strict: bool = False
) -> tuple[dict[str, bytes], dict[str, str]]:
    """The models of the .onnx files in a folder, and by file why some have none.

    Files of one network are one. strict: whether every file must have a model.
    Raises NetworkSyntaxError for a folder without any, and for what `strict` refuses.
    """
    files = sorted(folder.glob("*.onnx"))
    if not files:
        raise NetworkSyntaxError(f"no .onnx files in {folder}; name the folder that has them")
    models: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    for file in files:
        try:
            models |= import_file(file, sizes)
        except NetworkSyntaxError as e:
            if strict:
                raise
            refused[file.name] = str(e).removeprefix(f"{file}: ")
    if not models:
        name, reason = next(iter(refused.items()))
        others = f"; nor can the other {len(files) - 1} in {folder} be measured"
        raise NetworkSyntaxError(f"{folder / name}: {reason}{others if len(files) > 1 else ''}")
    return models, refused
