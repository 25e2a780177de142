"""What ``flowmaps.testing.verify`` finds and what it flags: ``python benchmarks/verification.py``.

Every mutant of ``flowmaps.testing.mutants`` at many seeds: is it found, by which properties, how
fast; and the exact flow maps of all problems with closed forms, of which none may be flagged.
``--seeds 1 --runs 24 --points 512`` takes a minute or two; ``--docs`` writes the table into
docs/mutants.md.
"""

import argparse
import json
import math
import multiprocessing
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from _record import write_record

import flowmaps as fm

THRESHOLDS = {
    "mutants wrong at 5 % of the points or more are found at a share of the seeds of": 1.0,
    "mutants wrong at 1 % are found at a share of the seeds of": 0.95,
    "mutants wrong on a set of measure zero are reported and have no threshold": None,
    "exact maps flagged, in 1,000 runs": 0,
    "median seconds to a verdict on one core, 2-D maps": 2.0,
}
DTYPES = (torch.float64, torch.float64, torch.float64, torch.float32)
"""Of the exact maps: one run in four is in single precision."""
DOCS = Path(__file__).resolve().parents[1] / "docs" / "mutants.md"
MARK = "<!-- table -->"


def main() -> None:
    """Verify all mutants and exact maps, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="of every mutant")
    parser.add_argument("--runs", type=int, default=1000, help="of exact maps")
    parser.add_argument("--points", type=int, default=4096)
    parser.add_argument(
        "--shrink", type=int, default=10, help="seeds of mutants with a search of counterexamples"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--keep", type=Path, help="file of results: those in it are not run again")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/mutants.md")
    given = parser.parse_args()
    start = time.perf_counter()
    lines: list[str] = []
    mutants = [
        ("mutant", one.name, seed, given.points, seed < given.shrink)
        for seed in range(given.seeds)
        for one in fm.testing.mutants.every()
    ]
    exact = [("exact", k, k // len(_exact_maps()), given.points, True) for k in range(given.runs)]
    found = []
    for one in results([*mutants, *exact], given.jobs, given.keep):
        found.append(one)
        if not one["properties"] and one["kind"] == "mutant":
            lines.append(f"missed: {one['name']} at seed {one['seed']}, {one['verdict']}")
        if one["flagged"] and one["kind"] == "exact":
            lines.append(f"flagged: {one['name']} at seed {one['seed']}: {one['properties']}")
        lines = _said(lines)
    figures = summary(found)
    text = table(figures["mutants"])
    summed = "\n".join(f"{name}: {value}" for name, value in figures["summary"].items())
    print(summed)
    figures["summary"]["points"] = given.points
    figures["summary"]["seconds in all"] = round(time.perf_counter() - start, 1)
    record = write_record("verification", THRESHOLDS, figures, "\n".join([*_LOG, summed]) + "\n")
    (record / "table.md").write_text(text, encoding="utf-8")
    if given.docs:
        before, _, after = DOCS.read_text(encoding="utf-8").split(MARK)
        DOCS.write_text(f"{before}{MARK}\n\n{text}\n{MARK}{after}", encoding="utf-8")
    print(record)


_LOG: list[str] = []


def _said(lines: list[str]) -> list[str]:
    for line in lines:
        print(line, flush=True)
        _LOG.append(line)
    return []


def results(
    jobs: list[tuple[Any, ...]], processes: int, keep: Path | None
) -> Iterator[dict[str, Any]]:
    """Return the results of all jobs: those kept in a file, and the others, which it gets."""
    lines = keep.read_text().splitlines() if keep is not None and keep.exists() else []
    kept = {tuple(one.pop("job")): one for one in map(json.loads, lines)}
    asked = set(jobs)
    yield from (one for job, one in kept.items() if job in asked)
    left = [job for job in jobs if job not in kept]
    with nullcontext() if keep is None else keep.open("a", buffering=1) as file:
        for job, one in zip(left, ran(left, processes), strict=True):
            if file is not None:
                file.write(json.dumps({"job": job, **one}) + "\n")
            yield one


def ran(jobs: list[tuple[Any, ...]], processes: int) -> Iterator[dict[str, Any]]:
    """Run all jobs, here or in processes of one thread each, in order."""
    if processes == 1:
        warm_up()
        yield from map(run, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, warm_up) as pool:
        yield from pool.imap(run, jobs, chunksize=4)


def warm_up() -> None:
    """Let torch load what forward mode needs, which takes it seconds the first time."""
    torch.set_num_threads(1)
    fm.testing.mutants.get("ignores the start").verify(points=64)


def run(job: tuple[Any, ...]) -> dict[str, Any]:
    """Verify one map at one seed."""
    kind, which, seed, points, shrink = job
    start = time.perf_counter()
    if kind == "mutant":
        one = fm.testing.mutants.get(which)
        name, dim = one.name, one.truth.problem.dim
        report = one.verify(points=points, seed=seed, shrink=shrink)
    else:
        problem, conditioned = _exact_maps()[which % len(_exact_maps())]
        # each precision meets each problem
        dtype = DTYPES[(which + seed) % len(DTYPES)]
        dim = problem.dim
        name = f"{problem.name}{', conditions' if conditioned else ''}, {dtype}"
        report = fm.testing.verify(
            problem.flow_map(),
            problem.field,
            problem.domain,
            problem.times,
            problem.parameter_domain if conditioned else None,
            dtype=dtype,
            points=points,
            seed=seed,
        )
    return {
        "kind": kind,
        "name": name,
        "dim": dim,
        "seed": seed,
        "whole": shrink,
        "seconds": time.perf_counter() - start,
        "verdict": report.verdict,
        "flagged": report.verdict != "flow map of the field" or not report.passed,
        "properties": [each.name for each in report.failures],
        "worst": max((each.worst or 0.0) for each in report),
    }


def _exact_maps() -> list[tuple[fm.problems.ExactProblem, bool]]:
    problems = [fm.problems.get(name) for name in fm.problems.names()]
    exact = [one for one in problems if isinstance(one, fm.problems.ExactProblem)]
    return [(one, conditioned) for one in exact for conditioned in (False, True)]


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return figures of every mutant, of the exact maps, and what the thresholds are about."""
    mutants = [_of_mutant(one, found) for one in fm.testing.mutants.every()]
    mutants = [one for one in mutants if one["seeds"]]
    exact = [one for one in found if one["kind"] == "exact"]
    times = {
        (kind, whole): [
            one["seconds"]
            for one in found
            if (one["kind"], one["dim"], one["whole"]) == (kind, 2, whole)
        ]
        for kind, whole in (("mutant", True), ("mutant", False), ("exact", True))
    }
    return {
        "summary": {
            "mutants": len(mutants),
            "problems": len({one["problem"] for one in mutants}),
            "verifications of mutants": sum(one["seeds"] for one in mutants),
            "least share of seeds, bad set of 5 % or more": _least(mutants, 0.05, 1.0),
            "least share of seeds, bad set of 1 %": _least(mutants, 0.01, 0.05 - 1e-9),
            "missed": {
                one["name"]: f"{one['seeds'] - one['found']} of {one['seeds']}"
                for one in mutants
                if one["found"] < one["seeds"]
            },
            "exact runs": len(exact),
            "exact runs flagged": sum(one["flagged"] for one in exact),
            "largest residual over what is allowed, exact": _most(one["worst"] for one in exact),
            "median seconds, 2-D exact maps": _median(times["exact", True]),
            "median seconds, 2-D mutants": _median(times["mutant", True]),
            "median seconds, 2-D mutants, no search": _median(times["mutant", False]),
        },
        "mutants": mutants,
        "exact": [{**one, "seconds": round(one["seconds"], 3)} for one in exact],
    }


