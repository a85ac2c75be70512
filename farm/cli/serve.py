"""`farm serve` and `farm token`: the farm over HTTP, and who may ask it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from farm.cli import ending, show
from farm.cli.common import (
    CONFIG,
    Config,
    Executor,
    Json,
    StoreFolder,
    print_result,
    seconds,
)
from farm.core.extras import of_extra
from farm.farm import Farm
from farm.store import ROLES, Store, Token

if TYPE_CHECKING:
    from farm.service.serving import Started

serve_app = typer.Typer()
token_app = typer.Typer(help="Who may ask the service: create, list, revoke.", no_args_is_help=True)


@serve_app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.")] = 8765,
    remote: Annotated[
        bool, typer.Option("--remote", help="Let other computers in, with tokens.")
    ] = False,
    name: Annotated[
        list[str] | None, typer.Option(help="A host name that it is asked for by, as of a proxy.")
    ] = None,
    executor: Executor = "ray",
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Serve the farm's pages and its API until it is interrupted; run campaigns that are launched
    there, and go on with those of before."""
    with of_extra("service"):
        from farm.service.logs import log_as_json
        from farm.service.serving import Where
        from farm.service.serving import serve as served
    where = Where(host=host, port=port, remote=remote, names=tuple(name or ()))
    farm = Farm.open(config, store)
    ending.say(lambda: "the service has ended; `farm serve` starts it again")
    log_as_json()
    served(farm, where, lambda started: _begun(started, as_json), executor)


def _begun(started: Started, as_json: bool) -> None:
    """The key is shown to who sits at a terminal, and to no log."""
    data = {"url": started.url, "key_file": str(started.key_file)}
    shown = started.login if sys.stdout.isatty() else started.url
    text = f"The farm is at {shown}\nThe owner's key to it is in {started.key_file}"
    print_result(as_json, lambda: data, lambda: show.unbroken(text))
    sys.stdout.flush()


@token_app.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call it: who or what will use it.")],
    role: Annotated[
        str,
        typer.Option(
            help=f"What it allows: {', '.join(ROLES)}. A reader looks and asks for predictions, a "
            "user launches and measures, an admin ends what others began, too."
        ),
    ] = ROLES[0],
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long it holds: 30d, 12h, 45m.")
    ] = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it, once: only its digest is kept."""
    lasts_s = None if expires is None else seconds("--expires", expires)
    farm = Farm.open(config, store)
    with Store(farm.config.store) as opened:
        secret = opened.add_token(name, role, lasts_s)
    print_result(
        as_json,
        lambda: {"name": name, "role": role, "token": secret},
        lambda: show.unbroken(secret),
    )


@token_app.command("list")
def list_tokens(config: Config = CONFIG, store: StoreFolder = None, as_json: Json = False) -> None:
    """List the tokens that were made; none can be shown again."""
    with Farm.open(config, store).store() as opened:
        found = opened.tokens()
    print_result(as_json, lambda: {"tokens": [t.to_json() for t in found]}, lambda: _table(found))


@token_app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="A token's name.")],
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """End a token: from now on it opens nothing."""
    with Farm.open(config, store).store() as opened:
        opened.revoke_token(name)
    data: dict[str, Any] = {"name": name, "revoked": True}
    print_result(as_json, lambda: data, lambda: f"{name} opens nothing any more.")


def _table(tokens: list[Token]) -> RenderableType:
    table = show.table_of("token", "role", "state", "made", "expires")
    for one in tokens:
        made, expires = one.created_at[:16], (one.expires_at or "never")[:16]
        table.add_row(one.name, one.role, one.state, made, expires)
    return table if tokens else "No token yet; `farm token create NAME` makes one."
