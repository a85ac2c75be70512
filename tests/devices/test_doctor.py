"""What the doctor says of packages and extras."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError

import pytest

from farm.core.extras import EXTRAS, install_command
from farm.devices import doctor
from farm.inventory.config import load
from farm.store import Holding, Store

DECLARED = [
    "numpy",
    "ethos-u-vela==5.2.0; extra == 'vela'",
    "flatbuffers; extra == 'vela'",
    "latency-farm[vela]; extra == 'dev'",
    "pytest; extra == 'dev'",
]


@pytest.fixture
def checks(tmp_path, monkeypatch):
    """The doctor's rows where some packages, by name and version, are installed."""
    monkeypatch.setattr(doctor, "requires", lambda _: DECLARED)

    def examine(**installed: str) -> dict[str, doctor.Check]:
        def version(name: str) -> str:
            if name.replace("-", "_") not in installed:
                raise PackageNotFoundError(name)
            return installed[name.replace("-", "_")]

        monkeypatch.setattr(doctor, "version", version)
        return {check.what: check for check in doctor.examine(tmp_path / "none.yaml", None)}

    return examine


def test_an_extra_that_is_missing_is_noted_and_says_what_it_is_for(checks):
    found = checks(numpy="2.0", pytest="9.0")
    assert found["numpy"].state == "ok"
    vela = found["extra vela"]
    assert vela.state == "note"
    assert vela.found == f"without ethos-u-vela, flatbuffers; it is for {EXTRAS['vela']}"
    assert vela.todo == install_command("vela")


def test_an_extra_of_another_version_is_noted(checks):
    found = checks(numpy="2.0", ethos_u_vela="5.1.0", flatbuffers="25.0")
    assert found["extra vela"].state == "note"
    assert "without ethos-u-vela;" in found["extra vela"].found


def test_an_extra_that_is_installed_says_what_it_is_for(checks):
    found = checks(numpy="2.0", ethos_u_vela="5.2.0", flatbuffers="25.0", pytest="9.0")
    assert found["extra vela"].state == "ok"
    assert EXTRAS["vela"] in found["extra vela"].found
    assert found["extra dev"].state == "ok"
    assert "extra zigzag" not in found  # this version of the package has none


def test_a_package_of_the_farm_itself_is_missing(checks):
    found = checks()
    assert found["numpy"].state == "missing"
    assert found["numpy"].todo == "pip install -c constraints.txt 'numpy'"


def test_a_device_that_is_held_is_left_to_its_process(tmp_path):
    (tmp_path / "cluster.yaml").write_text(
        'store: results\ndevices:\n  a: {kind: "tests.fakes:FakeAgent", slow_start_s: 600}\n'
    )
    config = load(tmp_path / "cluster.yaml")
    with Store(config.store) as store, Holding(store, "farm hwl") as holding:
        holding.wait_for_devices(["a"])
        (found,) = doctor._devices(config, config.store)
    assert (found.state, found.what) == ("ok", "device a")
    assert found.found.startswith(f"in use by process {os.getpid()} on ")
