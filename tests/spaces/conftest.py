"""Every search space, one at a time."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import pytest

from farm.spaces import SPACES, space
from farm.spaces.base import ONNX, GraphSpace, SearchSpace
from farm.spaces.onnx.files import import_folder
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
