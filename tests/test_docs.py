"""The documents say what is true: their commands exist, their files are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from farm.cli.main import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def shell_lines() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("farm ")])
def test_a_command_of_the_readme_exists_with_its_options(line):
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, line
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("make ")])
def test_a_make_target_of_the_readme_exists(line):
    target = shlex.split(line, comments=True)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", README))))
def test_a_benchmark_of_the_readme_exists(module):
    assert (ROOT / Path(*module.split("."))).with_suffix(".py").exists()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(document):
    text = (ROOT / document).read_text()
    named = re.findall(r"`((?:farm|agents|predictors|tests|benchmarks)/[\w./]*)`", text)
    named += re.findall(r"\]\(([\w./]+)\)", text)
    assert named
    for name in named:
        assert (ROOT / name).exists(), name
