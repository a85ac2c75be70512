"""`farm hwl`: what networks take on the reference devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.campaign.asking import Ask
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
    is_list,
    must_be_table,
    named,
    report,
    say_kept,
)
from farm.core.errors import FarmError
from farm.core.values import GivenInput
from farm.farm import Farm
from farm.measurement.verdict import NOT_LEFT_ALONE
from farm.prediction.batch import Answers

hwl_app = typer.Typer()


@hwl_app.command()
def hwl(
    networks: Networks,
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
    """The HWL encoding of networks: their latencies on the reference devices. Exit code 1 if a
    single one has none on any of them."""
    must_be_table(output)
    many = as_lines or output is not None or len(networks) > 1 or is_list(networks[0])
    told = {"executor": executor, "shape": shape, "batch": batch}
    ask = ask_of(measure, max_error, "never" if many else "missing", **told)
    ending.say(say_kept)
    client = remote.service(at, config, store, shape=shape, batch=batch)
    if client is not None:
        each: Answers[Any] = remote.hwl(client, named(networks), ask)
    elif many:
        each = Farm.open(config, store).hwl_each(named(networks), ask)
    else:
        _single(Farm.open(config, store), networks[0], ask, as_json)
        return
    if not many:
        each.must_have_all()
        _print(next(iter(each)).to_json(), as_json)
        return
    shown = partial(
        print_result,
        as_json,
        lambda: {"networks": list(each.lines())},
        lambda: texts([one.to_json() for one in each]),
    )
    report(each, output, as_lines, shown)


def _single(farm: Farm, network: str, ask: Ask, as_json: bool) -> None:
    def known() -> str:
        mask = farm.hwl(network, replace(ask, measure="never", max_error=None)).mask
        return (
            f"{sum(mask)} of {len(mask)} references have a latency in {farm.config.store}; "
            f"`{ending.command_line()}` goes on"
        )

    ending.say(say_kept, known)
    _print(farm.hwl(network, ask).to_json(), as_json)


def _print(e: Mapping[str, Any], as_json: bool) -> None:
    """A single encoding. Raises FarmError for one of nothing."""
    print_result(as_json, lambda: dict(e), lambda: text(e))
    if not any(e["mask"]):
        why = "; ".join(f"{r['device']}: {r.get('reason', 'unknown')}" for r in e["references"])
        raise FarmError(f"no reference device has a latency of {e['network']}: {why}")


def text(e: Mapping[str, Any]) -> RenderableType:
    """An HWL vector (`NetworkEncoding.to_json`), a row for each reference device."""
    table = show.table_of(
        "reference", "latency", "95 % interval", "source", "samples", "verdict", "HWL value"
    )
    for r, value in zip(e["references"], e["values"], strict=True):
        if r["latency_s"] is None:
            table.add_row(r["device"], "–", "", "missing", "0", "", "–")
            continue
        high = inf if r["high_s"] is None else r["high_s"]
        interval = f"{show.ms(r['low_s'])} to {show.ms(high)} ms"
        latency = f"{show.ms(r['latency_s'])} ms"
        row = (latency, interval, r["source"], str(r["samples"]), r["verdict"], f"{value:+.3f}")
        table.add_row(r["device"], *row, style="yellow" if r["verdict"] in NOT_LEFT_ALONE else "")
    reasons = [Text(f"{r['device']}: {r['reason']}") for r in e["references"] if r.get("reason")]
    note = f"Version {e['version']}, fitted on {e['fitted_on']} networks."
    if not e["fitted_on"]:
        note = f"Version {e['version']}: square roots of seconds, as too few networks are measured."
    remarks = [Text(f"Note: {remark}", style="yellow") for remark in e.get("remarks", ())]
    return Group(_with_inputs(e), *remarks, table, *reasons, Text(note, style="dim"))


def texts(each: Sequence[Mapping[str, Any]]) -> RenderableType:
    """HWL vectors (`NetworkEncoding.to_json`), a row for each network."""
    devices = dict.fromkeys(r["device"] for e in each for r in e["references"])
    table = show.table_of("network", *devices, "version")
    for e in each:
        shown = ("–" if value is None else f"{value:+.3f}" for value in e["values"])
        table.add_row(e["network"], *shown, e["version"])
    return table


def _with_inputs(e: Mapping[str, Any]) -> str:
    own = e.get("inputs", [])
    if not own:
        return str(e["network"])
    others = [r for r in e["references"] if r.get("inputs", []) != own]
    sizes = [f"{r['inputs'][0]['shape'][0]} on {r['device']}" for r in others]
    which = f" (batch: {', '.join(sizes)})" if sizes else ""
    inputs = (GivenInput(one["name"], one["type"], tuple(one["shape"])) for one in own)
    return f"{e['network']}, of {'; '.join(map(str, inputs))}{which}"
