"""Changing cluster.yaml: what is asked for, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from farm.core.errors import ConfigError, UnknownName
from farm.inventory.config import load
from farm.inventory.edit import with_device, with_target, without_device

OWN = Path(__file__).parents[2] / "cluster.yaml"

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


TARGET = {
    "kind": "llvm",
    "mattr": ["-prefer-256-bit"],
    # Keys that YAML would take for numbers, if they were not quoted.
    "schedules": {"1234567890123456": [1, 8, 3], "1234e56789012345": [2, 4, 1], "0f": [1, 2, 3]},
}
MANY = """\
devices:
  a: {kind: cpu, threads: 1, } # odd
  b:
    kind: cpu
    target: # why
      kind: llvm
      mattr: [+avx,
         +fma] # in

    # two
    threads: 2 # more
  c:
    kind: cpu
    target: {kind: llvm} # here

  # the next one
  d:
    kind: cpu
    cores:
      - 1
      - 0 # last
    # after
  e: {kind: cpu, target: raspberry-pi/4b-aarch64}
  f:
    kind: cpu # end"""


@pytest.mark.parametrize("target", [TARGET, "raspberry-pi/4b-aarch64"])
@pytest.mark.parametrize("name", "abcdef")
def test_a_target_is_all_that_changes(tmp_path, name, target):
    path = tmp_path / "cluster.yaml"
    path.write_text(MANY)
    before = load(path).devices
    with_target(path, name, target).save()
    after = load(path).devices
    assert after[name].options == before[name].options.model_copy(update={"target": target})
    assert {k: v for k, v in after.items() if k != name} == {
        k: v for k, v in before.items() if k != name
    }
    text = path.read_text()
    for comment in ("odd", "why", "two", "more", "here", "the next one", "last", "after", "end"):
        assert text.count(f"# {comment}") == 1
    with_target(path, name, "nvidia/nvidia-h100").save()
    assert load(path).device(name).options.target == "nvidia/nvidia-h100"
    if target == TARGET:
        with_target(path, name, TARGET).save()
        assert path.read_text() == text


def test_a_long_target_is_broken_into_lines(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(MANY)
    schedules = {f"{number:016x}": [1, 8, 3] for number in range(40)}
    with_target(path, "c", {"kind": "llvm", "schedules": schedules}).save()
    assert load(path).device("c").options.target["schedules"] == schedules
    assert max(map(len, path.read_text().splitlines())) < 130
    without_device(path, "c").save()
    assert "schedules" not in path.read_text()


def test_a_target_that_two_devices_share_is_left_alone(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("devices:\n  a: &one {kind: cpu}\n  b: *one\n")
    with pytest.raises(ConfigError, match=r"cannot be changed alone.*write it yourself: {kind: ll"):
        with_target(path, "b", TARGET)
    with pytest.raises(UnknownName, match="no device 'c'"):
        with_target(path, "c", TARGET)
