"""Every registered search space, one at a time."""

from __future__ import annotations

import pytest

from farm.spaces import SPACES, SearchSpace, space


@pytest.fixture(params=sorted(SPACES))
def any_space(request: pytest.FixtureRequest) -> SearchSpace:
    return space(request.param)
