"""`farm device`: what devices there are, how they come and go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from farm.cli import ending, remote, show, show_devices
from farm.cli.common import CONFIG, Config, FarmAt, Json, StoreFolder, print_result
from farm.cli.health import certificate, health_app, report
from farm.core.errors import UsageError
from farm.devices.onboarding import Added
from farm.farm import Farm

device_app = typer.Typer(
    help="Devices of cluster.yaml: add, remove, list, show, check, and trust.",
    no_args_is_help=True,
)
device_app.add_typer(health_app)

Name = Annotated[str, typer.Argument(help="The name of a device.")]


@device_app.command("list")
def device_list(
    at: FarmAt = None, config: Config = CONFIG, store: StoreFolder = None, as_json: Json = False
) -> None:
    """List the devices of cluster.yaml."""
    if client := remote.service(at, config, store):
        return remote.devices(client, as_json)
    farm = Farm.open(config, store)
    print_result(
        as_json, lambda: show_devices.devices_json(farm), lambda: show_devices.device_table(farm)
    )
    return None


@device_app.command("show")
def device_show(
    name: Name,
    plot: Annotated[
        Path | None,
        typer.Option(help="Write the control chart to this PNG or SVG."),
    ] = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Ask a device what it is, and the store whether it can be trusted and who holds it."""
    farm = Farm.open(config, store)
    facts = farm.facts(name)
    held = {device: lease.to_json() for device, lease in farm.held([name]).items()}
    health = farm.health(facts)
    if plot is not None:
        from farm.pictures import plot_health

        plot_health(name, health, plot)
    print_result(
        as_json,
        lambda: {
            **facts.to_json(),
            "health": health.to_json(),
            "held_by": held.get(name),
        },
        lambda: Group(show_devices.facts_table(facts), *show.held_lines(held), report(health)),
    )


@device_app.command("add")
def device_add(
    name: Annotated[str, typer.Argument(help="What to call the device.")],
    kind: Annotated[str, typer.Option(help="ssh, qemu-pi, cpu, or another kind of device.")],
    host: Annotated[str | None, typer.Option(help="USER@HOST or USER@HOST:PORT, for ssh.")] = None,
    key: Annotated[
        Path | None, typer.Option(help="File of the private key that logs in there.")
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="SHA256:... of the host's key, if you know it.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the entry in cluster.yaml.")
    ] = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Try a device out with a known network, and write it into cluster.yaml."""
    from farm.devices.onboarding import add

    ending.say(lambda: f"{name} was not added to {config}; `{ending.command_line()}` begins again")
    entry = {"kind": kind, **_login(kind, host, key, fingerprint), **_parsed(settings or [])}
    added = add(config, name, entry, store)
    print_result(as_json, lambda: show_devices.added_json(added), lambda: _added(added))


def _added(added: Added) -> RenderableType:
    found = added.certificate
    return Group(show_devices.added_table(added), *([certificate(found)] if found else []))


@device_app.command("remove")
def device_remove(
    name: Name,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete what the farm keeps on the device.")
    ] = False,
    config: Config = CONFIG,
    store: StoreFolder = None,  # noqa: ARG001 - as every command; what was measured stays there
    as_json: Json = False,
) -> None:
    """Take a device out of cluster.yaml; what was measured on it is kept."""
    from farm.devices.onboarding import remove

    remove(config, name, purge)
    text = f"{name} is no longer in {config}" + ("; its folder is deleted." if purge else ".")
    print_result(as_json, lambda: {"device": name, "removed": True, "purged": purge}, lambda: text)


def _login(
    kind: str, host: str | None, key: Path | None, fingerprint: str | None
) -> dict[str, Any]:
    """What an entry of a device over SSH begins with, its host key pinned."""
    if kind != "ssh":
        if host or key or fingerprint:
            raise UsageError(f"--host, --key and --fingerprint are for --kind ssh, not {kind!r}")
        return {}
    if not host or not key:
        raise UsageError("--kind ssh needs --host USER@HOST and --key FILE, a private key")
    from agents.remote.transport import Address
    from farm.devices.onboarding import KNOWN_HOSTS, host_key

    try:
        address = Address.parse(host)
    except ValueError as e:
        raise UsageError(str(e)) from e
    pinned = host_key(address, fingerprint, KNOWN_HOSTS.expanduser(), _confirm)
    sys.stderr.write(f"The host key of {address.place} is {pinned}.\n")
    return {"host": host, "key": str(key.absolute()), "host_key": str(pinned)}


def _confirm(shown: object) -> bool:
    """Only a person at a terminal can vouch for a key."""
    if not sys.stdin.isatty():
        return False
    question = f"The host shows the key {shown}. Is that what it should be? Type yes"
    return bool(typer.prompt(question, default="no", err=True) == "yes")


def _parsed(settings: list[str]) -> dict[str, Any]:
    """The values of --set, written as in cluster.yaml."""
    found = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        try:
            found[key] = YAML(typ="safe").load(text)
        except (YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as e:
            # The last five are ruamel's own mistakes with odd values, such as the 40th of a month.
            raise UsageError(f"--set {setting}: {text!r} is not YAML") from e
        if not key or not equals:
            raise UsageError(f"--set takes KEY=VALUE, got {setting!r}")
    return found
