"""Changing cluster.yaml: what is asked for, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from farm.config import load
from farm.errors import ConfigError, UnknownName
from farm.inventory import with_device, without_device

OWN = Path(__file__).parent.parent / "cluster.yaml"

TEXTS = {
    "the farm's own": OWN.read_text(),
    "keys below": "devices:\n  a: {kind: cpu}\n\n# where\nstore: x # here\n",
    "deep and commented": (
        "devices:\n"
        "    # the first\n"
        "    a:\n"
        "        kind: cpu\n"
        "        # threads: 2\n"
        "\n"
        "    # the second\n"
        "    b:   {kind: cpu,   threads: 1}   # odd, but mine\n"
        "# the end"
    ),
    "none": "store: x\ndevices: {} # soon\nreferences: []\n",
}


@pytest.fixture(params=TEXTS)
def path(request, tmp_path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(TEXTS[request.param])
    return path


ENTRY = {"kind": "cpu", "threads": 3, "cores": [0, 1, 2], "target": {"kind": "llvm", "mcpu": "x"}}


def test_a_new_device_is_all_that_is_new(path):
    before = path.read_text().replace("devices: {} # soon", "devices:").splitlines()
    with_device(path, "new", ENTRY).save()
    after = path.read_text().splitlines()
    start = next(number for number, line in enumerate(after) if line.strip() == "new:")
    assert [line.strip() for line in after[start : start + 5]] == [
        "new:",
        "kind: cpu",
        "threads: 3",
        "cores: [0, 1, 2]",
        "target: {kind: llvm, mcpu: x}",
    ]
    assert after[:start] + after[start + 5 :] == before
    options = load(path).device("new").options
    assert {"kind": "cpu", **options.model_dump(exclude_none=True)} == {**ENTRY, "cores": (0, 1, 2)}


def test_what_was_added_is_removed_without_a_trace(path):
    before = path.read_text()
    with_device(path, "new", ENTRY).save()
    without_device(path, "new").save()
    assert path.read_text().rstrip() == before.replace(" # soon", "").rstrip()


def test_comments_of_others_survive_a_removal(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(TEXTS["deep and commented"])
    without_device(path, "a").save()
    text = path.read_text()
    assert "threads: 2" not in text
    assert text.endswith(
        "    # the second\n    b:   {kind: cpu,   threads: 1}   # odd, but mine\n# the end\n"
    )


def test_the_last_device_leaves_a_file_that_can_be_read(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("devices:\n  a: {kind: cpu}\nstore: x\n")
    without_device(path, "a").save()
    assert path.read_text() == "devices: {}\nstore: x\n"
    assert load(path).devices == {}


def test_a_draft_changes_nothing(path):
    before = path.read_text()
    draft = with_device(path, "new", ENTRY)
    assert draft.config.device("new").kind == "cpu"
    assert draft.config.store == load(path).store
    assert path.read_text() == before


def test_the_mode_of_the_file_and_a_link_to_it_stay(path, tmp_path):
    path.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    with_device(link, "new", ENTRY).save()
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert "new" in load(path).devices
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cluster.yaml", "link.yaml"]


@pytest.mark.parametrize(
    ("name", "entry", "says"),
    [
        ("cpu1", {"kind": "cpu"}, r"has a device 'cpu1' already; 'farm device remove cpu1'"),
        ("Pi 4", {"kind": "cpu"}, r"lower-case letters"),
        ("pi4", {"kind": "sssh"}, r"no kind of device 'sssh'; did you mean 'ssh'"),
        ("pi4", {"kind": "ssh"}, r"`host` is missing"),
        ("pi4", {"kind": "cpu", "threads": 0}, r"greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(name, entry, says, tmp_path):
    path = tmp_path / "cluster.yaml"
    shutil.copy(OWN, path)
    with pytest.raises(ConfigError, match=says):
        with_device(path, name, entry)


def test_a_reference_is_not_removed(tmp_path):
    path = tmp_path / "cluster.yaml"
    shutil.copy(OWN, path)
    with pytest.raises(ConfigError, match=r"references\.0: no device 'cpu1'"):
        without_device(path, "cpu1")
    with pytest.raises(UnknownName, match="no device 'cpu9'"):
        without_device(path, "cpu9")


def test_braces_are_left_alone(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("devices: {a: {kind: cpu}}\n")
    with pytest.raises(ConfigError, match="in braces; write them one below the other"):
        with_device(path, "new", ENTRY)
