"""Bad input changes nothing on the disk, and a path that cannot be written is named as it was
given."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FAKES

CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
LAUNCH = ("launch", "--devices", "a", "--budget", "5", "--holdout", "4", "--executor", "inline")


def everything(folder: Path) -> dict[str, int]:
    """Every file and folder, with when it was last changed."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "words",
    [
        ("campaign", "list"),
        ("campaign", "show"),
        ("campaign", "resume"),
        ("campaign", "resume", "c1", "--executor", "inline", "--again", "noisy"),
        ("campaign", "cancel", "c1"),
        ("hwl", CELL, "--measure", "never"),
        ("hwl", CELL, "--executor", "rya"),
        ("hwl", "nb201/rubbish"),
        ("compare", "c1", "c2"),
        ("export",),
        ("device", "release", "a"),
        ("device", "release", "z"),
        (*LAUNCH[:-1], "rya"),
        ("launch", "--devices", "z", "--budget", "1"),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_a_store_that_is_not_there_is_not_made(farm, words, tmp_path):
    before = everything(tmp_path)
    code, out, err = farm(*words, "--store", "nowhere")
    assert (code in (1, 2), out) == (True, "")
    assert len(err.splitlines()) == 1
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "words",
    [
        ("campaign", "show", "c9"),
        ("campaign", "resume", "c9"),
        ("campaign", "resume", "c1", "--again", "odd"),
        ("campaign", "resume", "c1", "--executor", "rya"),
        ("campaign", "cancel", "c9"),
        ("compare", "c1", "c9"),
        ("compare", "c1", "c1", "--margin", "2"),
        ("export", "--campaign", "c9"),
        ("export", "--format", "xls"),
        ("export", "--output", "nowhere/x.csv"),
        ("campaign", "show", "c1", "--plot", "x.odd"),
        ("hwl", CELL, "--executor", "rya"),
    ],
    ids=" ".join,
)
def test_a_store_that_is_there_stays_as_it_is(farm, words, tmp_path):
    farm(*LAUNCH)
    before = everything(tmp_path)
    code, out, err = farm(*words)
    assert (code in (1, 2), out) == (True, "")
    assert len(err.splitlines()) == 1
    # SQLite's own files come and go with every reader, and change the folder.
    changed = {path for path, at in everything(tmp_path).items() if before.get(path) != at}
    assert changed <= {"results"}


def test_what_export_cannot_write_is_named_with_its_option(farm, tmp_path):
    farm(*LAUNCH)
    code, _, err = farm("export", "--output", "nowhere/x.csv")
    assert code == 2
    assert f"nowhere/x.csv cannot be written: there is no folder {tmp_path / 'nowhere'}" in err
    assert "--output names another file" in err
    (tmp_path / "folder.csv").mkdir()
    code, _, err = farm("export", "--output", "folder.csv")
    assert (code, "folder.csv cannot be written: Is a directory; --output" in err) == (2, True)
    assert not list(tmp_path.glob("*.part"))
    code, _, err = farm("export", "--output", "/proc/x.csv")
    assert (code, "/proc/x.csv cannot be written: " in err) == (2, True)


def test_a_file_of_no_networks_is_not_all_of_them(farm, tmp_path):
    farm(*LAUNCH)
    (tmp_path / "none.txt").touch()
    code, out, err = farm("export", "--layout", "wide", "--networks", "none.txt")
    assert (code, out) == (2, "")
    assert "none.txt names no network" in err


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(farm, tmp_path):
    for name, reason in (("nowhere/x.csv", "there is no folder"), ("/proc/x.csv", "")):
        code, out, err = farm("hwl", CELL, "--output", name)
        assert (code, out) == (2, "")
        assert f"{name} cannot be written: {reason}" in err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("new", "--set", "threads=2026-13-45"),
        ("new", "--set", "threads=[1"),
        ("new", "--set", "threads=.inf"),
        ("new", "--set", "measure={timeout_s: 1e7}"),
        ("new", "--set", "target=a\x07b"),
        ("new", "--set", "controls=5"),
        ("new", "--set", "threads"),
        ("a: b\nc", "--set", "threads=1"),
    ],
    ids=ascii,
)
def test_a_device_that_makes_no_sense_is_not_added(farm, words, tmp_path):
    before = everything(tmp_path)
    code, out, err = farm("device", "add", *words, "--kind", "cpu")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert everything(tmp_path) == before


def test_whoever_reads_the_output_may_have_seen_enough(tmp_path):
    (tmp_path / "cluster.yaml").write_text(FAKES)
    done = subprocess.run(
        f"{sys.executable} -c 'from farm.cli import main; main()' device list | true",
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_nobody_foresaw_of_a_disk_is_one_line(farm, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "some/file")

    monkeypatch.setattr("farm.cli.main.Farm.open", fail)
    code, out, err = farm("campaign", "list")
    assert (code, out) == (1, "")
    assert err.startswith("farm: some/file: Input/output error; ")


def test_what_a_plot_cannot_be_written_to_is_named_with_its_option(farm):
    farm(*LAUNCH)
    code, _, err = farm("campaign", "show", "c1", "--plot", "/proc/no/x.png")
    assert (code, "/proc/no/x.png cannot be written: " in err) == (2, True)
    assert "--plot names another" in err
