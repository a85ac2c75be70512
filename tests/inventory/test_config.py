"""cluster.yaml: what comes out of it, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.core.errors import ConfigError, UnknownName
from farm.inventory.config import load

GOOD = """\
store: results
references: [a]
measure:
  rounds: 7
devices:
  a:
    kind: cpu
    threads: 1
  b:
    kind: cpu
    threads: 2
    cores: [0, 1]
    measure: {block_s: 0.5}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return path


def mistakes(tmp_path: Path, text: str) -> list[str]:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def test_everything_comes_out_typed(tmp_path):
    config = load(write(tmp_path, GOOD))
    assert config.store == tmp_path / "results"
    assert config.references == ("a",)
    assert config.ray is None
    b = config.device("b")
    assert (b.kind, b.options.threads, b.options.cores) == ("cpu", 2, (0, 1))
    assert (b.spec.rounds, b.spec.block_s) == (7, 0.5)
    assert config.device("a").spec.block_s == 0.05


def test_an_unknown_device_offers_the_nearest(tmp_path):
    config = load(write(tmp_path, GOOD.replace("  b:", "  pi4:")))
    with pytest.raises(UnknownName, match="no device 'pi5'; did you mean 'pi4'"):
        config.device("pi5")


def test_the_shipped_file_is_good_and_names_two_cpu_devices():
    config = load(Path(__file__).parents[2] / "cluster.yaml")
    assert [config.device(name).options.threads for name in ("cpu1", "cpu2")] == [1, 2]
    assert config.references == ("cpu1", "cpu2")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("threads: 1", "thread: 1", "8: devices.a.thread: unknown key `thread`; did you"),
        ("store:", "stor:", "1: stor: unknown key `stor`; did you mean `store`"),
        ("rounds: 7", "rounds: 0", "`rounds` must be at least 1, got 0"),
        ("rounds: 7", "rounds: many", "4: measure.rounds: input should be a valid integer"),
        ("rounds: 7", "runs: 7", "4: measure.runs: unknown key `runs`"),
        ("block_s: 0.5", "block_s: -1", "13: devices.b.measure: `block_s` must be"),
        ("kind: cpu\n    threads: 1", "threads: 1", "6: devices.a: a device needs a `kind`"),
        ("    kind: cpu\n    threads: 1", "    kind: cpux", "7: devices.a.kind: no kind"),
        ("references: [a]", "references: [c]", "2: references.0: no device 'c'; known: a, b"),
        ("references: [a]", "references: [a, a]", "2: references: each reference once"),
        ("threads: 2", "threads: two", "11: devices.b.threads: input should be a valid integer"),
        ("cores: [0, 1]", "cores: [0]", "9: devices.b"),
        ("  a:\n", "  A:\n", "6: devices.A: a device's name is lower-case letters"),
        ("references: [a]", "references: [a", "YAML"),
        ("  b:", "  a:", 'duplicate key "a"'),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(tmp_path, old, new, line):
    assert GOOD.count(old) == 1
    found = mistakes(tmp_path, GOOD.replace(old, new))
    if line == "YAML":
        assert len(found) == 1
        assert found[0][0].isdigit()
    else:
        assert any(line in text for text in found), found


def test_all_mistakes_come_at_once_in_the_order_of_their_lines(tmp_path):
    text = GOOD.replace("threads: 1", "threads: x").replace("block_s", "blocks_s")
    found = mistakes(tmp_path, text.replace("references: [a]", "references: [z]"))
    assert [line.split(":")[0] for line in found] == ["2", "8", "13"]


@pytest.mark.parametrize("text", ["", "[]", "just words"])
def test_something_else_than_a_mapping_is_refused(tmp_path, text):
    assert "must be a mapping with `devices:`" in mistakes(tmp_path, text)[0]


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="name yours with --config"):
        load(tmp_path / "none.yaml")
