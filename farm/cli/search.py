"""`farm search`: the best networks on some devices, verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.cli import ending, remote, show
from farm.cli.common import (
    CONFIG,
    Config,
    Executor,
    FarmAt,
    Json,
    StoreFolder,
    print_result,
    relative,
    words,
)
from farm.cli.progress import duration, shown
from farm.cli.rows import must_be_table
from farm.core.values import percent
from farm.farm import Farm
from farm.measurement.verdict import NOT_LEFT_ALONE

if TYPE_CHECKING:
    from farm.search.found import Candidate, Found, Latency, Surety
    from farm.search.laboratory import Step
    from farm.search.setting import Search

search_app = typer.Typer()

_SHOWN = 20
"""Networks of a front that a person is shown; `--json` and `--output` have them all."""


@search_app.command()
def search(
    device: Annotated[str, typer.Option(help="Names of devices, with commas.")],
    accuracy: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="table:nb201.npz:cifar10, a .csv file with network,accuracy, predicted:FILE.csv "
            "(from few results), proxy:NAME (also vote, rank), or python:MODULE:FUNCTION.",
        ),
    ],
    space: Annotated[str, typer.Option(help="nb201, fbnet or fbnet32.")] = "nb201",
    max_latency: Annotated[
        str | None,
        typer.Option(help="A limit on all devices, such as 20ms; or one for each, with commas."),
    ] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="All networks that none beats, not just one.")
    ] = False,
    floor: Annotated[
        float | None,
        typer.Option(help="Accuracy that a front ends at; else that of half of the networks."),
    ] = None,
    reward: Annotated[
        str, typer.Option(help="What a limit means: hard, soft (MnasNet), weighted.")
    ] = "hard",
    weight: Annotated[
        float, typer.Option(help="Of `weighted`: points of accuracy that the limit is worth.")
    ] = 1.0,
    budget: Annotated[int, typer.Option(help="Networks to measure at most.")] = 40,
    confidence: Annotated[
        str, typer.Option(help="Stop before that, once the choice is so certain.")
    ] = "95%",
    at_once: Annotated[
        int,
        typer.Option(
            help="Networks that are chosen at a time: more keep compilers busy, fewer are chosen "
            "better."
        ),
    ] = 1,
    strategy: Annotated[
        str,
        typer.Option(
            help="How networks are found where SOURCE is no list: random, exhaustive, rea, area, "
            "local, nsga2 (the extra `search`)."
        ),
    ] = "random",
    evaluations: Annotated[int, typer.Option(help="Networks that it looks at, at most.")] = 1000,
    warm_start: Annotated[
        str | None, typer.Option(help="The proxy that `area` starts from, such as nwot.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed measures the same networks.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(help="Write a row for each chosen network to this .parquet or .csv file."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the front to this PNG or SVG.")] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="Write the chosen networks as ONNX files to this folder.")
    ] = None,
    executor: Executor = "ray",
    at: FarmAt = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Find the best networks on devices, verified by measuring those that matter for the choice.
    Exit code 1 where no network holds the limit. The same command goes on where it was cut
    short."""
    from farm.search.setting import Search, seconds

    must_be_table(output)
    if plot is not None:
        from farm.pictures import must_be_plot

        must_be_plot(plot)
    if onnx is not None:
        from farm.search.models import must_be_folder

        must_be_folder(onnx)
    asked = Search(
        space=space,
        devices=words(device),
        accuracy=accuracy,
        max_latency_s=None if max_latency is None else [seconds(one) for one in words(max_latency)],
        pareto=pareto,
        floor=floor,
        reward=reward,
        weight=weight,
        at_once=at_once,
        strategy=strategy,
        evaluations=evaluations,
        warm_start=warm_start,
        budget=budget,
        confidence=relative("--confidence", confidence),
        seed=seed,
    )
    client = remote.service(at, config, store)
    if client is not None:
        found = remote.search(client, asked)
    else:
        found = _search_here(Farm.open(config, store), asked, executor)
    print_result(as_json, found.to_json, lambda: text(found))
    if plot is not None:
        from farm.cli.plot_front import plot_front

        plot_front(found, plot)
    if output is not None:
        from farm.campaign.export import write_rows

        write_rows((one.to_row() for one in found.front), output)
    if onnx is not None:
        from farm.search.models import write_models

        write_models([one.network for one in found.front], onnx)
    if not found.front:
        raise typer.Exit(1)


