"""The report of few-shot prediction: tables, learning curves, and the table of docs/."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contract import TRAININGS
from benchmarks.evaluate import METRICS, Outcome, grouped, mean_spearman, rows, summary
from benchmarks.fewshot_plot import plot_task
from benchmarks.paper_figures import PUBLISHED
from benchmarks.report import machine, versions
from benchmarks.studies import Study
from benchmarks.tasks import TASKS
from farm.core.errors import UsageError

Results = Sequence[tuple[Study, Sequence[Outcome]]]

BEGIN = "<!-- fewshot: written by benchmarks.fewshot --write -->"
END = "<!-- fewshot: end -->"

COMMAND = (
    "python -m benchmarks.fewshot --task all --method all "
    "--write benchmarks/results --readme docs/accuracy-and-speed.md"
)


@dataclass(frozen=True)
class Line:
    """A line of a table: what one method reached with one training. cells: {task: "5/10/20" as
    Spearman}."""

    method: str
    training: str
    select: str
    seeds: int
    cells: dict[str, str]
    coverage: float | None


def write(results: Results, folder: Path, readme: Path | None) -> None:
    """Write `fewshot.md`, `.csv`, `.json` and a plot for each task to `folder`.

    readme: a file in which everything between BEGIN and END is replaced. Raises UsageError where
    it has no such place.
    """
    text = readme.read_text() if readme else ""
    if readme and not (BEGIN in text and END in text):
        raise UsageError(f"{readme} has no place for the table: {BEGIN!r} and {END!r}, in order")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fewshot.md").write_text(_document(results))
    _write_rows(results, folder / "fewshot.csv")
    (folder / "fewshot.json").write_text(json.dumps(_figures(results), indent=1) + "\n")
    first = results[0][1]
    for (task,), outcomes in grouped(first, "group").items():
        plot_task(task, outcomes, folder / f"fewshot-{task}.png")
    if readme:
        before, _, rest = text.partition(BEGIN)
        block = _short(results, Path(os.path.relpath(folder, readme.parent)))
        readme.write_text(f"{before}{BEGIN}\n{block}\n{END}{rest.partition(END)[2]}")


def kept(path: Path, study: Study, new: Sequence[Outcome]) -> list[Outcome]:
    """What an earlier report in `path` says of this study, but for what is `new`: an outcome for
    each seed, all as their mean."""
    if not path.exists():
        return []
    done = {(o.task, o.method, o.select) for o in new}
    tasks = [*TASKS.values(), *(task for task, _ in study.found)]
    groups = {task.name: task.group for task in tasks}
    found: list[Outcome] = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = (row["task"], row["method"], row["select"])
            if row["study"] != study.title or key in done or row["task"] not in groups:
                continue
            said: dict[str, Any] = {n: float(row[n]) if row[n] else None for n in METRICS}
            said |= {name: row[name] for name in ("task", "method", "training", "select", "device")}
            said |= {"samples": int(row["samples"]), "group": groups[row["task"]]}
            said |= {"pretrain_s": 0.0, "constant": said["spearman"] is None}
            found += [Outcome(**said, seed=seed) for seed in range(int(row["seeds"]))]
    return found


def _figures(results: Results) -> dict[str, Any]:
    whole = {"benchmark": "fewshot", "machine": machine(), "versions": versions()}
    studies = {
        study.title: {
            select: summary([o for o in outcomes if o.select == select]) for select in study.selects
        }
        for study, outcomes in results
    }
    return {**whole, "command": COMMAND, "studies": studies}


def _write_rows(results: Results, path: Path) -> None:
    """A line for each study, task, method, device and number of samples."""
    found = [{"study": study.title, **row} for study, own in results for row in rows(own)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(found[0])
        writer.writerows([_figure(v) for v in row.values()] for row in found)


def _figure(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _document(results: Results) -> str:
    parts = [
        "# Few-shot latency prediction",
        f"Written by `{COMMAND}`, or by runs of some of its methods or tasks, which leave the "
        f"others as they are; the last one was on {machine()['date']}. Every cell is the mean "
        "Spearman over a "
        "task's test devices and the seeds, from 5, 10 and 20 samples of the target. Coverage: "
        "share of measured latencies inside their 95 % intervals. Per-device figures with "
        "Kendall's tau-b, errors and seconds are in `fewshot.csv`.",
    ]
    for study, outcomes in results:
        parts += [f"## {study.title}", study.note, _table(list(_lines(outcomes)))]
    parts += ["## Published by others", _published_table(list(_tasks_of(results[0][1])))]
    sources = dict.fromkeys(p.source for p in PUBLISHED)
    parts += ["Sources: " + "; ".join(f"({i}) {s}" for i, s in enumerate(sources, 1)) + "."]
    parts += [f"![{task}](fewshot-{task}.png)" for task in _tasks_of(results[0][1])]
    return "\n\n".join(parts) + "\n"


def _tasks_of(outcomes: Sequence[Outcome]) -> Iterator[str]:
    return iter(dict.fromkeys(o.group for o in outcomes))


def _lines(outcomes: Sequence[Outcome]) -> Iterator[Line]:
    for (method, training, select), own in grouped(
        outcomes, "method", "training", "select"
    ).items():
        cells = {}
        for (task,), same in grouped(own, "group").items():
            by_samples = [mean_spearman(some) for some in grouped(same, "samples").values()]
            cells[task] = "/".join(map(_rho, by_samples))
        coverage = summary(own)["coverage_95"].get(method)
        yield Line(method, training, select, len({o.seed for o in own}), cells, coverage)


def _rho(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}".replace("0.", ".", 1)


def _table(lines: Sequence[Line]) -> str:
    names = list(dict.fromkeys(task for line in lines for task in line.cells))
    head = ["method", "training", "samples chosen", "seeds", *names, "coverage"]
    body = [
        [
            line.method,
            line.training,
            line.select,
            str(line.seeds),
            *(line.cells.get(name, "–") for name in names),
            "–" if line.coverage is None else f"{100 * line.coverage:.1f} %",
        ]
        for line in lines
    ]
    return _markdown(head, body)


def _published_table(names: Sequence[str]) -> str:
    sources = list(dict.fromkeys(p.source for p in PUBLISHED))
    body = [
        [
            p.method,
            str(p.samples),
            *(_rho(p.spearman[name]) if name in p.spearman else "–" for name in names),
            f"({sources.index(p.source) + 1})",
        ]
        for p in PUBLISHED
    ]
    return _markdown(["method", "samples", *names, "source"], body)


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body]]
    return "\n".join(lines)


def _short(results: Results, folder: Path) -> str:
    """The table of the documentation: each method as it does best, with its plots' place."""
    outcomes = results[0][1]
    lines = list(_lines(outcomes))
    names = list(_tasks_of(outcomes))
    body = [[_called(line), *(line.cells.get(n, "–") for n in names)] for line in _best(lines)]
    for p in PUBLISHED:
        if set(names) <= set(p.spearman):
            cells = [_rho(p.spearman[n]) for n in names]
            body.append([f"{p.method}, published, {p.samples} samples", *cells])
    table = _markdown(["method", *names], body)
    links = ", ".join(f"[{n}]({folder / f'fewshot-{n}.png'})" for n in names)
    more = "".join(_remark(study, own) for study, own in results[1:])
    document = f"[fewshot.md]({folder / 'fewshot.md'})"
    where = f"Learning curves: {links}. All methods, splits and sources: {document}."
    return f"{table}\n\n{_SHORT_NOTE}\n\n{more}{where}"


