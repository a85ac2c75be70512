"""Writes docs/commands.md, the reference of all commands, from the commands themselves.

python -m docs.commands
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from farm.cli.main import app

PAGE = Path(__file__).with_name("commands.md")

_HEAD = """\
# Commands

Written by `python -m docs.commands` from the commands themselves; a test holds that it is up to
date.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done (whatever the verdicts),
1 the work failed, 2 usage or configuration, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM);
the last two say in one line what is kept and which command goes on.
"""


def page() -> str:
    """What docs/commands.md says."""
    commands = dict(_commands(typer.main.get_command(app), ("farm",)))
    index = [f"- [`{name}`](#{name.replace(' ', '-')}): {c.help}" for name, c in commands.items()]
    sections = [_section(command, name) for name, command in commands.items()]
    return "\n".join([_HEAD, *index, "", *sections])


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    if not hasattr(command, "commands"):
        yield " ".join(words), command
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield from _commands(child, (*words, name))


def _section(command: Any, name: str) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join([name, *map(_argument, arguments), "[OPTIONS]"])
    rows = [
        *(f"| `{_argument(p)}` | {_meaning(p)} | {_default(p)} |" for p in arguments),
        *(f"| `{_option(p)}` | {_meaning(p)} | {_default(p)} |" for p in options),
    ]
    table = "\n".join(["| | meaning | default |", "|---|---|---|", *rows])
    return f"## {name}\n\n`{usage}`\n\n{command.help}\n\n{table}\n"


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return str(name) if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    names = ", ".join(parameter.opts)
    flag = getattr(parameter, "is_flag", False)
    return names if flag else f"{names} {parameter.metavar or parameter.name.upper()}"


def _meaning(parameter: Any) -> str:
    words = (parameter.help or "").replace("|", "\\|")
    variable = getattr(parameter, "envvar", None)
    return f"{words} Also `${variable}`." if variable else words


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    if parameter.default in (None, "", False):
        return ""
    return f"`{parameter.default}`"


if __name__ == "__main__":
    PAGE.write_text(page())
