"""Searches from the command to the store, over replayed devices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from farm.campaign import causes
from farm.core.errors import FarmError, UsageError
from farm.farm import Farm
from farm.search.laboratory import Left
from farm.search.setting import Search
from farm.spaces import space

CLUSTER = """\
store: results
measure: {block_s: 0.001, min_sessions: 2, max_sessions: 2}
devices:
  raspi4: {kind: replay}
  gold_6226: {kind: replay}
"""

NB201 = space("nb201")

CELL = "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"


@pytest.fixture(scope="module")
def networks(published):
    """Eighty networks with their published accuracies and latencies, (80, 2) seconds."""
    data = published("nb201.npz")
    rows = np.random.default_rng(3).permutation(len(data["arch_str"]))[:200]
    each = [NB201.parse(str(data["arch_str"][row])) for row in rows]
    first = dict.fromkeys(NB201.representatives(each))  # one of each graph
    kept = [i for i, one in enumerate(NB201.representatives(each)) if first.pop(one, 0) is None][
        :80
    ]
    devices = [list(data["devices"]).index(name) for name in ("raspi4", "gold_6226")]
    latency_s = data["latency_ms"][devices][:, rows[kept]].T / 1e3
    return [each[i] for i in kept], data["acc"][rows[kept], 0].astype(float), latency_s


@pytest.fixture
def cluster(tmp_path, networks):
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    lines = [f'"{n.code}",{a}' for n, a in zip(*networks[:2], strict=True)]
    (tmp_path / "own.csv").write_text("\n".join(["network,accuracy", *lines]) + "\n")
    return tmp_path


def asked(cluster: Path, **others: object) -> Search:
    words = {"devices": ["raspi4", "gold_6226"], "accuracy": str(cluster / "own.csv"), "budget": 25}
    return Search(space="nb201", **{**words, **others})  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_search_finds_the_best_network_that_holds_on_all_devices_and_goes_on(cluster, networks):
    each, accuracy, latency_s = networks
    limit_s = np.median(latency_s, axis=0)
    farm = Farm.open(cluster / "cluster.yaml")
    search = asked(cluster, max_latency_s=limit_s.tolist())
    said: list[str] = []

    def interrupt(step):
        said.extend(step.events)
        if step.measured >= 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        farm.search(search, "inline", interrupt)
    assert any("too little is known of raspi4, gold_6226" in event for event in said)
    with farm.store() as store:
        before = [r.network for r in store.requests("c1", "learn")]
        assert store.campaign("c1").state == "unfinished"
    with pytest.raises(UsageError, match="c1 is a search; the same `farm search` goes on"):
        farm.resume("c1", "inline")

    found = farm.search(search, "inline")
    assert found.campaign == "c1"
    with farm.store() as store:
        requests = [(r.network, r.device) for r in store.requests("c1", "learn")]
        assert [n for n, d in requests if d == "raspi4"][: len(before) // 2] == before[::2]
        assert len(requests) == len(set(requests)) == 2 * found.measured <= 50
        assert store.campaign("c1").state == "done"
        assert {m.network.id for m in store.measurements("c1")} >= {
            one.network.id for one in found.front
        }
    holds = (latency_s <= limit_s).all(1)
    (best,) = found.front
    assert holds[each.index(best.network)]
    assert all(one.measured for one in best.on.values())
    assert best.accuracy >= accuracy[holds].max() - 0.1

    # What is known now is not measured again, whatever is asked.
    again = farm.search(asked(cluster, max_latency_s=limit_s.tolist(), seed=1), "inline")
    assert again.campaign == "c2"
    assert again.front[0].network == best.network
    with farm.store() as store:
        both = [(r.network, r.device) for c in ("c1", "c2") for r in store.requests(c, "learn")]
    assert len(both) == len(set(both))

    front = asked(cluster, pareto=True, devices=["raspi4"], seed=2)
    with pytest.raises(FarmError, match="c3 was cancelled"):
        farm.search(front, "inline", lambda _: farm.cancel("c3"))


@pytest.mark.slow
def test_a_search_ends_where_its_device_does_not_come_back(cluster, monkeypatch):
    monkeypatch.setattr(causes, "BACK_OFF_S", 0.001)
    monkeypatch.setattr(causes, "PATIENCE_S", 0.1)
    fake = 'a: {kind: "tests.fakes:FakeAgent", fault: lost}'
    (cluster / "cluster.yaml").write_text(f"store: results\ndevices:\n  {fake}\n")
    farm = Farm.open(cluster / "cluster.yaml")
    with pytest.raises(FarmError, match="a did not come back; the same `farm search` goes on"):
        farm.search(asked(cluster, devices=["a"], max_latency_s=1.0), "inline")
    with farm.store() as store:
        assert store.campaign("c1").state == "unfinished"
        assert store.pending("c1")


@pytest.mark.slow
def test_the_command_writes_a_front_a_plot_and_models(cluster, networks, monkeypatch, capsys):
    from farm.cli.main import main

    each, accuracy, latency_s = networks
    monkeypatch.chdir(cluster)

    def run(*words: str) -> tuple[int, str, str]:
        search = ("search", "--device", "raspi4", "--accuracy", "own.csv", "--executor", "inline")
        monkeypatch.setattr("sys.argv", ["farm", *search, *words])
        with pytest.raises(SystemExit) as e:
            main()
        return int(e.value.code or 0), *capsys.readouterr()

    files = ("--output", "front.csv", "--plot", "front.png", "--onnx", "models")
    code, out, err = run("--pareto", "--budget", "30", "--json", *files)
    assert code == 0, err
    told = json.loads(out)
    front = [one["network"] for one in told["front"]]
    latency = [one["devices"]["raspi4"]["latency_s"] for one in told["front"]]
    assert latency == sorted(latency)
    assert (np.diff([one["accuracy"] for one in told["front"]]) > 0).all()
    assert told["measured"] <= 30
    best = int(np.argmax(accuracy))
    assert front[-1] == each[best].id
    assert len(list((cluster / "models").glob("*.onnx"))) == len(front)
    assert (cluster / "front.csv").read_text().count("\n") == len(front) + 1
    assert (cluster / "front.png").stat().st_size > 1000

    # Of a few results alone: the others are not forgotten, but predicted.
    assert "own.csv has 80 networks, and the search chooses among these alone" in err
    predicted = ("--accuracy", "predicted:own.csv", "--evaluations", "200", "--budget", "8")
    code, out, err = run("--max-latency", "10ms", *predicted, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["candidates"] > 200
    assert told["accuracy_predicted"]["results"] == 80
    (best,) = told["front"]
    assert best["devices"]["raspi4"]["latency_s"] <= 0.01
    assert best["accuracy"] >= accuracy[latency_s[:, 0] <= 0.01].max()
    assert (best["accuracy_off"] > 0) == (best["network"] not in {one.id for one in each})

    code, out, err = run("--max-latency", "1us", "--budget", "30")
    assert code == 1
    assert "No network holds 0.001 ms on raspi4: the nearest measured one is nb201/" in out
    assert "at 95 % confidence no other network will do either." in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say what is wanted: --max-latency 20ms, --pareto"),
        (("--max-latency", "20"), "--max-latency takes a time such as 20ms, got '20'"),
        (("--max-latency", "2ms,3ms"), "one limit, or one for each of 1 devices, got 2"),
        (("--pareto", "--budget", "0"), "--budget must be at least 1, got 0"),
        (("--pareto", "--strategy", "luck"), "no strategy 'luck'"),
        (("--pareto", "--confidence", "100%"), "--confidence must be between 0 and 1"),
        (("--pareto", "--accuracy", "x"), "--accuracy is table:FILE.npz:DATASET"),
        (("--pareto", "--accuracy", "proxy:vote", "--strategy", "rea"), "take random"),
        (("--pareto", "--output", "front.txt"), "no format 'txt'"),
        (("--pareto", "--plot", "front.txt"), "a plot is .png, .svg, .pdf, got 'front.txt'"),
        (("--pareto", "--floor", "nan"), "--floor must be a finite number, got nan"),
        (("--pareto", "--weight", "nan"), "--weight must be a number from 0 on, got nan"),
        (("--pareto", "--weight", "-1"), "--weight must be a number from 0 on, got -1"),
        (("--pareto", "--device", "c"), "no device 'c'"),
        (("--pareto", "--device", "a,a"), "--device names each device once, got ['a', 'a']"),
        (("--pareto", "--onnx", "cluster.yaml"), "--onnx: cluster.yaml is no folder that can be"),
        (("--pareto", "--plot", "cluster.yaml/front.png"), "front.png cannot be written"),
        (("--pareto", "--accuracy", "python:mine:raises"), "raises failed on nb201/|"),
    ],
)
def test_bad_words_are_refused_before_anything_is_begun(farm, tmp_path, words, said):
    # A module in the current folder is found.
    (tmp_path / "mine.py").write_text("def raises(network): raise ValueError(network)\n")
    code, out, err = farm("search", "--device", "a", "--accuracy", "proxy:nwot", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_the_time_left_counts_down_between_two_networks():
    left = Left(budget=10, before=2, now_s=100.0)
    assert left.seconds(2, 105.0) is None
    assert left.seconds(4, 120.0) == 60
    assert left.seconds(4, 150.0) == 30
    assert left.seconds(4, 190.0) is None
    assert left.seconds(10, 200.0) is None


def test_a_soft_limit_is_for_no_negative_accuracies(farm, tmp_path):
    (tmp_path / "own.csv").write_text(f'network,accuracy\n"{NB201.parse(CELL).code}",-3\n')
    words = ("--accuracy", str(tmp_path / "own.csv"), "--max-latency", "1ms", "--reward", "soft")
    code, out, err = farm("search", "--device", "a", *words)
    assert (code, out) == (2, "")
    assert "--reward soft is of accuracies that are not negative, got -3" in err
    assert not (tmp_path / "results").exists()


def test_a_plan_of_before_there_were_searches_is_read():
    from dataclasses import asdict

    from farm.measurement.spec import MeasureSpec
    from farm.store import Plan

    plan = Plan("nb201", ("a",), 1, 0, 0, (MeasureSpec(),))
    old = asdict(plan)
    del old["search"]
    assert Plan.from_json(json.dumps(old)) == plan
