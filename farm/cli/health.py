"""`farm device check`, `quarantine`, `release`, `retire`: whether a device can be trusted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from farm.cli import ending
from farm.cli.common import CONFIG, Config, Json, StoreFolder, print_result
from farm.core.errors import UsageError
from farm.devices.certificate import LOAD_S
from farm.devices.health import Health
from farm.farm import Farm
from farm.measurement.drift_correction import BASELINE_ROUNDS
from farm.store import Holding

health_app = typer.Typer()

Name = Annotated[str, typer.Argument(help="The name of a device.")]


@health_app.command("check")
def device_check(
    name: Name,
    load_seconds: Annotated[
        float, typer.Option(help="How long it is kept busy to see whether it slows down.")
    ] = LOAD_S,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Examine a device for a minute: how fine, how steady and how correct it measures."""
    farm = Farm.open(config, store)
    ending.say(lambda: f"no certificate of {name} was kept; `{ending.command_line()}` begins again")
    found = farm.check(name, load_seconds)
    print_result(as_json, lambda: {"device": name, **found}, lambda: certificate(found))


@health_app.command("quarantine")
def device_quarantine(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; it is shown wherever the device is missed.")],
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Measure nothing on a device until it is released."""
    with _known(config, store, name).store() as opened:
        opened.quarantine(name, reason, manual=True)
    text = f"{name} is in quarantine; `farm device release {name}` ends it."
    print_result(
        as_json, lambda: {"device": name, "quarantined": True, "reason": reason}, lambda: text
    )


@health_app.command("release")
def device_release(
    name: Name, config: Config = CONFIG, store: StoreFolder = None, as_json: Json = False
) -> None:
    """Trust a device again; `farm campaign resume` then measures what it was spared."""
    with _known(config, store, name).store() as opened:
        released = opened.release(name)
    text = f"{name} is released." if released else f"{name} is in no quarantine."
    print_result(as_json, lambda: {"device": name, "released": released}, lambda: text)


@health_app.command("retire")
def device_retire(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether that is meant.")] = False,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Let no result of a device count any more. They are kept, and can be measured again."""
    farm = _known(config, store, name)
    if not yes and not _meant(name):
        raise UsageError(f"nothing was invalidated; to let no result of {name} count, pass --yes")
    with farm.store() as opened, Holding(opened, "farm device retire") as holding:
        holding.wait_for_devices([name])
        invalidated = opened.invalidate(name, "invalidated by hand")
    text = f"{invalidated} measurements of {name} no longer count."
    print_result(as_json, lambda: {"device": name, "invalidated": invalidated}, lambda: text)


def _known(config: Path, store: Path | None, name: str) -> Farm:
    farm = Farm.open(config, store)
    farm.config.device(name)
    return farm


def _meant(name: str) -> bool:
    """Only a person at a terminal can be asked."""
    if not sys.stdin.isatty():
        return False
    question = f"No result of {name} will count any more. Type its name to go on"
    return bool(typer.prompt(question, default="", err=True) == name)


def report(health: Health) -> RenderableType:
    """What the store knows of a device's health, below its facts."""
    parts: list[RenderableType] = []
    if health.quarantine is not None:
        held = f"In quarantine since {_day(health.quarantine.at)}: {health.quarantine.reason}."
        parts.append(Text(held, style="red"))
    parts += [
        f"Revision {one.fingerprint} since {_day(one.decided_at)}: {one.decision}; {one.reason}."
        for one in health.revisions
    ]
    parts += [f"Since {_day(one.began_at)}: {one.reason}." for one in health.stretches]
    if health.baseline_rounds:
        fixed = health.baseline_rounds >= BASELINE_ROUNDS
        rest = "and is fixed" if fixed else f"and fixed after {BASELINE_ROUNDS}"
        parts.append(f"Its baseline is made of {health.baseline_rounds} rounds, {rest}.")
    shifts = [one.shift for one in health.rounds]
    if shifts:
        worst = max((abs(shift) for shift in shifts if shift is not None), default=0.0)
        parts.append(
            f"Control networks, {len(shifts)} rounds, within {worst:.1%}: {sparkline(shifts)}"
        )
    if health.certificate is not None:
        parts.append(certificate(health.certificate))
    return Group(*parts)


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(shifts: list[float | None]) -> str:
    """A bar for each shift, the middle for none; 2 % at least fill it, so that calm looks calm."""
    most = max([0.02, *(abs(shift) for shift in shifts if shift is not None)])
    steps = [(shift or 0.0) / most for shift in shifts]
    return "".join(_BARS[round((step + 1) / 2 * (len(_BARS) - 1))] for step in steps)


def certificate(found: dict[str, Any]) -> RenderableType:
    """A certificate, a line for each thing that was found out."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _lines(found).items():
        table.add_row(name, value)
    return Group(f"Certificate of {_day(found['checked_at'])}:", table)


def _lines(found: dict[str, Any]) -> dict[str, str]:
    rejected = ", ".join(f"{kind} {share:.1%}" for kind, share in found["rejected"].items())
    temp = "" if found["temp_c"] is None else f", {found['temp_c']:.0f} °C at its end"
    finest_s, resolves = found["timer_resolution_s"], found["resolves"]
    shared = found.get("shared")  # nobody looked at that once
    return {
        "timer": (
            f"{'unknown' if finest_s is None else f'{finest_s * 1e9:.3g} ns'} resolution, "
            f"{found['timer_overhead_s'] * 1e9:.0f} ns overhead of a sample"
        ),
        "noise": f"{found['block_spread']:.2%} between blocks, {found['session_spread']:.2%} "
        "between sessions",
        "warm-up": f"{found['warmup_samples']} samples",
        "drift": _drift(found) + temp,
        "output": "right" if found["correct"] else "not compared: nothing is computed here",
        "disturbed blocks": rejected or "none",
        "shared core": "not visible" if shared is None else f"during {shared:.0%} of the samples",
        "can tell apart": "nothing" if resolves is None else f"latencies {resolves:.2%} apart",
    }


def _drift(found: dict[str, Any]) -> str:
    if found["drift"] is None:
        return "not looked for; `farm device check` does"
    return f"{found['drift']:+.2%} over {found['load_s']:.0f} s of load"


def _day(at: str) -> str:
    return at[:16].replace("T", " ")
