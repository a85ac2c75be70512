"""Every search space, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto

from farm.spaces import SPACES, space
from farm.spaces.base import ONNX, GraphSpace, SearchSpace
from farm.spaces.onnx.files import import_folder
from farm.spaces.onnx.normal import normalise
from farm.spaces.onnx.read import read
from farm.spaces.sizes import Sizes
from tests.onnx_models import cnn


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Imported ONNX files: what the space `onnx` has in these tests."""
    folder = tmp_path_factory.mktemp("files")
    for channels in range(4, 24):
        onnx.save(cnn(channels), folder / f"{channels}.onnx")
    found, refused = import_folder(folder)
    assert not refused
    return found


@pytest.fixture(params=[*sorted(SPACES), ONNX])
def any_space(request: pytest.FixtureRequest, models: Mapping[str, bytes]) -> SearchSpace:
    return space(request.param, models)


@pytest.fixture(params=sorted(SPACES))
def graph_space(request: pytest.FixtureRequest) -> GraphSpace:
    """Those that write their networks down as graphs."""
    return space(request.param)


@pytest.fixture
def normal(tmp_path: Path) -> Callable[..., ModelProto]:
    """The normal form of a model, by way of a file."""

    def make(made: ModelProto, shape: str | None = None, batch: int | None = None) -> ModelProto:
        onnx.save(made, tmp_path / "model.onnx")
        return normalise(read(tmp_path / "model.onnx", Sizes(shape, batch)))

    return make
