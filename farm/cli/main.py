"""Commands. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from farm.campaign.planning import Launch
from farm.campaign.summary import Summary
from farm.cli import ending, plain, remote, show
from farm.cli.common import (
    CONFIG,
    Batch,
    Config,
    Executor,
    FarmAt,
    Json,
    Shape,
    StoreFolder,
    beginning,
    kept_words,
    moment,
    print_result,
    relative,
    resume_command,
    words,
)
from farm.cli.demo import demo_app
from farm.cli.device import device_app
from farm.cli.export import export_app
from farm.cli.hwl import hwl_app
from farm.cli.model import model_app
from farm.cli.predict import predict_app
from farm.cli.progress import watching
from farm.cli.queue import queue_app
from farm.cli.references import references_app
from farm.cli.search import search_app
from farm.cli.serve import serve_app, token_app
from farm.cli.tuning import tune_app
from farm.cli.watch import watch_app
from farm.cli.zcp import zcp_app
from farm.core.errors import FarmError
from farm.farm import Farm

app = typer.Typer(
    help="Measures the latency of neural networks on real devices; predicts the rest.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
campaign_app = typer.Typer(help="Campaigns: list, show, resume, cancel.", no_args_is_help=True)
app.add_typer(campaign_app, name="campaign")
app.add_typer(device_app, name="device")
app.add_typer(tune_app)
app.add_typer(model_app)
app.add_typer(demo_app)
app.add_typer(export_app)
app.add_typer(predict_app)
app.add_typer(hwl_app)
app.add_typer(search_app)
app.add_typer(queue_app)
app.add_typer(references_app, name="references")
app.add_typer(zcp_app)
app.add_typer(serve_app)
app.add_typer(watch_app)
app.add_typer(token_app, name="token")

CampaignName = Annotated[str, typer.Argument(help="A campaign, such as c1, or `latest`.")]

_INTERRUPTED = 130
"""As a shell reports a program that Ctrl-C ended."""


@app.command()
def launch(
    devices: Annotated[str, typer.Option(help="Names of devices, with commas.")],
    budget: Annotated[
        int | None, typer.Option(help="Networks to learn from, on each device.")
    ] = None,
    space: Annotated[str, typer.Option(help="nb201, fbnet, fbnet32, or onnx:FOLDER.")] = "nb201",
    holdout: Annotated[
        int, typer.Option(help="Networks measured only to judge the predictor by.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="The same seed asks for the same networks.")] = 0,
    select: Annotated[
        str, typer.Option(help="How networks are chosen: active, random.")
    ] = "active",
    device_seconds: Annotated[
        float | None, typer.Option(help="Choose no more once devices were busy so long.")
    ] = None,
    target_rho: Annotated[
        float | None,
        typer.Option(help="Stop once ranks are predicted so well, such as .95 (Spearman)."),
    ] = None,
    max_error: Annotated[
        str | None, typer.Option(help="Stop once the median error is no larger, such as 5%.")
    ] = None,
    decide: Annotated[
        str | None,
        typer.Option(
            metavar="LIMIT",
            help="Stop once it is settled which networks are below, such as 'latency<20ms'.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure anew what is known already.")
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            help="How well latencies are to be known, such as 5%: quick from 2% on. Without it, "
            "what is learnt from is known as well as it tells most for each second of a device."
        ),
    ] = None,
    shape: Shape = None,
    batch: Batch = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a folder with a file that cannot be measured.")
    ] = False,
    no_kernels: Annotated[
        bool, typer.Option("--no-kernels", help="Measure networks alone, no kernels before them.")
    ] = False,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Comes before later ones where devices are waited for: 12h, 3d, or a date such as "
            "2026-12-01T18:00.",
        ),
    ] = None,
    executor: Executor = "ray",
    at: FarmAt = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Start a campaign: choose networks, measure them, learn from them."""
    asked = Launch(
        space=space,
        devices=words(devices),
        budget=budget,
        holdout=holdout,
        seed=seed,
        select=select,
        device_seconds=device_seconds,
        target_rho=target_rho,
        max_error=None if max_error is None else relative("--max-error", max_error),
        decide=decide,
        fresh=fresh,
        precision=None if precision is None else relative("--precision", precision),
        shape=shape,
        batch=batch,
        strict=strict,
        kernels=not no_kernels,
        deadline=None if deadline is None else moment("--deadline", deadline),
    )
    if client := remote.service(at, config, store):
        return remote.launch(client, asked, as_json)
    farm = Farm.open(config, store)
    begun = beginning(farm, config, store)
    with watching() as watch:
        summary = farm.launch(asked, executor, watch, begun, _say_left_out)
    _report(summary, config, store, as_json)
    return None


def _say_left_out(refused: Mapping[str, str]) -> None:
    for file, reason in refused.items():
        typer.echo(f"left out: {file}: {reason}", err=True)


@campaign_app.command("list")
def campaign_list(
    at: FarmAt = None, config: Config = CONFIG, store: StoreFolder = None, as_json: Json = False
) -> None:
    """List the campaigns of the store."""
    if client := remote.service(at, config, store):
        return remote.campaigns(client, as_json)
    with Farm.open(config, store).store() as opened:
        campaigns = opened.campaigns()
    print_result(
        as_json,
        lambda: {"campaigns": [one.to_json() for one in campaigns]},
        lambda: show.campaign_table([one.to_json() for one in campaigns]),
    )
    return None