_SHORT_NOTE = (
    "Ours has 10 seeds, the rest 3 or what fewshot.md says. Of a method with several encodings, "
    "the best is shown. What is published has its papers' samples and tests; the neural "
    "predictors are ours, with training cut to minutes on two cores unless it says `published`: "
    "all of it, as `--training published` asks for (`benchmarks/neural.py`). HELP and Sample first "
    "take the ten networks that describe a device, so that five samples are half of those."
)


def _remark(study: Study, outcomes: Sequence[Outcome]) -> str:
    """What our method reached in another study, as a sentence of the documentation."""
    ours = next((line for line in _lines(outcomes) if line.method == "mixture"), None)
    if ours is None:
        return ""
    reached = ", ".join(f"{task} {cell}" for task, cell in ours.cells.items())
    return f"{study.title}, `mixture`: {reached}.\n\n"


def _called(line: Line) -> str:
    chosen = "" if line.select == "active" else ", random samples"
    trained = ", published training" if line.training == TRAININGS[1] else ""
    return f"{line.method}{chosen}{trained}"


def _best(lines: Sequence[Line]) -> Iterator[Line]:
    """Of a method with several encodings, the best on average at the most samples; ours twice."""
    kept: dict[tuple[str, str, str], Line] = {}
    for line in lines:
        key = (line.method.partition(":")[0], line.training, line.select)
        if key not in kept or _mean_of(line) > _mean_of(kept[key]):
            kept[key] = line
    for (name, training, select), line in kept.items():
        if select == "active" or name == "mixture" or (name, training, "active") not in kept:
            yield line


def _mean_of(line: Line) -> float:
    last = [cell.split("/")[-1] for cell in line.cells.values()]
    return sum(float(cell) for cell in last if cell != "–") / max(len(last), 1)
