"""What many devices and a large store cost.

    python -m benchmarks.scale --seed 0 [--rows 1000000] [--devices 1000] [--json]

`driver`: a campaign over so many replay devices, four networks each: CPU time of this process for a
measurement, without what the executor does, which under Ray is work of other processes (measuring
and deciding). `few`, `many`: stores with 1,000 and with `--rows` measurements of 64 devices, filled
by the store's own statements: how long one takes to be opened, the first decision of a campaign on
one device, and the median of the next ones, each after a measurement more. `show`, `export`: CPU
seconds and memory of the summary of a campaign with 10,000 networks, and of its export. `row`:
bytes of a measurement in the store of a campaign on a CPU of this computer, as the farm measures by
itself and to 5 %: all columns, and its share of what is stored once for many.

The stores lie in a temporary folder, and are deleted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import published
from benchmarks.copies import copy
from benchmarks.report import finish
from farm import Farm, Launch
from farm.core.values import DeviceFacts, Network
from farm.execution import inline
from farm.farm import Farm as _Farm
from farm.inventory.config import Device
from farm.measurement.record import Block, Measurement
from farm.measurement.spec import MeasureSpec
from farm.prediction.decider import Decider
from farm.prediction.decisions import Question
from farm.prediction.selection import Candidates
from farm.spaces import space
from farm.store import Plan, Request, Store, rows

DEVICES, FEW = 64, 1000
SPACE = "fbnet32"
"""The space with more networks than a device has measurements here."""

HELD, TEMPLATES = 100, 64
DECISIONS = 7
SHOWN = 10_000

SPEC = MeasureSpec(min_sessions=1, max_sessions=1, rounds=1)

Row = dict[str, Any]


class _Timed(inline.InlineExecutor):
    """Adds up the CPU time that others' work takes."""

    others_s = 0.0

    def wait(self, timeout_s: float) -> list[Any]:
        began_s = time.process_time()
        ended = super().wait(timeout_s)
        _Timed.others_s += time.process_time() - began_s
        return ended


class _TimedFarm(_Farm):
    """Knows how long its campaign took, without what came before and after."""

    campaign_s = 0.0

    def _make_executor(self, kind: str, devices: Sequence[Device], seen: Any) -> Any:  # noqa: ARG002
        make = partial(Decider.at, self.config.store, self.config)
        return _Timed(devices, self._artifacts(), make, seen)

    def _run(self, *arguments: Any) -> None:
        began_s = time.process_time()
        super()._run(*arguments)
        _TimedFarm.campaign_s = time.process_time() - began_s


def driver(devices: int, seed: int) -> Row:
    """A campaign over many devices."""
    columns = published.load(published.folder() / "nb201.npz").devices
    lines = [
        f"  d{i}: {{kind: replay, column: {columns[i % len(columns)]}, seed: {i}}}"
        for i in range(devices)
    ]
    head = ["store: s", "controls: {every: 0}", "measure: {min_sessions: 1, max_sessions: 1}"]
    names = [f"d{i}" for i in range(devices)]
    asked = Launch(space="nb201", devices=names, budget=2, holdout=2, seed=seed, select="random")
    with tempfile.TemporaryDirectory(prefix="farm-scale-") as folder:
        (Path(folder) / "cluster.yaml").write_text("\n".join([*head, "devices:", *lines]))
        _Timed.others_s = 0.0
        began_s = time.process_time()
        _TimedFarm.open(Path(folder) / "cluster.yaml").launch(asked, "inline")
        whole_s = time.process_time() - began_s
    measured = 4 * devices
    own_s = _TimedFarm.campaign_s - _Timed.others_s
    summary_s = whole_s - _TimedFarm.campaign_s
    return {
        "name": "driver",
        "measurements": measured,
        "driver_cpu_ms_per_measurement": 1e3 * own_s / measured,
        "summary_s": summary_s,
    }


