"""What tests need of the system beyond Python: there, or the test says what it lacks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from agents.runtime.bundle import bundle
from farm.core.errors import DeviceUnfit


def need(**packages: str) -> None:
    """Ends a test that needs commands which are not there: `need(nvcc="the CUDA toolkit")`.

    packages: where each command comes from; a `_` stands for the `-` in a command's name.
    """
    for name, package in packages.items():
        command = name.replace("_", "-")
        if shutil.which(command) is None:
            lack(f"no {command} is installed; it is in {package}")


def lack(reason: str) -> NoReturn:
    """Skips a test for what the system lacks; fails it in CI, where nothing may be skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def runtime(platform: str, python: str) -> Path:
    """The slim runtime of a device; ends a test where its wheels cannot be downloaded."""
    try:
        return bundle(platform, python)
    except DeviceUnfit as error:
        lack(str(error))
