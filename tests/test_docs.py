"""The documents say what is true: their blocks run, their commands, files and links exist."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer

from docs import commands, store_schema
from farm.cli.main import app
from farm.execution import on_ray
from farm.execution.inline import InlineExecutor
from farm.inventory.config import load
from farm.spaces import space
from tests import onnx_models
from tests.fakes import FakeOptions, fake_latency_s
from tests.system import lack

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [*PAGES, ROOT / "CONTRIBUTING.md"]


@dataclass(frozen=True)
class Block:
    """A block of code. reason: why it is not run here, where a comment before it says so."""

    page: Path
    language: str
    text: str
    reason: str | None

    @property
    def lines(self) -> list[str]:
        """Its commands, without comments; a line that ends with a backslash goes on."""
        whole = self.text.replace("\\\n", " ").splitlines()
        return [line for line in whole if shlex.split(line, comments=True)]


def blocks_of(page: Path) -> list[Block]:
    pattern = r"(?:^<!-- not run: ([^\n]+) -->\n)?^```(\w+)\n(.*?)^```$"
    found = re.findall(pattern, page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [Block(page, language, text, reason or None) for reason, language, text in found]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
SHELL = [(block, line) for block in BLOCKS if block.language == "sh" for line in block.lines]


def name(value: object) -> str | None:
    """What a case is called."""
    return value.name if isinstance(value, Path) else None


# What the blocks say


def at_its_pace(page: Path) -> object:
    """A page whose campaigns take more than five seconds is marked as slow."""
    slow = page.name in ("README.md", "campaigns.md", "scaling-with-ray.md")
    return pytest.param(page, marks=pytest.mark.slow) if slow else page


@pytest.mark.parametrize("page", [at_its_pace(page) for page in PAGES], ids=name)
def test_the_blocks_of_a_page_run_one_after_the_other(page, farm, tmp_path, monkeypatch, tables):
    """As they are, in a folder with a cluster.yaml whose devices are fakes.

    Ray takes many seconds to start: but on its own page, the inline executor is in its place, which
    passes the same suites (`tests/campaign`).
    """
    runnable = [block for block in blocks_of(page) if block.reason is None]
    furnish(tmp_path)
    monkeypatch.setenv("FARM_DATA", str(tables))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # Ray's workers look for the fakes
    if page.name != "scaling-with-ray.md":
        monkeypatch.setattr(
            on_ray,
            "RayExecutor",
            lambda devices, to, *rest: InlineExecutor(devices, to, *rest[-2:]),
        )
    for block in runnable:
        if block.language == "python":
            exec(compile(block.text, f"{page.name}, a block", "exec"), {})
        for line in block.lines if block.language == "sh" else ():
            command, *words = shlex.split(line, comments=True)
            assert command == "farm", f"say before the block why it is not run: {line}"
            code, out, err = farm(*words)
            assert code == 0, f"{line}\n{out}\n{err}"


CLUSTER = """\
store: farm-data
references: [cpu1, cpu2]
devices:
  cpu1: {kind: "tests.fakes:FakeAgent"}
  cpu2: {kind: "tests.fakes:FakeAgent", latency_s: 0.0006}