def _of_mutant(mutant: fm.testing.mutants.Mutant, found: list[dict[str, Any]]) -> dict[str, Any]:
    own = [one for one in found if one["kind"] == "mutant" and one["name"] == mutant.name]
    by = Counter(name for one in own for name in one["properties"])
    return {
        "name": mutant.name,
        "problem": mutant.problem + (", conditions" if mutant.conditioned else ""),
        "description": mutant.description,
        "share": mutant.share,
        "expected": list(mutant.seen_by),
        "seeds": len(own),
        "found": sum(bool(one["properties"]) for one in own),
        "by": dict(by),
        "verdicts": dict(Counter(one["verdict"] for one in own)),
        "seconds": _median([one["seconds"] for one in own if one["whole"]]),
    }


def _least(mutants: list[dict[str, Any]], low: float, high: float) -> float | None:
    shares = [one["found"] / one["seeds"] for one in mutants if low <= one["share"] <= high]
    return min(shares) if shares else None


def _most(values: Iterable[float]) -> float | None:
    return max((a for a in values if math.isfinite(a)), default=None)


def _median(seconds: list[float]) -> float | None:
    return round(statistics.median(seconds), 3) if seconds else None


def table(mutants: list[dict[str, Any]]) -> str:
    """Return the table of mutants and properties as Markdown."""
    properties = ["call", *(one.name for one in fm.testing.properties.standard())]
    columns = [name for name in properties if any(name in one["by"] for one in mutants)]
    head = ["mutant", "problem", "what is wrong", "share", "found", *columns]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for one in mutants:
        cells = [_cell(one, name) for name in columns]
        share, seen = f"{100 * one['share']:g} %", f"{one['found']} of {one['seeds']}"
        first = [one["name"], one["problem"].replace("_", " "), one["description"], share, seen]
        lines.append("| " + " | ".join([*first, *cells]) + " |")
    return "\n".join(lines) + "\n"


def _cell(mutant: dict[str, Any], name: str) -> str:
    """Return a cross where a property always fails, the number of seeds where it sometimes does."""
    times = mutant["by"].get(name, 0)
    shown = "" if not times else "x" if times == mutant["seeds"] else str(times)
    return f"**{shown or '-'}**" if name in mutant["expected"] else shown


if __name__ == "__main__":
    main()