@campaign_app.command("show")
def campaign_show(
    name: CampaignName = "latest",
    plot: Annotated[
        Path | None, typer.Option(help="Write predicted against measured to this PNG or SVG.")
    ] = None,
    choices: Annotated[
        bool, typer.Option("--choices", help="Also the networks that it chose, and why.")
    ] = False,
    at: FarmAt = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Show what a campaign came to: predicted against held-out latencies."""
    if client := remote.service(at, config, store, plot=plot):
        return remote.campaign(client, name, choices, as_json)
    from farm.campaign.choices import told
    from farm.campaign.summary import summarise

    farm = Farm.open(config, store)
    with farm.store() as opened:
        summary = summarise(opened, name, farm.config)
        found = summary.to_json() | (told(opened, name) if choices else {})
    if plot is not None:
        from farm.pictures import plot_predictions

        plot_predictions(summary, plot)
    resume = resume_command(summary.campaign.id, config, store)
    print_result(as_json, lambda: found, lambda: show.predictions(found, plot, resume))
    return None


@campaign_app.command("resume")
def campaign_resume(
    name: CampaignName = "latest",
    again: Annotated[
        str,
        typer.Option(
            metavar="VERDICT[,...]",
            help="Measure again what is noisy, unresolved, throttled or contended, or has failed.",
        ),
    ] = "",
    executor: Executor = "ray",
    at: FarmAt = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Go on with a campaign that was killed or cancelled. Nothing is measured twice unasked."""
    if client := remote.service(at, config, store):
        return remote.resume(client, name, words(again), as_json)
    farm = Farm.open(config, store)
    ending.say(kept_words(farm, name, config, store))
    with watching() as watch:
        summary = farm.resume(name, executor, watch, words(again))
    _report(summary, config, store, as_json)
    return None


@campaign_app.command("repeat")
def campaign_repeat(
    name: CampaignName = "latest",
    executor: Executor = "ray",
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Measure the networks of a campaign anew, as another one; `farm compare` says what changed."""
    farm = Farm.open(config, store)
    begun = beginning(farm, config, store)
    with watching() as watch:
        summary = farm.repeat(name, executor, watch, begun)
    _report(summary, config, store, as_json)


@campaign_app.command("cancel")
def campaign_cancel(
    name: CampaignName,
    at: FarmAt = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """End a campaign, also one that runs in another process; `resume` goes on with it."""
    if client := remote.service(at, config, store):
        return remote.cancel(client, name, as_json)
    cancelled = Farm.open(config, store).cancel(name)
    text = (
        f"{cancelled} is cancelled; `{resume_command(cancelled, config, store)}` goes on with it."
    )
    print_result(as_json, lambda: {"campaign": cancelled, "cancelled": True}, lambda: text)
    return None


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A campaign, such as c1.")],
    second: Annotated[str, typer.Argument(help="A later one, such as c2 or `latest`.")],
    margin: Annotated[float, typer.Option(help="Relative difference that does not matter.")] = 0.02,
    as_measured: Annotated[
        bool,
        typer.Option("--as-measured", help="Compare also where a device changed in between."),
    ] = False,
    at: FarmAt = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Say of each network whether it got faster or slower. Exit code 1 if any got slower."""
    from farm.campaign.compare import SLOWER
    from farm.campaign.compare import compare as compared
    from farm.cli import comparison

    if client := remote.service(at, config, store):
        found = client.compare(first, second, margin=margin, as_measured=as_measured)
    else:
        with Farm.open(config, store).store() as opened:
            found = compared(opened, first, second, margin, as_measured).to_json()
    print_result(as_json, lambda: found, lambda: comparison.text(found, margin))
    if found["counts"][SLOWER]:
        raise typer.Exit(1)


@app.command()
def doctor(config: Config = CONFIG, store: StoreFolder = None, as_json: Json = False) -> None:
    """Look at what is installed, what is missing, and what to do about it."""
    from farm.devices.doctor import examine

    checks = examine(config, store)
    print_result(as_json, lambda: show.checks_json(checks), lambda: show.check_table(checks))
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(1)


def main() -> None:
    """What the command does: errors become one line and their exit code."""
    ending.say()
    plain.let_everything_be_printed()
    logging.basicConfig(format="farm: %(message)s", handlers=[_Said()], level=logging.WARNING)
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except FarmError as e:
        _fail(str(e), e.exit_code)
    except TyperException as e:
        _fail(_usage(e), e.exit_code)
    except BrokenPipeError:
        # Who read our output has seen enough, as `head` has; nothing can be said to it any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as e:
        of = f"{e.filename}: " if e.filename else ""
        _fail(f"{of}{e.strerror or e}; look whether the disk and its folders are as they should", 1)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted; `farm campaign resume` goes on with a campaign", _INTERRUPTED)


class _Said(logging.Handler):
    """To stderr as it is at the moment: while progress is drawn, above it."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")


def _report(summary: Summary, config: Path, store: Path | None, as_json: bool) -> None:
    """Print what a run came to. A network may fail, whatever its verdict; exit code 1 says that on
    a device every one did, or that some have no outcome."""
    resume = resume_command(summary.campaign.id, config, store)
    print_result(as_json, summary.to_json, lambda: show.summary(summary.to_json(), resume))
    if not summary.succeeded:
        raise typer.Exit(1)


def _usage(error: TyperException) -> str:
    """What is wrong with the words of a command line; empty where the help was shown for it."""
    message, context = error.format_message().strip(), getattr(error, "ctx", None)
    if not message or context is None:
        return message
    return f"{message.rstrip('.')}; see `{context.command_path} --help`"


def _fail(message: str, exit_code: int) -> NoReturn:
    for line in message.splitlines():
        sys.stderr.write(f"farm: {line}\n")  # typer.echo chooses its own encoding
    sys.exit(exit_code)