"""


def furnish(folder: Path) -> None:
    """What the pages take for granted: cluster.yaml, the examples, ONNX files."""
    (folder / "cluster.yaml").write_text(CLUSTER)
    shutil.copytree(ROOT / "examples", folder / "examples")
    onnx.save(onnx_models.cnn(input_shape=("n", 3, "height", "width")), folder / "model.onnx")
    (folder / "nets").mkdir()
    for channels in range(4, 12):
        onnx.save(onnx_models.cnn(channels), folder / "nets" / f"{channels}.onnx")


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """A folder of published tables, made up: they are not in the repository."""
    folder = tmp_path_factory.mktemp("tables")
    nb201 = space("nb201")
    codes = [network.code for network in nb201.sample(nb201.size, np.random.default_rng(0))]
    columns = ("raspi4", "pixel3", "fpga")
    made_up = [FakeOptions(seed=seed) for seed, _ in enumerate(columns)]
    latency_ms = [[fake_latency_s(code, options) * 1e3 for code in codes] for options in made_up]
    np.savez(folder / "nb201.npz", devices=columns, arch_str=codes, latency_ms=latency_ms)
    return folder


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "yaml"], ids=name)
def test_an_example_of_a_cluster_is_one(block, tmp_path):
    (tmp_path / "cluster.yaml").write_text(block.text)
    assert load(tmp_path / "cluster.yaml").devices


@pytest.mark.parametrize("line", [line for _, line in SHELL if line.startswith("farm ")])
def test_a_command_exists_with_its_options(line):
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, line
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("line", [line for _, line in SHELL if line.startswith("make ")])
def test_a_make_target_exists(line):
    target = shlex.split(line, comments=True)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def module_lines() -> list[tuple[str, str]]:
    """Modules that a page runs, each with the rest of what it says to run."""
    text = "\n".join(page.read_text() for page in DOCUMENTS)
    inline = re.findall(r"`python -m ([\w.]+)([^`]*)`", text)
    lines = [re.fullmatch(r"python -m ([\w.]+)([^#]*).*", line) for _, line in SHELL]
    return sorted({*inline, *((line[1], line[2]) for line in lines if line)})


@pytest.mark.parametrize(("module", "rest"), module_lines())
def test_a_module_exists_with_its_options(module, rest):
    path = (ROOT / Path(*module.split("."))).with_suffix(".py")
    assert path.exists()
    for option in re.findall(r"--([\w-]+)", rest):
        assert re.search(rf'"(--)?{option}"', path.read_text()), option


# What they name


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_files_that_are_named_exist(document):
    folders = "farm|agents|predictors|tests|benchmarks|docs|examples"
    for named in re.findall(rf"`((?:{folders})/[\w./-]*)`", document.read_text()):
        assert (ROOT / named).exists(), named


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document):
    for address in re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text())):
        if "://" in address:
            continue
        path, _, anchor = address.partition("#")
        target = document if not path else (document.parent / path).resolve()
        assert target.exists(), address
        assert not anchor or anchor in anchors(target), address


def without_code(text: str) -> str:
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`(?!\])", "", text)


def anchors(page: Path) -> set[str]:
    """Those of its headings, as both GitHub and the site make them of plain words."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def test_every_page_is_in_the_index_and_in_the_navigation():
    pages = {page.name for page in PAGES[1:]}
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text()))
    assert linked == pages - {"index.md"}
    assert set(re.findall(r"- ([\w-]+\.md)", (ROOT / "mkdocs.yml").read_text())) == pages


def test_every_extra_is_explained():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    told = (ROOT / "docs" / "quick-start.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", told, flags=re.MULTILINE)) == set(extras)


def test_the_readme_is_a_door():
    assert len(README.read_bytes()) < 8192


# What is written by scripts


@pytest.mark.parametrize("script", [commands, store_schema], ids=["commands", "store_schema"])
def test_a_page_that_is_written_is_up_to_date(script):
    assert script.PAGE.read_text() == script.page(), f"run `python -m {script.__name__}`"


def test_nothing_is_explained_that_the_store_does_not_have():
    assert not store_schema.unused()


def test_the_pages_are_a_site(tmp_path):
    if importlib.util.find_spec("mkdocs") is None:
        lack("no mkdocs is installed; it is in `pip install -c constraints.txt -e '.[docs]'`")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES[1:])
    loaded = r"<(?:script|img)[^>]* src=\"?(?:https?:)?//|<link[^>]* rel=\"?stylesheet[^>]*//"
    assert not [page for page in pages if re.search(loaded, page.read_text())]
    assert (tmp_path / "site" / "benchmarks" / "results" / "fewshot-ND.png").exists()
