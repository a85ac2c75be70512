"""`farm predict`: what networks take on a device, without measuring them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.cli import ending, remote, show
from farm.cli.common import (
    CONFIG,
    Batch,
    Config,
    Executor,
    FarmAt,
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
    must_be_table,
    named,
    report,
    say_kept,
)
from farm.farm import Farm
from farm.measurement.verdict import NOT_LEFT_ALONE

if TYPE_CHECKING:
    from farm.prediction.prediction import KernelShare, Predicted, Predictions

predict_app = typer.Typer()

_SHOWN = 12
"""Kernels of a network that a person is shown; `--json` has them all."""


@predict_app.command()
def predict(
    networks: Networks,
    device: Annotated[str, typer.Option(help="A device of cluster.yaml.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the kernels that the time goes into.")
    ] = False,
    measure: Measure = None,
    max_error: MaxError = None,
    shape: Shape = None,
    batch: Batch = None,
    executor: Executor = "inline",
    at: FarmAt = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
    output: Output = None,
) -> None:
    """Predict latencies on a device from what was measured there, with 95 % intervals; measure what
    is to be. A network that cannot be read or predicted says why in its row; exit code 2 where none
    can be."""
    must_be_table(output)
    told = {"executor": executor, "shape": shape, "batch": batch}
    ask, asked = ask_of(measure, max_error, "never", **told), named(networks)
    client = remote.service(at, config, store, shape=shape, batch=batch)
    ending.say(say_kept)
    if client is not None:
        found = remote.predict(client, asked, device, ask, explain)
    else:
        found = Farm.open(config, store).predict(asked, device, ask, explain=explain, strict=False)
    shown = partial(print_result, as_json, found.to_json, lambda: text(found))
    report(found.answers, output, as_lines, shown)


def text(found: Predictions) -> RenderableType:
    """A row for each network, and a table of kernels for each that has one."""
    table = show.table_of("network", "latency", "95 % interval", "source", "verdict")
    for one in found.networks:
        interval = f"{show.ms(one.low_s)} to {show.ms(one.high_s)} ms"
        latency = f"{show.ms(one.latency_s)} ms"
        row = (one.network.id, latency, interval, one.source, one.verdict or "")
        table.add_row(*row, style="yellow" if one.verdict in NOT_LEFT_ALONE else "")
    reasons = [Text(f"{one.network.id}: {one.reason}") for one in found.networks if one.reason]
    note = f"On {found.device}, where all of them were measured."
    if not all(one.measured for one in found.networks):
        told = f"{found.learnt} measured networks and {found.timed} timed kernels"
        note = f"On {found.device}, from {told}."
    explained = [kernels(one) for one in found.networks if one.kernels]
    return Group(table, *reasons, *explained, Text(note, style="dim"))


def kernels(one: Predicted) -> RenderableType:
    """What a network's time goes into."""
    table = show.table_of("kernel", "calls", "ms", "share", "source")
    table.title = f"\n{one.network.id}: {len(one.kernels) - 1} kernels"
    for kernel in one.kernels[:_SHOWN]:
        table.add_row(*_row(kernel))
    rest = one.kernels[_SHOWN:]
    if rest:
        calls = sum(kernel.calls for kernel in rest)
        share = sum(kernel.share for kernel in rest)
        time_s = sum(kernel.calls * kernel.latency_s for kernel in rest)
        table.add_row(
            f"{len(rest)} others", str(calls), show.ms(time_s), f"{100 * share:.1f} %", ""
        )
    return table


def _row(kernel: KernelShare) -> tuple[str, ...]:
    time_s = kernel.calls * kernel.latency_s
    share = f"{100 * kernel.share:.1f} %"
    return kernel.name, str(kernel.calls), show.ms(time_s), share, kernel.source