def _search_here(farm: Farm, asked: Search, executor: str) -> Found:
    again = f"`{ending.command_line()}` goes on"
    ending.say(lambda: f"what was measured is in {farm.config.store}; {again}")
    with shown(line, lambda step: Text(line(step)), _STARTING, lambda step: step.events) as watch:
        return farm.search(asked, executor, watch)


_STARTING = "starting the devices and the compilers ..."


def line(step: Step) -> str:
    """How far a search is."""
    parts = [f"{step.campaign}: {step.measured} of {step.budget} networks measured"]
    if step.under_way:
        parts.append(f"{step.under_way} under way")
    if step.missed is not None:
        missed = f"{step.chosen} chosen, at most {percent(step.missed)} may be missed"
        parts.append(missed if step.chosen else "none that will do so far")
    if step.left_s is not None:
        parts.append(f"about {duration(step.left_s)} left at most")
    return ", ".join(parts)


def text(found: Found) -> RenderableType:
    """The front, and what prediction alone would have made of it."""
    each = [name for one in [*found.front, *found.alone.networks][:1] for name in one.on]
    table = show.table_of("network", "accuracy", *(f"{name} (95 % interval)" for name in each))
    for one in found.front[:_SHOWN]:
        table.add_row(*_row(one))
    rest = len(found.front) - _SHOWN
    more = [f"and {rest} others; --json or --output has them all"] if rest > 0 else []
    more += [] if found.front else [nobody(found)]
    more += [] if found.surety is None else [accuracies(found.surety)]
    notes = [*more, certainty(found), alone(found)]
    return Group(*([table] if found.front else []), *(Text(note) for note in notes))


def nobody(found: Found) -> str:
    """That no network will do, and which is nearest."""
    if not found.limit_s:
        return "No network is above the floor of accuracies that --floor names."
    limits = ", ".join(f"{show.ms(s)} ms on {name}" for name, s in found.limit_s.items())
    said = f"No network holds {limits}"
    if found.nearest is None:
        return f"{said}: none could be measured."
    told = ", ".join(f"{show.ms(one.latency_s)} ms on {n}" for n, one in found.nearest.on.items())
    return f"{said}: the nearest measured one is {found.nearest.network.id} with {told}."


def certainty(found: Found) -> str:
    """How sure it is."""
    how = "as sure as asked for" if found.stable else f"the budget of {found.budget} is spent"
    confidence = f"at {100 * found.confidence:g} % confidence"
    said = f"{confidence} no more than {percent(found.missed)} of what can be had is missed"
    if not found.front:
        others = f"{confidence} no other network will do either"
        said = others if found.stable else "another network may still do; --budget measures more"
    measured = f"{found.measured} of {found.candidates} networks measured"
    return f"{found.campaign}: {measured}, {how}: {said}."


def accuracies(surety: Surety) -> str:
    """How sure predicted accuracies are."""
    ranked = "" if surety.spearman is None else f"rank them at Spearman {surety.spearman:.2f} and "
    return (
        f"Accuracies are predicted from {surety.results} results. Predictions of these from each "
        f"other {ranked}are off by {surety.off:.2g} in the median. "
        "Train what was chosen, add the results to the file, and search again."
    )


def alone(found: Found) -> str:
    """What prediction alone would have chosen, and what that would have cost."""
    one = found.alone
    if not one.networks:
        return "Prediction alone would have chosen no network."
    over = f"{one.over_limit} of them over the limit, " if found.pareto and one.over_limit else ""
    if found.pareto:
        return (
            f"Prediction alone would have chosen {len(one.networks)} networks: {over}"
            f"{percent(abs(one.lost))} {'less' if one.lost >= 0 else 'more'} hypervolume."
        )
    (network,) = one.networks
    told = ", ".join(f"{_latency(on)} on {name}" for name, on in network.on.items())
    over = ", over the limit" if one.over_limit else ""
    return (
        f"Prediction alone would have chosen {network.network.id}: accuracy "
        f"{network.accuracy:.4g}, {told}{over}."
    )


def _latency(on: Latency) -> str:
    return f"{show.ms(on.latency_s)} ms {'measured' if on.measured else 'predicted now'}"


def beware(on: Latency) -> str:
    """The verdict, where the device did not only measure."""
    return f", {on.verdict}" if on.verdict in NOT_LEFT_ALONE else ""


def _row(one: Candidate) -> list[str]:
    told = [
        f"{show.ms(on.latency_s)} ms ({show.ms(on.low_s)} to {show.ms(on.high_s)}){beware(on)}"
        for on in one.on.values()
    ]
    half = f" ± {one.accuracy_off:.2g}" if one.accuracy_off else ""
    return [one.network.id, f"{one.accuracy:.4g}{half}", *told]
