"""Commands that go through a service (`farm serve`) on another computer: `--farm URL`, or
`farm: URL` in cluster.yaml. Each prints what it prints of a farm of this computer."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Group, RenderableType

from farm.cli import ending, show
from farm.cli.common import print_result, say_where_nothing_runs
from farm.core.errors import FarmError, NotSignedIn, ServiceError, UsageError
from farm.inventory.config import address

if TYPE_CHECKING:
    from farm.campaign.asking import Ask
    from farm.campaign.planning import Launch
    from farm.client import Client
    from farm.prediction.batch import Answers
    from farm.prediction.prediction import Predictions
    from farm.remote_values import RemoteRow
    from farm.search.found import Found
    from farm.search.setting import Search
    from farm.store.events import Event

TOKEN = "FARM_TOKEN"
"""The environment variable with a token."""

_POLL_S = 1.0
"""How often a campaign is asked after."""

_PATIENCE_S = 60.0
"""How long a service may be away, and a campaign be run by nobody, before that is an error."""


def service(
    at: str | None, config: Path, store: Path | None = None, **unfit: object
) -> Client | None:
    """Who answers a command in place of this computer's farm; None for nobody.

    at: what `--farm` said. unfit: options that are about files of this computer, by name; one that
    was given raises UsageError. Raises ConfigError, and NotSignedIn where there is no token.
    """
    url = at or address(config)
    if url is None:
        return None
    given = {"store": store, **unfit}
    if wrong := [name for name, value in given.items() if value]:
        raise UsageError(
            f"--{wrong[0].replace('_', '-')} is for the computer where the farm is, which is at "
            f"{url}; leave it out"
        )
    from farm.client import Client

    return Client(url, _token(url))


def _token(url: str) -> str:
    """Raises NotSignedIn and UsageError."""
    token = os.environ.get(TOKEN, "").strip() or _kept(_tokens(), url)
    if not token:
        raise NotSignedIn(
            f"{url} takes a token: put it into ${TOKEN}, or the line `{url} TOKEN` into "
            f"{_tokens()}; `farm token create NAME` makes one on the computer of the farm"
        )
    return token


def _tokens() -> Path:
    """A file of addresses and their tokens, one a line: none is sent to another address."""
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "farm" / "tokens"


def _kept(path: Path, url: str) -> str | None:
    """Raises UsageError for a file that others can read."""
    try:
        mode, lines = path.stat().st_mode, path.read_text().splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} cannot be read: {e}; it has lines of `URL TOKEN`") from e
    if mode & 0o077:
        raise UsageError(f"others can read {path}, which has tokens; `chmod 600 {path}` ends that")
    pairs = (line.split() for line in lines if line.strip())
    found = {pair[0].rstrip("/"): pair[-1] for pair in pairs if len(pair) == 2}
    return found.get(url.rstrip("/"))


def predict(
    client: Client, networks: list[str], device: str, ask: Ask, explain: bool
) -> Predictions:
    """`farm predict`."""
    return client.predict(
        networks,
        device,
        measure=ask.measure,
        max_error=ask.max_error,
        explain=explain,
        strict=False,
    )


def hwl(client: Client, networks: list[str], ask: Ask) -> Answers[RemoteRow]:
    """`farm hwl`."""
    found = client.hwl_each(networks, measure=ask.measure, max_error=ask.max_error)
    found.must_have_any()
    return found


def devices(client: Client, as_json: bool) -> None:
    """`farm device list`."""
    found = client.devices()
    print_result(as_json, lambda: {"farm": client.url, "devices": found}, lambda: _devices(found))


def _devices(found: list[dict[str, Any]]) -> RenderableType:
    table = show.table_of("device", "kind", "reference", "waiting", "beware")
    for one in found:
        reference = "yes" if one["reference"] else ""
        waits = str(one["waiting"] or "")
        beware = [f"{why}: {one[why]}" for why in ("quarantine", "lost") if one.get(why)]
        table.add_row(one["name"], one["kind"], reference, waits, "; ".join(beware))
    return Group(table, *show.held_lines({one["name"]: one["held_by"] for one in found}))


def campaigns(client: Client, as_json: bool) -> None:
    """`farm campaign list`."""
    found = client.campaigns()
    print_result(as_json, lambda: {"campaigns": found}, lambda: show.campaign_table(found))


def campaign(client: Client, name: str, choices: bool, as_json: bool) -> None:
    """`farm campaign show`."""
    found = client.campaign(name)
    if choices:
        found |= {"choices": client.choices(found["campaign"])}
    print_result(as_json, lambda: found, lambda: show.predictions(found, None, None))


def cancel(client: Client, name: str, as_json: bool) -> None:
    """`farm campaign cancel`."""
    ended = client.cancel(name)
    data = {"campaign": ended, "cancelled": True}
    print_result(as_json, lambda: data, lambda: f"{ended} is cancelled.")


def events(
    client: Client, campaign: str | None, device: str | None, after: int | None
) -> Iterator[Event]:
    """`farm watch`."""
    named = [one for one in client.campaigns() if campaign in (one["id"], "latest")]
    if named:
        resume = f"farm campaign resume {named[-1]['id']} --farm {shlex.quote(client.url)}"
        say_where_nothing_runs(named[-1], resume)
    return client.events(campaign, device, after)


def launch(client: Client, asked: Launch, as_json: bool) -> None:
    """`farm launch`: until the service has run the campaign, which goes on without this command."""
    _until_it_has_ended(client, client.launch(asked), as_json)


def resume(client: Client, campaign: str, again: list[str], as_json: bool) -> None:
    """`farm campaign resume`: the service goes on with the campaign, without this command."""
    _until_it_has_ended(client, client.resume(campaign, again), as_json)


def search(client: Client, asked: Search) -> Found:
    """`farm search`: by a job of the service, which goes on without this command."""
    said = ""

    def tell(job: Mapping[str, Any]) -> None:
        nonlocal said
        ending.say(lambda: f"the search goes on; {client.url}/jobs/{job['job']} shows it")
        if job["state"] == "running" and job["message"] not in (None, said):
            said = str(job["message"])
            typer.echo(said, err=True)

    return client.search(asked, tell)


def _until_it_has_ended(client: Client, name: str, as_json: bool) -> None:
    again = f"farm campaign show {name} --farm {shlex.quote(client.url)}"
    ending.say(lambda: f"{name} goes on at {client.url}; `{again}` shows it")
    typer.echo(f"{name} is run at {client.url}", err=True)
    _wait(client, name)
    found = client.campaign(name)
    print_result(as_json, lambda: found, lambda: show.summary(found, None))
    own = found["devices"].values()
    hopeless = any(one["failed"] and not one["measured"] for one in own)
    if found["state"] != "done" or hopeless:
        raise typer.Exit(1)


def _wait(client: Client, name: str) -> None:
    """Until a campaign has ended. Raises FarmError where nobody runs it."""
    said, well_s = "", time.monotonic()
    while True:
        now = _patiently(lambda: _row(client, name))
        if now["run_by"] is not None:
            well_s = time.monotonic()
        progress = f"{name}: {now['measured']} of {now['wanted']} measured, {now['failed']} failed"
        if progress != said:
            typer.echo(progress, err=True)
            said = progress
        if now["state"] != "unfinished" and now["run_by"] is None:
            return
        if time.monotonic() - well_s > _PATIENCE_S:
            raise FarmError(
                f"nobody has run {name} for a minute; {client.url}/campaigns/{name} says why, and "
                "a service that starts again goes on with it"
            )
        time.sleep(_POLL_S)


def _row(client: Client, name: str) -> dict[str, Any]:
    return next(one for one in client.campaigns() if one["id"] == name)


def _patiently(ask: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """What a service answers, which may be about to start again. Raises what it does."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask()
        except ServiceError as e:
            if isinstance(e, NotSignedIn) or time.monotonic() > until:
                raise
        time.sleep(_POLL_S)
