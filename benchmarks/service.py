"""What the service costs, and how fast it is beside a campaign.

    python -m benchmarks.service [--parts stored,pages,listeners,asked,beside] [--json]

The farm has 100 devices of the published NAS-Bench-201 table, on each of which 3 networks were
measured, 100,000 measurements in all (copies of those), and this computer's CPU. The service is
`farm serve` in a process of its own.

`stored`: CPU time of storing a measurement with the triggers of events, and without; by turns.
`pages`: seconds until the server has sent a page (`sent_s`), and until a Chromium has painted it
(`paint_s`), the median of the looks after the first; `first_s` is the first one.
`listeners`: 1,000 connections to the event stream; seconds from a row that is stored until a
listener hears of it, of the first and the last one, and the service's CPU seconds for each event.
`asked`: GET /v1/predict of known networks, `--rate` a second for `--seconds`, at fixed times,
however late the answers are: milliseconds from when a question was due. `beside`: the same while a
campaign measures on this computer's CPU. That campaign is a repetition, as are two
before it without questions: `moved` counts networks whose latency differs from a repetition's by
more than both intervals together (of 95 %) allow, with the questions and without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import psutil

from benchmarks import published, query
from benchmarks.arguments import positive, words
from benchmarks.report import finish, say
from farm import Farm, Launch
from farm.core.values import Network
from farm.measurement.record import Measurement
from farm.store import Store
from tests.service.browser import Browser, browser

DEVICES, MEASUREMENTS, LISTENERS = 100, 100_000, 1_000
_CONNECTIONS = 32
_LOOKS = 3
_FARM = "import sys; sys.argv[0] = 'farm'; from farm.cli import main; main()"

Rows = list[dict[str, object]]


@dataclass(frozen=True)
class Served:
    """A service that runs. key: of its owner."""

    farm: Farm
    url: str
    key: str
    process: psutil.Process

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", "Host": urlsplit(self.url).netloc}

    def cpu_s(self) -> float:
        used = self.process.cpu_times()
        return float(used.user + used.system)


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    rows: Rows = []
    with tempfile.TemporaryDirectory(prefix="farm-service-") as folder:
        farm = _farm(Path(folder), options.devices, options.measurements)
        with _service(farm) as served:
            for part in options.parts:
                say(f"{part} ...")
                found = PARTS[part](served, options)
                for row in found:
                    say(json.dumps(row))
                rows += [{"part": part, "load1": os.getloadavg()[0], **row} for row in found]
    finish("service", rows, {}, options.json)


def _farm(folder: Path, devices: int, measurements: int) -> Farm:
    table = published.folder() / "nb201.npz"
    columns = published.load(table).devices
    lines = ["controls: {every: 0}", "devices:", "  cpu: {kind: cpu, threads: 1}"]
    lines += [
        f"  d{n:02d}: {{kind: replay, table: {table}, column: {columns[n % len(columns)]}, "
        "measure: {min_sessions: 1, max_sessions: 1, rounds: 1, block_s: 0.001}}"
        for n in range(devices)
    ]
    names = [f"d{n:02d}" for n in range(devices)]
    (folder / "cluster.yaml").write_text(f"references: [{', '.join(names)}]\n" + "\n".join(lines))
    farm = Farm.open(folder / "cluster.yaml")
    asked = Launch(space="nb201", devices=names, budget=3, holdout=0, select="random")
    say("measuring ...")
    farm.launch(replace(asked, kernels=False), "inline")
    query.fill(farm, max(0, measurements - 3 * devices), 0)
    return farm


@contextmanager
def _service(farm: Farm) -> Iterator[Served]:
    config = ["--config", str(farm.config.path)]
    command = [sys.executable, "-c", _FARM, "serve", "--port", "0", "--json", *config]
    with (
        (farm.config.path.parent / "log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        key = json.loads(Path(told["key_file"]).read_text())["key"]
        try:
            yield Served(farm, told["url"], key, psutil.Process(process.pid))
        finally:
            process.terminate()


# What a stored measurement costs


def _stored(served: Served, _: argparse.Namespace) -> Rows:
    with served.farm.store() as store:
        measured = store.measurements(campaign="c1")[0]
    each: dict[str, list[float]] = {"events": [], "no events": []}
    for _turn in range(5):
        for name, found in each.items():
            with tempfile.TemporaryDirectory(prefix="farm-stored-") as folder:
                found.append(_storing_s(Path(folder), name == "events", served, measured))
    return [
        {"name": n, "median_us": 1e6 * median(f), "best_us": 1e6 * min(f)} for n, f in each.items()
    ]


def _storing_s(folder: Path, events: bool, served: Served, measured: Measurement) -> float:
    """CPU seconds of one of 1,000 measurements, in a store that keeps nothing on the disk."""
    with Store(folder) as store, served.farm.store() as known:
        if not events:
            with closing(sqlite3.connect(store.path)) as db, db:
                sql = (
                    "SELECT name FROM sqlite_schema WHERE name LIKE '%_event' AND type = 'trigger'"
                )
                for (name,) in db.execute(sql).fetchall():
                    db.execute(f"DROP TRIGGER {name}")
        store.see(known.facts(measured.device)[-1])
        networks = [Network("nb201", f"n{n}") for n in range(1000)]
        requests = store.query_requests(networks, measured.device)
        outcomes = [(own, replace(measured, network=n)) for n, own in requests.items()]
        store._db.conn.execute("PRAGMA synchronous = OFF")  # the disk's time is not ours
        began = time.process_time()
        for own, outcome in outcomes:
            store.record(own, outcome)
        return (time.process_time() - began) / len(outcomes)


# Pages


def _pages(served: Served, _: argparse.Namespace) -> Rows:
    network = quote(_known(served.farm)[0])
    paths = ["/", "/campaigns/c1", "/devices/d00", f"/network?network={network}", "/launch"]
    paths += ["/compare", "/correlation"]
    rows: Rows = []
    # A browser that was told to end still writes its profile for a moment.
    profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with profile as folder, browser(Path(folder)) as page:
        page.open(f"{served.url}/login?key={served.key}")
        for path in paths:
            sent = [_timed(partial(_get, served, path)) for _ in range(_LOOKS + 1)]
            paint = [_paint_s(page, served.url + path) for _ in range(_LOOKS)]
            name = path.partition("?")[0]
            rows.append(
                {
                    "name": name,
                    "first_s": sent[0],
                    "sent_s": median(sent[1:]),
                    "paint_s": median(paint),
                }
            )
    return rows


def _paint_s(page: Browser, url: str) -> float:
    page.open(url)
    found: float | None = page.run(_PAINTED)
    return math.nan if found is None else found / 1e3


_PAINTED = """new Promise(done => {
  const look = left => {
    const found = performance.getEntriesByName('first-contentful-paint')[0];
    if (found || !left) done(found ? found.startTime : null);
    else setTimeout(look, 50, left - 1);
  };
  look(100);
})"""
"""Milliseconds until something was painted, which may be after all is there; null within 5 s."""


def _get(served: Served, path: str) -> bytes:
    with urlopen(Request(served.url + path, headers=served.headers), timeout=300) as reply:
        return bytes(reply.read())


def _timed(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


# Listeners


def _listeners(served: Served, options: argparse.Namespace) -> Rows:
    return asyncio.run(_all_hear(served, options.listeners))


async def _all_hear(served: Served, count: int) -> Rows:
    began = time.perf_counter()
    streams = [await _connected(served) for _ in range(count)]
    for reader, writer in streams:
        writer.write(_request(served, "/v1/events"))
        await reader.readuntil(b"retry: 2000\n\n")
    opened_s = time.perf_counter() - began
    rows: Rows = []
    used_s = served.cpu_s()
    for turn in range(5):
        with served.farm.store() as store:
            store.quarantine("d00", f"turn {turn}", manual=True)
        stored = time.perf_counter()

        async def hear(reader: asyncio.StreamReader, word: bytes) -> float:
            await reader.readuntil(word)
            return time.perf_counter()

        word = f"turn {turn}".encode()
        heard = await asyncio.gather(*(hear(reader, word) for reader, _ in streams))
        each = sorted(one - stored for one in heard)
        rows.append({"name": f"event {turn}", "first_s": each[0], "last_s": each[-1]})
        await asyncio.sleep(0.5)
    memory = served.process.memory_info().rss / 2**20
    for _, writer in streams:
        writer.close()
    with served.farm.store() as store:
        store.release("d00")
    cpu = (served.cpu_s() - used_s) / 5
    return [
        *rows,
        {
            "name": "all",
            "listeners": len(streams),
            "opened_s": opened_s,
            "cpu_s": cpu,
            "rss_mib": memory,
        },
    ]


async def _connected(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    where = urlsplit(served.url)
    return await asyncio.open_connection(where.hostname, where.port, limit=1 << 20)


def _request(served: Served, path: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in served.headers.items()), "", ""]
    return "\r\n".join(lines).encode()


# Questions beside a campaign


def _asked(served: Served, options: argparse.Namespace) -> Rows:
    paths = _paths(served)
    return [{"name": "alone", **asyncio.run(_at_a_rate(served, paths, options, lambda: False))}]


def _paths(served: Served) -> list[str]:
    """Questions that were asked before."""
    known = [quote(network, safe="") for network in _known(served.farm)]
    paths = [f"/v1/predict?device=d00&network={network}" for network in known]
    for path in paths:
        _get(served, path)
    return paths


def _beside(served: Served, options: argparse.Namespace) -> Rows:
    say("campaigns ...")
    store = served.farm.config.store
    launch = ["launch", "--devices", "cpu", "--budget", "6", "--holdout", "0", "--no-kernels"]
    first = _campaign(served.farm, [*launch, "--select", "random"])
    assert first.wait() == 0
    for _ in range(2):
        assert _campaign(served.farm, ["campaign", "repeat", "c2"]).wait() == 0
    paths = _paths(served)
    rows: Rows = []
    say("asked beside ...")
    beside = _campaign(served.farm, ["campaign", "repeat", "c2"])
    rows.append(
        {
            "name": "beside",
            **asyncio.run(_at_a_rate(served, paths, options, lambda: beside.poll() is None)),
        }
    )
    assert beside.wait() == 0
    with Store(store) as opened:
        latencies = {
            c: {m.network: m for m in opened.measurements(campaign=c)} for c in ("c3", "c4", "c5")
        }
    for name, one, other in (("without", "c3", "c4"), ("with", "c4", "c5")):
        ratios = []
        moved = 0
        for network, a in latencies[one].items():
            b = latencies[other][network]
            off = math.log(b.latency_s / a.latency_s)
            ratios.append(math.exp(off))
            moved += abs(off) > math.hypot(a.half_width, b.half_width)
        rows.append(
            {
                "name": f"latencies {name} questions",
                "networks": len(ratios),
                "moved": moved,
                "ratio": median(ratios),
            }
        )
    return rows


def _campaign(farm: Farm, said: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _FARM, *said, "--executor", "inline", "--json"]
    command += ["--config", str(farm.config.path)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def _at_a_rate(
    served: Served, paths: Sequence[str], options: argparse.Namespace, goes_on: Callable[[], bool]
) -> dict[str, object]:
    """Questions at fixed times, for as long as is said, and while it goes on."""
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(_CONNECTIONS):
        idle.put_nowait(await _connected(served))
    late_ms: list[float] = []

    async def ask(due: float, path: str) -> None:
        reader, writer = own = await idle.get()
        writer.write(_request(served, path))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        late_ms.append(1e3 * (time.perf_counter() - due))
        idle.put_nowait(own)

    used_s, began, n, asked = served.cpu_s(), time.perf_counter(), 0, set()
    while (due := began + n / options.rate) < began + options.seconds or goes_on():
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.ensure_future(ask(due, paths[n % len(paths)]))
        asked.add(task)
        task.add_done_callback(asked.discard)
        n += 1
    await asyncio.gather(*asked)
    took_s = time.perf_counter() - began
    late_ms.sort()
    at = {f"p{q}_ms": late_ms[min(len(late_ms) - 1, len(late_ms) * q // 100)] for q in (50, 99)}
    cpu_ms = 1e3 * (served.cpu_s() - used_s) / n
    return {"asked": n, "per_s": n / took_s, **at, "cpu_ms": cpu_ms}


def _known(farm: Farm) -> list[str]:
    with farm.store() as store:
        found = store.measured(campaign="c1", device="d00")
    return [measured.network.id for _, measured in found]


PARTS: dict[str, Callable[[Served, argparse.Namespace], Rows]] = {
    "stored": _stored,
    "pages": _pages,
    "listeners": _listeners,
    "asked": _asked,
    "beside": _beside,
}


def _parts(text: str) -> list[str]:
    if unknown := set(words(text)) - set(PARTS):
        raise argparse.ArgumentTypeError(f"there are {', '.join(PARTS)}, got {min(unknown)!r}")
    return words(text)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.service", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--parts", type=_parts, default=list(PARTS), help="which (all)")
    for name, default in (("devices", DEVICES), ("measurements", MEASUREMENTS)):
        parser.add_argument(f"--{name}", type=positive, default=default, help=f"({default})")
    parser.add_argument("--listeners", type=positive, default=LISTENERS, help=f"({LISTENERS})")
    parser.add_argument("--rate", type=positive, default=200, help="questions a second (200)")
    parser.add_argument("--seconds", type=positive, default=20, help="at least so long (20)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
