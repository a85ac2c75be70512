"""What is said of a package that is missing, by which extra it would come."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from farm.core.errors import DeviceUnfit, MissingExtra
from farm.core.extras import EXTRAS, install_command, of_extra
from predictors.models.regression import BoostedTrees, RandomForest

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_every_extra_is_explained():
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert declared.keys() <= EXTRAS.keys()


def test_a_missing_package_names_the_command_that_installs_it():
    with pytest.raises(MissingExtra) as caught, of_extra("vela"):
        import no_such_package  # noqa: F401
    assert str(caught.value) == (
        "no_such_package is not installed; it comes with the extra `vela`: in the farm's folder "
        "run `pip install -c constraints.txt -e '.[vela]'`"
    )
    assert caught.value.exit_code == 2


def test_a_missing_package_can_be_the_devices_failure():
    with pytest.raises(DeviceUnfit, match="zigzag"), of_extra("zigzag", DeviceUnfit):
        import no_such_package  # noqa: F401


def test_an_error_within_a_package_is_not_hidden():
    with pytest.raises(ImportError, match="cannot import name") as caught, of_extra("vela"):
        from json import no_such_name  # noqa: F401
    assert not isinstance(caught.value, MissingExtra)


@pytest.mark.parametrize(
    ("rule", "package"), [(RandomForest(), "sklearn"), (BoostedTrees(), "xgboost")]
)
def test_a_baseline_says_which_extra_it_needs(rule, package, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra) as caught:
        rule(np.eye(4), np.zeros(4))
    assert install_command("baselines") in str(caught.value)
