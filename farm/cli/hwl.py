"""`farm hwl`: what networks take on the reference devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import isnan

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.cli import ending, show
from farm.cli.common import (
    CONFIG,
    Batch,
    Config,
    Executor,
    Json,
    Shape,
    StoreFolder,
    print_result,
)
from farm.cli.rows import (
    JsonLines,
    MaxError,
    Measure,
    Networks,
    Output,
    ask_of,
    is_list,
    must_be_table,
    named,
    report,
    say_kept,
)
from farm.core.errors import FarmError
from farm.farm import Farm
from farm.measurement.verdict import NOT_LEFT_ALONE
from farm.prediction.encoding import NetworkEncoding

hwl_app = typer.Typer()


@hwl_app.command()
def hwl(
    networks: Networks,
    measure: Measure = None,
    max_error: MaxError = None,
    shape: Shape = None,
    batch: Batch = None,
    executor: Executor = "inline",
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
    output: Output = None,
) -> None:
    """The HWL encoding of networks: their latencies on the reference devices. Exit code 1 if a
    single one has none on any of them."""
    must_be_table(output)
    many = as_lines or output is not None or len(networks) > 1 or is_list(networks[0])
    told = {"executor": executor, "shape": shape, "batch": batch}
    ask = ask_of(measure, max_error, "never" if many else "missing", **told)
    farm = Farm.open(config, store)
    if many:
        ending.say(say_kept)
        found = farm.hwl_each(named(networks), ask)
        shown = partial(
            print_result,
            as_json,
            lambda: {"networks": list(found.lines())},
            lambda: texts(list(found)),
        )
        report(found, output, as_lines, shown)
        return

    def known() -> str:
        mask = farm.hwl(networks[0], replace(ask, measure="never", max_error=None)).mask
        return (
            f"{sum(mask)} of {len(mask)} references have a latency in {farm.config.store}; "
            f"`{ending.command_line()}` goes on"
        )

    ending.say(say_kept, known)
    encoding = farm.hwl(networks[0], ask)
    print_result(as_json, encoding.to_json, lambda: text(encoding))
    if not any(encoding.mask):
        why = "; ".join(f"{device}: {reason}" for device, reason in encoding.missing.items())
        raise FarmError(f"no reference device has a latency of {encoding.network.id}: {why}")


def text(e: NetworkEncoding) -> RenderableType:
    """An HWL vector, a row for each reference device."""
    table = show.table_of(
        "reference", "latency", "95 % interval", "source", "samples", "verdict", "HWL value"
    )
    for r, value in zip(e.references, e.values, strict=True):
        if r.latency_s is None or r.low_s is None or r.high_s is None:
            table.add_row(r.device, "–", "", "missing", "0", "", "–")
            continue
        interval = f"{show.ms(r.low_s)} to {show.ms(r.high_s)} ms"
        latency = f"{show.ms(r.latency_s)} ms"
        row = (latency, interval, r.source, str(r.samples), r.verdict, f"{value:+.3f}")
        table.add_row(r.device, *row, style="yellow" if r.verdict in NOT_LEFT_ALONE else "")
    reasons = [Text(f"{r.device}: {r.reason}") for r in e.references if r.reason]
    note = f"Version {e.version}, fitted on {e.fitted_on} networks."
    if not e.fitted_on:
        note = f"Version {e.version}: square roots of seconds, as too few networks are measured."
    remarks = [Text(f"Note: {remark}", style="yellow") for remark in e.remarks]
    return Group(_with_inputs(e), *remarks, table, *reasons, Text(note, style="dim"))


def texts(each: Sequence[NetworkEncoding]) -> RenderableType:
    """HWL vectors, a row for each network."""
    devices = dict.fromkeys(r.device for e in each for r in e.references)
    table = show.table_of("network", *devices, "version")
    for e in each:
        values = {r.device: value for r, value in zip(e.references, e.values, strict=True)}
        shown = ("–" if isnan(value) else f"{value:+.3f}" for value in values.values())
        table.add_row(e.network.id, *shown, e.version)
    return table


def _with_inputs(e: NetworkEncoding) -> str:
    if not e.inputs:
        return e.network.id
    sizes = [f"{r.inputs[0].shape[0]} on {r.device}" for r in e.references if r.inputs != e.inputs]
    which = f" (batch: {', '.join(sizes)})" if sizes else ""
    return f"{e.network.id}, of {'; '.join(map(str, e.inputs))}{which}"
