"""Every search space, one at a time."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import pytest

from farm.spaces import ONNX, SPACES, GraphSpace, SearchSpace, space
from farm.spaces.onnx_files import import_folder
from tests.onnx_models import cnn


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Imported ONNX files: what the space `onnx` has in these tests."""
    folder = tmp_path_factory.mktemp("files")
    for channels in range(4, 24):
        onnx.save(cnn(channels), folder / f"{channels}.onnx")
    return import_folder(folder)


@pytest.fixture(params=[*sorted(SPACES), ONNX])
def any_space(request: pytest.FixtureRequest, models: Mapping[str, bytes]) -> SearchSpace:
    return space(request.param, models)


@pytest.fixture(params=sorted(SPACES))
def graph_space(request: pytest.FixtureRequest) -> GraphSpace:
    """Those that write their networks down as graphs."""
    return space(request.param)
