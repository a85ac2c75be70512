"""`farm check-model`: what the farm sees in an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from farm.campaign.model_check import ModelCheck
from farm.cli import ending
from farm.cli.common import CONFIG, Batch, Config, Json, Shape, StoreFolder, print_result, words
from farm.core.errors import FarmError
from farm.farm import Farm

model_app = typer.Typer()


@model_app.command("check-model")
def check_model(
    file: Annotated[Path, typer.Argument(help="An .onnx file.")],
    devices: Annotated[
        str | None, typer.Option(help="Names of devices, with commas; without it all.")
    ] = None,
    shape: Shape = None,
    batch: Batch = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Say what an ONNX file holds, who compiles it, and whether it compiles for each device. Exit
    code 1 if it does not for one. Nothing is measured."""
    farm = Farm.open(config, store)
    ending.say(lambda: f"nothing was measured; `{ending.command_line()}` checks again")
    names = None if devices is None else words(devices)
    found = farm.check_model(file, names, shape, batch)
    print_result(as_json, found.to_json, lambda: _report(found))
    failed = [device for device in found.devices if device.built is False]
    if failed:
        raise FarmError(
            f"{file} does not compile for {', '.join(d.device for d in failed)}: {failed[0].reason}"
        )


def _report(found: ModelCheck) -> RenderableType:
    given, made = ("; ".join(map(str, values)) for values in (found.inputs, found.outputs))
    lines = [
        f"{found.network.id}, of {given}",
        f"computes {made}",
        f"{found.parameters:,} parameters, {found.macs:,} multiply-accumulates, "
        f"{found.outline.calls} kernel calls in a run",
        f"{_mb(found.outline.weights_bytes)} of weights, "
        f"{_mb(found.outline.activations_bytes)} of activations",
    ]
    remarks = [Text(f"Note: {remark}", style="yellow") for remark in found.remarks]
    return Group(*lines, *remarks, "", _operators(found), "", _devices(found))


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def _operators(found: ModelCheck) -> Table:
    from farm.compile.graph import VIEWS  # which imports onnx

    table = Table("operator", "count", "compiled by", box=None)
    for name, count in found.outline.operators.items():
        by_tvm = min(count, found.outline.by_tvm.get(name, 0))
        who = {0: "the farm's kernels", count: "TVM's rules"}.get(by_tvm)
        who = "nobody: it moves nothing" if name in VIEWS else who
        table.add_row(name, str(count), who or f"the farm's kernels; {by_tvm} by TVM's rules")
    return table


def _devices(found: ModelCheck) -> Table:
    table = Table("device", "compiles", "why", box=None)
    for device in found.devices:
        table.add_row(device.device, _WORDS[device.built], device.reason or "")
    return table


_WORDS = {True: "yes", False: "no", None: "not known"}
