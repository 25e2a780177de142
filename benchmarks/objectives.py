"""Every objective trains: ``python benchmarks/objectives.py``.

Eight Gaussians, and a skewed mixture of two narrow ones, in the plane. Each method with its default
settings, three seeds trained together, for the same number of updates. Measured is the transport
error E|X_learned - X|^2 / E|X - x|^2 against the numerical map of the exact velocity, in 1, 2, 4
and 8 steps, and the cost of a step. Consistency models know the way to the data alone: they have an
error in one step only. Results are kept after every method; a run that was cut off goes on.
"""

import argparse
import copy
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from _methods import METHODS, Method
from _record import write_record

import flowmaps as fm

STEPS = (1, 2, 4, 8)
POINTS = 8192


def problems(path: Any) -> dict[str, fm.problems.InterpolantFlow]:
    """Return both laws with their exact fields."""
    skewed = fm.problems.GaussianMixtureFlow(
        [[-0.5, -0.5], [2.0, 0.5]], weights=[0.8, 0.2], spread=0.1, interpolant=path
    )
    eight = fm.problems.eight_gaussians_flow(interpolant=path)
    return {"eight gaussians": eight, "skewed two": skewed}


def main() -> None:
    """Run all methods on both laws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=",".join(METHODS), help="names, by commas")
    parser.add_argument("--laws", default="eight gaussians,skewed two")
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--compile", default="", help="inductor, aot_eager, or nothing")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, a method each")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--keep", type=Path, default=Path("build/objectives"))
    parser.add_argument("--small", action="store_true", help="a rehearsal: no record")
    given = parser.parse_args()
    if given.small:
        given.updates, given.batch, given.width = 20, 64, 16
    given.keep.mkdir(parents=True, exist_ok=True)
    wanted = [(law, name) for name in given.methods.split(",") for law in given.laws.split(",")]
    for law, name in wanted:
        kept = given.keep / f"{law} {name}.json".replace(" ", "-").replace(",", "")
        if not kept.exists():
            kept.write_text(json.dumps(one(law, name, given)))
        print(line(json.loads(kept.read_text())), flush=True)
    found = [json.loads(path.read_text()) for path in sorted(given.keep.glob("*.json"))]
    if not given.small and len(found) == 2 * len(METHODS):
        asked = {name: method.asked for name, method in METHODS.items()}
        print(write_record("objectives", asked, found, "\n".join(map(line, found))))


def in_processes(given: argparse.Namespace) -> None:
    """Run every method in a process of its own, some at a time; what they keep is found after."""
    same = [sys.argv[0], *sys.argv[1:]]
    waiting, running = given.methods.split(","), []
    while waiting or running:
        while waiting and len(running) < given.jobs:
            name = waiting.pop(0)
            command = [sys.executable, *same, "--methods", name, "--jobs", "1"]
            running.append(subprocess.Popen(command))
        for process in running:
            if process.poll():
                print(f"{process.args[-3]} ended with status {process.returncode}", flush=True)
        running = [process for process in running if process.poll() is None]
        time.sleep(0.2)


def one(law: str, name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Train a method on a law; return its figures."""
    method = METHODS[name]
    path = method.path or fm.interpolants.Linear()
    problem = problems(path)[law]
    data = problem.sample(200_000, torch.Generator().manual_seed(1))
    source = fm.objectives.Pairs(None, data.to("cpu"))
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    maps, updates, seconds = trained(method, problem, source, given)
    whole = time.perf_counter() - begin
    noise = torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(2)).to(given.device)
    exact = problem.flow_map(rtol=1e-5, atol=1e-5)(*path.times, path.base_scale * noise)
    errors = {
        steps: [transport(found[steps], exact, path.base_scale * noise, steps) for found in maps]
        for steps in ((1,) if method.to_end else STEPS)
    }
    return {
        "law": law,
        "method": name,
        "transport error": errors,
        "asked": method.asked,
        "updates": updates,
        "milliseconds a step": 1e3 * seconds / updates,
        "seconds": whole,
        "megabytes": torch.cuda.max_memory_allocated() / 2**20 if given.device != "cpu" else None,
        "settings": {k: v for k, v in vars(given).items() if isinstance(v, int | float)},
    }


@torch.no_grad()
def transport(
    learned: fm.maps.FlowMap, exact: torch.Tensor, start: torch.Tensor, steps: int
) -> float:
    """Return E|X_learned - X|^2 / E|X - x|^2."""
    found = fm.generative.sample(learned, start, steps=steps)
    return ((found - exact).square().sum() / (exact - start).square().sum()).item()


def trained(
    method: Method, problem: Any, source: Any, given: argparse.Namespace
) -> tuple[list[dict[int, fm.maps.FlowMap]], int, float]:
    """Return, for every seed, the map for each number of steps; updates and seconds."""
    path, seeds = problem.interpolant, range(given.seeds)
    maps = [method.learned(seed, given.width, given.depth, path, given.device) for seed in seeds]
    options: dict[str, Any] = {
        "batch": given.batch,
        "learning_rate": given.rate,
        "warmup": min(200, given.updates // 4),
        "log_every": 100,
        "compile": given.compile or False,
    } | method.options
    if not method.stages:
        objective = method.make(path, problem.field)
        run = fm.training.fit_together(maps, objective, source, steps=given.updates, **options)
        return [dict.fromkeys(STEPS, found) for found in maps], run.steps, run.seconds
    return in_stages(method, problem, source, maps, given, options)


def in_stages(
    method: Method, problem: Any, source: Any, maps: Any, given: argparse.Namespace, options: Any
) -> tuple[list[dict[int, fm.maps.FlowMap]], int, float]:
    """Halve the number of steps, every seed by itself; its students share the updates."""
    per_stage, seconds = max(1, given.updates // len(method.stages)), 0.0
    kept: list[dict[int, fm.maps.FlowMap]] = []
    for seed, learned in enumerate(maps):
        teacher: Any = problem.field
        found = {}
        for count in method.stages:
            objective = fm.objectives.progressive_distillation(problem.interpolant, teacher, count)
            run = fm.training.fit_together(
                [learned], objective, source, seeds=[seed], steps=per_stage, **options
            )
            seconds += run.seconds / len(maps)
            teacher = found[count] = copy.deepcopy(learned)
        kept.append(found)
    return kept, per_stage * len(method.stages), seconds


def line(found: dict[str, Any]) -> str:
    """Return the figures of a method on a line."""
    errors = {int(k): v for k, v in found["transport error"].items()}
    worst = {steps: max(values) for steps, values in errors.items()}
    verdict = worst[1] <= found["asked"]["one"] and (
        "four" not in found["asked"] or worst[4] <= found["asked"]["four"]
    )
    told = "  ".join(f"{steps}: {worst[steps]:.1e}" for steps in worst)
    return (
        f"{found['law']:16} {found['method']:26} {'ok  ' if verdict else 'MISS'} {told:44} "
        f"{found['milliseconds a step']:6.2f} ms  {found['seconds']:5.0f} s"
    )


if __name__ == "__main__":
    main()
