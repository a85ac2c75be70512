"""What it is worth to measure another device first: campaigns of the farm's predictor, replayed.

    python -m benchmarks.elsewhere --seed 0 --json
    python -m benchmarks.elsewhere --spaces nb201 --devices raspi4,fpga --seeds 3

Each device of a table in turn is new, and nobody published anything. Networks are measured on it
one after the other, chosen by the farm's predictor, until the others are ranked as well as after
MOST of them, less SLACK. Then the same again where so many networks were measured before on the
device of the table that ranks networks most alike: the most helpful one that there could be.

    samples   networks that the new device measures until then
    worth     networks of the new device that one network of the other saves

Measuring elsewhere pays where a network there takes less than `worth` of a network here, in device
seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.published_table import load, table_path
from benchmarks.arguments import words
from benchmarks.fewshot_run import say
from benchmarks.loop import SPACES
from benchmarks.report import finish
from farm.core.errors import FarmError, UnknownName
from farm.core.values import Network
from farm.prediction.central import CentralPredictor, DeviceModel
from farm.prediction.columns import Column
from farm.prediction.decider import ACQUISITION
from farm.prediction.evaluation import Given
from farm.prediction.selection import POOL, Candidates
from farm.spaces import space as searched_space
from predictors import FloatArray, IntArray, metrics
from predictors.acquisition import ACQUISITIONS, Pool

MOST, SLACK = 40, 0.01
"""Networks of the new device at most, and what of their rank correlation may lack."""

FIRST = (0, 20, 60)
"""Networks that are measured on the other device before."""

NOISE = 0.02
"""Relative, of a measurement, beside what is in the tables: an assumption."""


@dataclass(frozen=True, eq=False)
class Case:
    """Two devices of a space. latency_s, other_s: (P,), of the pool, as published."""

    about: Candidates
    device: str
    other: str
    latency_s: FloatArray
    other_s: FloatArray

    def curve(self, first: int, seed: int) -> list[float]:
        """Rank correlations after 0, 1, ... networks of the new device."""
        known: dict[str, Column] = {}
        predictor = CentralPredictor(Given(known))
        rng = np.random.default_rng(seed)
        noisy = np.exp(NOISE * rng.standard_normal((2, len(self.about.pool))))
        elsewhere = rng.permutation(len(self.about.pool))[:first]
        names, measured_s = self.about.pool, self.latency_s * noisy[0]
        known[self.other] = _column(self.other, names, elsewhere, self.other_s * noisy[1])
        rows, found = np.empty(0, np.intp), []
        while True:
            known[self.device] = _column(self.device, names, rows, measured_s)
            model = predictor.model(self.about, self.device)
            found.append(self._judge(model, rows))
            if len(rows) == MOST:
                return found
            rows = np.append(rows, _next(model, rows, seed))

    def _judge(self, model: DeviceModel, rows: IntArray) -> float:
        rest = np.setdiff1d(np.arange(len(self.latency_s)), rows)
        return metrics.spearman(model.posterior(rest).mean, self.latency_s[rest]) or 0.0


def _column(
    device: str, networks: Sequence[Network], rows: IntArray, latency_s: FloatArray
) -> Column:
    return Column(device, tuple(networks[row] for row in rows), latency_s[rows])


def _next(model: DeviceModel, rows: IntArray, seed: int) -> IntArray:
    """(1,), as `farm.prediction.decider` chooses it where all networks cost the same."""
    features = model.features[: model.candidates]
    if model.blind:
        return ACQUISITIONS["variance"](Pool(features, seed), rows, 1, prior=model.belief)
    pool = Pool(features, seed, measured=rows)
    return ACQUISITIONS[ACQUISITION](pool, (), 1, prior=model.belief)


def samples(curve: Sequence[float], goal: float) -> int:
    """Networks until a curve reaches a goal; MOST where it does not."""
    return next((n for n, rho in enumerate(curve) if rho >= goal), MOST)


def cases(name: str, wanted: Sequence[str]) -> Iterator[Case]:
    """Each device with the one that ranks the pool most alike."""
    table, searched = load(table_path(name)), searched_space(name)
    codes = np.random.default_rng(0).permutation(sorted(table.row_of))[:POOL].tolist()
    pool = tuple(Network(name, code) for code in codes)
    about = Candidates(searched, pool, (), frozenset())
    latency_s = table.latency_s[:, [table.row_of[code] for code in codes]].T
    alike = np.corrcoef(latency_s.argsort(0).argsort(0), rowvar=False)
    np.fill_diagonal(alike, -1.0)
    for device in wanted or table.devices:
        if device not in table.devices:
            raise UnknownName("device", device, table.devices)
        at = table.devices.index(device)
        other = int(alike[at].argmax())
        yield Case(about, device, table.devices[other], latency_s[:, at], latency_s[:, other])


def row(case: Case, seed: int) -> dict[str, Any]:
    """One campaign of each number of networks that were measured elsewhere."""
    curves = {first: case.curve(first, seed) for first in FIRST}
    goal = curves[0][-1] - SLACK
    wanted = {first: samples(curve, goal) for first, curve in curves.items()}
    worth = {first: (wanted[0] - wanted[first]) / first for first in FIRST if first}
    name = {"space": case.about.searched.name, "device": case.device, "other": case.other}
    return {**name, "seed": seed, "goal": goal, "samples": wanted, "worth": worth}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for a space or a device that is not known, 0 otherwise."""
    parser = argparse.ArgumentParser("python -m benchmarks.elsewhere", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--spaces", type=words, default=SPACES, help=f"of {', '.join(SPACES)} (both)")
    add("--devices", type=words, help="new devices, A,B (all of the table)")
    add("--seeds", type=int, default=1, help="campaigns of each kind on each device (1)")
    add("--seed", type=int, default=0, help="the first seed (0)")
    add("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args(arguments)
    rows = []
    try:
        for name in options.spaces:
            for case in cases(name, options.devices):
                for seed in range(options.seed, options.seed + options.seeds):
                    rows.append(row(case, seed))
                    say(f"{name} {case.device}, {case.other} first: {rows[-1]['worth']}")
    except FarmError as error:
        say(f"elsewhere: {error}")
        return error.exit_code
    finish("elsewhere", rows, _summary(rows), options.json)
    return 0


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians, and the best of all."""
    firsts = [first for first in FIRST if first]
    found = {first: [row["worth"][first] for row in rows] for first in firsts}
    return {
        "samples": {f: float(np.median([row["samples"][f] for row in rows])) for f in FIRST},
        "worth_median": {first: float(np.median(found[first])) for first in firsts},
        "worth_most": {first: float(np.max(found[first])) for first in firsts},
    }


if __name__ == "__main__":
    sys.exit(main())