def fill(folder: Path, total: int, devices: int, seed: int) -> None:
    """So many measurements, as many of each device, in campaigns of one device each: a few are
    stored one by one, the others as copies of these, of networks of about as many operations."""
    rng, each = random.Random(seed), -(-total // devices)
    held = min(each // 2, HELD)
    names = [f"d{number}" for number in range(devices)]
    plans = [Plan(SPACE, (name,), each - held, held, seed, (SPEC,)) for name in names]
    about = Candidates.of(plans[0], space(SPACE))  # which is the same of all
    learnt = [n for n in about.pool if n not in about.withheld][: each - held]
    by_work, others = sorted(learnt[:TEMPLATES], key=_work), learnt[TEMPLATES:]
    works = [_work(network) for network in by_work]
    like = [min(bisect(works, _work(network)), len(works) - 1) for network in others]
    copies: list[tuple[str, int]] = []
    with Store(folder) as store:
        for plan in plans:
            facts = DeviceFacts(plan.devices[0], plan.devices[0], (), None, {"n": plan.devices[0]})
            store.see(facts)
            campaign = store.add_campaign(plan)
            with store.together():
                ids = [_stored(store, campaign, "learn", facts, n, rng) for n in by_work]
                for network in about.holdout:
                    _stored(store, campaign, "holdout", facts, network, rng)
            copies += [(n.id, ids[at]) for n, at in zip(others, like, strict=True)]
    copy(folder, copies, of_campaign=True)


def _stored(
    store: Store,
    campaign: str,
    purpose: str,
    facts: DeviceFacts,
    network: Network,
    rng: random.Random,
) -> int:
    """The id of the measurement."""
    asked = store._ask(campaign, network, facts.device, purpose, rows.now())
    request = Request(asked, campaign, network, facts.device, purpose)
    return store._add(request, _measured(facts, network, rng))


def _work(network: Network) -> int:
    """Operations with higher numbers take longer."""
    return 1 + sum(map(int, filter(str.isdigit, network.code)))


def _measured(facts: DeviceFacts, network: Network, rng: random.Random) -> Measurement:
    """With some noise, and a speed of the device's own."""
    speed = random.Random(facts.device).lognormvariate(0, 1)
    latency_s = 1e-4 * speed * _work(network) * rng.lognormvariate(0, 0.02)
    samples_s = tuple(latency_s * rng.lognormvariate(0, 0.005) for _ in range(4))
    return Measurement(
        network=network,
        device=facts.device,
        fingerprint=facts.fingerprint,
        build_key=None,
        spec=SPEC,
        blocks=(Block(samples_s, 1, {"clock_probe_s": 4e-5}),),
        warmup_s=((latency_s,),),
        exact=False,
        device_s=0.1,
        measured_at="2026-01-02T03:04:05.678+00:00",
    )


def of_store(total: int, seed: int) -> Row:
    """What a store with so many measurements costs."""
    with tempfile.TemporaryDirectory(prefix="farm-scale-") as text:
        folder = Path(text)
        names = ", ".join(f'd{i}: {{kind: "tests.fakes:FakeAgent"}}' for i in range(DEVICES))
        (folder / "cluster.yaml").write_text(f"store: s\ndevices: {{{names}}}\n")
        config = Farm.open(folder / "cluster.yaml").config
        fill(config.store, total, DEVICES, seed)
        began_s = time.perf_counter()
        with Store(config.store, create=False) as store:
            open_s = time.perf_counter() - began_s
            store.campaigns()
            listed_s = time.perf_counter() - began_s - open_s
            first_s, each_s = decisions(store, config, seed)
        size_bytes = sum(p.stat().st_size for p in config.store.iterdir() if p.is_file())
    return {
        "name": f"store of {total}",
        "rows": total,
        "open_s": open_s,
        "list_s": listed_s,
        "first_decision_s": first_s,
        "decision_s": median(each_s),
        "bytes": size_bytes,
    }


def decisions(store: Store, config: Any, seed: int) -> tuple[float, list[float]]:
    """CPU seconds of the first decision on a device that is new, and of the next ones, each after
    a measurement more."""
    facts = DeviceFacts("new", "new", (), None, {"name": "new"})
    store.see(facts)
    plan = Plan(SPACE, ("new",), 100, 0, seed, (SPEC,))
    campaign = store.add_campaign(plan)
    decider, rng = Decider(store, config), random.Random(seed)
    each_s: list[float] = []
    ended: list[Network] = []
    for _ in range(DECISIONS + 6):
        began_s = time.process_time()
        decided = decider.decide(Question(campaign, "new", 4, (), tuple(ended)))
        each_s.append(time.process_time() - began_s)
        network = decided.networks[0]
        store.add_requests(campaign, [network], ["new"], "learn")
        (request,) = store.pending(campaign)
        store.record(request, _measured(facts, network, rng))
        ended.append(network)
    return each_s[0], each_s[-DECISIONS:]


_BEFORE = """\
import json, re, sys, time
from pathlib import Path
from farm import Farm
def most_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
farm = Farm.open(sys.argv[1])
with farm.store() as store:
    before_s, before_mb = time.process_time(), most_mb()
"""

_AFTER = """\
used = {"cpu_s": time.process_time() - before_s, "grew_mb": most_mb() - before_mb}
print(json.dumps({**used, "measured": measured}))
"""

_SHOW = """\
from farm.campaign.summary import summarise
measured = summarise(store, "c1", farm.config).campaign.measured
"""

_EXPORT = """\
from farm.campaign import export
measured = export.write(store, Path(sys.argv[1]).with_name("all.csv"), "csv")
"""


def large_campaign(networks: int, seed: int) -> Iterator[Row]:
    """The summary of a campaign with so many networks, and the export of its rows."""
    with tempfile.TemporaryDirectory(prefix="farm-scale-") as text:
        path = Path(text) / "cluster.yaml"
        path.write_text('store: s\ndevices: {d0: {kind: "tests.fakes:FakeAgent"}}\n')
        fill(Farm.open(path).config.store, networks, 1, seed)
        for name, script in (("show", _SHOW), ("export", _EXPORT)):
            lines = "".join(f"    {line}\n" for line in script.splitlines())
            argv = [sys.executable, "-c", _BEFORE + lines + _AFTER, str(path)]
            done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
            yield {"name": name, "networks": networks, **json.loads(done.stdout)}


_REAL = """\
store: s
measure: {{{precision}timeout_s: 60}}
devices: {{cpu: {{kind: cpu, threads: 1, cores: [{core}]}}}}
"""


def row_bytes(seed: int) -> Iterator[Row]:
    """Of measurements on a CPU of this computer: a campaign with its control networks each, and the
    store that it leaves."""
    for name, precision in (("row", ""), ("row to 5 %", "half_width: 0.05, ")):
        with tempfile.TemporaryDirectory(prefix="farm-scale-") as text:
            path = Path(text) / "cluster.yaml"
            core = max(os.sched_getaffinity(0))
            path.write_text(_REAL.format(precision=precision, core=core))
            farm = Farm.open(path)
            asked = Launch(
                space="nb201", devices=["cpu"], budget=4, holdout=2, seed=seed, kernels=0
            )
            farm.launch(asked, "inline")
            with farm.store() as store:
                found = store._rows(
                    """SELECT * FROM measurements JOIN samples ON id = measurement
                       WHERE network NOT LIKE 'kernel/%'"""
                )
                shared = store._value("SELECT total(length(text)) FROM texts") / len(found)
        sizes = [shared + sum(map(_bytes, row.values())) for row in found]
        yield {"name": name, "measurements": len(sizes), "median_bytes": median(sizes)}


def _bytes(value: object) -> int:
    return len(value if isinstance(value, bytes) else str(value).encode())


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    found: list[Row] = []
    for row in _rows(options):
        print(row, file=sys.stderr, flush=True)
        found.append(row)
    by_name = {row["name"]: row for row in found}
    few, many = by_name[f"store of {FEW}"], by_name[f"store of {options.rows}"]
    per_measurement = by_name["driver"]["driver_cpu_ms_per_measurement"]
    summary = {
        "devices": options.devices,
        "rows": options.rows,
        "driver_cpu_ms_per_measurement": per_measurement,
        "decision_ratio_1m_to_1k": many["decision_s"] / few["decision_s"],
        "open_s": many["open_s"],
    }
    finish("scale", found, summary, options.json)


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    yield from row_bytes(options.seed)
    yield driver(options.devices, options.seed)
    yield from large_campaign(min(SHOWN, options.rows), options.seed)
    for total in dict.fromkeys((FEW, options.rows)):
        yield of_store(total, options.seed)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rows", type=int, default=1_000_000, help="measurements (1000000)")
    parser.add_argument("--devices", type=int, default=1000, help="replay devices (1000)")
    parser.add_argument("--seed", type=int, default=0, help="draws networks and latencies (0)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
