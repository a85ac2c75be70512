"""cluster.yaml: what comes out of it, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("anchors: 5", "devices.a.anchors: `anchors` is called `controls` now"),
        ("controls: 5", "devices.a.controls: `controls` must be a mapping, got 5"),
        ("measure: [5]", "devices.a.measure: `measure` must be a mapping, got [5]"),
        ("measure: {timeout_s: .inf}", "`timeout_s` must be a finite number, got inf"),
        ("measure: {timeout_s: 1e7}", "`timeout_s` must be at most 86400 s, a day, got 10000000.0"),
        ("measure: {budget_s: 86401}", "`budget_s` must be at most 86400 s, a day, got 86401"),
        ("measure: {pause_s: .inf}", "measure.pause_s: `pause_s` must be a finite number"),
        ("measure: {half_width: .nan}", "`half_width` must be a finite number, got nan"),
        ("measure: {rounds: 100000}", "`rounds` must be at most 1000, got 100000"),
        ("controls: {pause_s: .inf}", "controls.pause_s: `pause_s` must be a finite number"),
        ("controls: {tolerated: .nan}", "`tolerated` must be a finite number, got nan"),
        (f"threads: {'9' * 400}", "`threads` must be at most 9007199254740992, got 9999"),
        (f"threads: -{'9' * 400}", "`threads` must be at least -9007199254740992, got -9999"),
        (f"threads: {'9' * 5000}", "not YAML that can be read: Exceeds the limit"),
        ("target: {mcpu: .nan}", "devices.a.target.mcpu: `mcpu` must be a finite number"),
        (
            r'target: "a\x07b"',
            r"devices.a.target: no control characters and line breaks, got 'a\x07",
        ),
        (r'"a\nb": 5', r"devices.a.a\nb: no control characters"),
        ("target: a\x07b", "5: unacceptable character #x0007"),
        ("target: 2026-13-45", "not YAML that can be read: month must be in 1..12"),
        ("target: {a: !odd x}", "must be text, a number, a list or a mapping, got a TaggedScalar"),
        ("threads: &t [*t]", "devices.a"),
        (f"cores: {'[' * 40}{']' * 40}", "lists and mappings may lie 32 deep in each other"),
        (f"cores: {'[' * 4000}", "lists or mappings lie too deep in each other"),
        (f"cores: {'{a: ' * 4000}", "lists or mappings lie too deep in each other"),
        ("<<: 5", "expected a mapping or list of mappings"),
    ],
)
def test_what_makes_no_sense_is_one_line_with_the_rule_and_the_value(tmp_path, entry, line):
    text = f"store: x\n\ndevices:\n  a: {{kind: cpu}}\n  b: {{kind: cpu, {entry}}}\n"
    line = line.replace("devices.a", "devices.b")
    (found,) = mistakes(tmp_path, text)
    assert line in found
    assert len(found) < 500


@pytest.mark.parametrize(
    "kind", ["../../etc", ".x:y", "5", "[1]", "~", "''", "cpu:", "os:path", "builtins:print"]
)
def test_a_kind_is_one_of_the_farm_or_a_class_of_agents(tmp_path, kind):
    (found,) = mistakes(tmp_path, f"devices:\n  a: {{kind: {kind}}}\n")
    assert found.startswith("2: devices.a.kind: a kind is ")


def test_a_kind_whose_module_fails_is_a_mistake_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "broken_kind.py").write_text("raise ZeroDivisionError('by its author')\n")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = mistakes(tmp_path, "devices:\n  a: {kind: 'broken_kind:Agent'}\n")
    assert "'broken_kind:Agent' cannot be imported: ZeroDivisionError: by its author" in found


@given(
    text=st.one_of(
        st.text(max_size=40).map(lambda odd: GOOD.replace("threads: 2", odd)),
        st.text("[]{}&*!|>'\"%@`:,-? #\n\t\\a1", max_size=40),
    )
)
def test_whatever_is_in_the_file_is_read_or_refused_with_the_place(text):
    try:
        load(Path("cluster.yaml"), text)
    except ConfigError as error:
        for line in str(error).split("\n"):
            assert line.startswith("cluster.yaml:")
            assert line.isprintable()


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
