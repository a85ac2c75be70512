"""Tuning a real device: every schedule of a kernel is measured on it, and the evidence is kept."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import pytest

from agents.cpu import CpuOptions
from farm.compile.compiler import compiler
from farm.compile.target import untuned
from farm.compile.tuning import PASSES
from farm.core.errors import DeviceUnfit
from farm.devices.tuning import kernels_of, tune_device
from farm.inventory.config import ControlPolicy, Device
from farm.measurement.spec import MeasureSpec
from farm.store import Holding, Store
from tests.compile.conftest import conv_model

CPU = Device("cpu1", "cpu", CpuOptions(), MeasureSpec(), ControlPolicy())


@pytest.mark.slow
def test_a_cpu_is_tuned(tmp_path: Path) -> None:
    models = [conv_model(channels=8), conv_model(channels=8)]
    with Store(tmp_path) as store, Holding(store, "a test") as holding:
        tuning = tune_device(CPU, models, holding)
    tuning.write(tmp_path / "tuned" / "cpu1.json")
    kept = json.loads((tmp_path / "tuned" / "cpu1.json").read_text())
    assert kept["fingerprint"] == tuning.facts.fingerprint
    assert kept["target"] == tuning.target
    assert untuned(kept["target"]) == tuning.facts.target
    (choice,) = kept["choices"]
    (group,) = kernels_of(models)
    assert tuning.facts.target is not None
    schedules = [list(astuple(s)) for s in compiler().schedules(group, tuning.facts.target)]
    assert choice["networks"] == 2
    assert [sample[:3] for sample in choice["samples_s"]] == schedules
    assert choice["chosen"] in schedules
    assert all(len(s[3]) == PASSES and min(s[3]) > 0 for s in choice["samples_s"])
    assert 0 <= tuning.gain < 1


def test_a_gpu_is_not_tuned(tmp_path: Path) -> None:
    options = CpuOptions(target={"kind": "cuda", "arch": "sm_90"})
    gpu = Device("gpu", "cpu", options, MeasureSpec(), ControlPolicy())
    with (
        Store(tmp_path) as store,
        Holding(store, "a test") as holding,
        pytest.raises(DeviceUnfit, match="only CPUs"),
    ):
        tune_device(gpu, [conv_model()], holding)
