"""Every objective on the checkerboard: ``python benchmarks/checkerboard.py --device cuda``.

The same network (an MLP of 1.05 million weights), the same seconds of training on the same machine,
three seeds trained together; 1, 2, 4, 8 and 16 steps. Methods that distil have as teacher a network
trained by flow matching whose seconds count: they have that much less. KL by the published protocol
(64,000 samples, 50 x 50 bins, mean of ten draws), with a perfect sampler's score beside it, and by
the aligned one (48 x 48 bins, 1,000,000 samples) above its floor. Consistency models are sampled by
new noise between steps. Compilation and the capture of a graph are not counted, and reported.
Results are kept after every method; a run that was cut off goes on.
"""

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import torch
from _cost import cost
from _methods import METHODS, Method
from _pictures import histogram, panels
from _record import write_record

import flowmaps as fm

STEPS = (1, 2, 4, 8, 16)
LONG = {1: 0.0864, 2: 0.0765, 4: 0.0708, 8: 0.0699, 16: 0.0710}
EXCESS = {1: 0.010, 2: 0.005, 4: 0.002, 8: 0.002, 16: 0.002}
ASKED = {
    "lsd, 600 s: published protocol at most": LONG,
    "lsd, 600 s: aligned protocol above its floor at most": EXCESS,
    "best method": "below lsd at every number of steps",
    "from 4 to 16 steps": "no worse by more than the spread of the seeds",
}
MATCHING = Method(lambda path, field: fm.objectives.flow_matching(path), {}, {})


def main() -> None:
    """Train and measure the methods asked for; write the record when all are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="flow_matching," + ",".join(METHODS))
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--teacher-seconds", type=float, default=40.0)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--residual", action="store_true", help="residual blocks")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--compile", default="inductor", help="inductor, aot_eager, or nothing")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--keep", type=Path, default=Path("build/checkerboard"))
    parser.add_argument("--record", action="store_true", help="write the record of what is kept")
    parser.add_argument("--small", action="store_true", help="a rehearsal")
    given = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    if given.small:
        given.seconds, given.teacher_seconds, given.width, given.batch = 2.0, 1.0, 32, 64
    given.keep.mkdir(parents=True, exist_ok=True)
    for name in [name for name in given.methods.split(",") if name and not given.record]:
        kept = given.keep / f"{name}-{given.seconds:g}.json"
        if not kept.exists():
            kept.write_text(json.dumps(one(name, given)))
        print(line(json.loads(kept.read_text())), flush=True)
    if given.record:
        record(given.keep)


def one(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Train a method and return its figures, with histograms of the first seed's samples."""
    method = METHODS.get(name) or MATCHING
    path = method.path or fm.interpolants.Linear()
    board = fm.generative.checkerboard(2_000_000, torch.Generator().manual_seed(1))
    source = fm.objectives.Pairs(None, board)
    begin, field, seconds = time.perf_counter(), None, given.seconds
    if method.teacher:
        field, seconds = taught(path, source, given), given.seconds - given.teacher_seconds
    if given.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    maps, updates, spent, asked = trained(method, path, field, source, seconds, given)
    whole = time.perf_counter() - begin
    return {
        "method": name,
        "seconds asked": given.seconds,
        "seconds of training": spent,
        "seconds in all": whole,
        "updates": updates,
        "milliseconds a step": 1e3 * spent / max(updates, 1),
        "batches evaluated a step": asked,
        "megabytes": torch.cuda.max_memory_allocated() / 2**20 if given.device != "cpu" else None,
        "device": torch.cuda.get_device_name() if given.device != "cpu" else "cpu",
        "torch": torch.__version__,
        "settings": {k: v for k, v in vars(given).items() if isinstance(v, int | float | str)},
    } | measured(method, path, maps, given)


def trained(
    method: Method, path: Any, field: Any, source: Any, seconds: float, given: argparse.Namespace
) -> tuple[list[dict[int, fm.maps.FlowMap]], int, float, dict[str, float]]:
    """Return for every seed the map of each number of steps; updates, seconds and evaluations."""
    maps = [
        method.learned(seed, given.width, given.depth, path, given.device, given.residual)
        for seed in range(given.seeds)
    ]
    options: dict[str, Any] = {
        "batch": given.batch,
        "learning_rate": given.rate,
        "warmup": 200,
        "log_every": 100,
        "compile": given.compile or False,
    } | method.options
    if not method.stages:
        objective = method.make(path, field)
        asked = cost(maps[0].to("cpu"), objective.to("cpu"), source, "target" in options)
        maps[0].to(given.device)
        objective.to(given.device)
        run = fm.training.fit_together(maps, objective, source, seconds=seconds, **options)
        return [dict.fromkeys(STEPS, found) for found in maps], run.steps, run.seconds, asked
    return in_stages(method, path, field, source, maps, seconds, options)


def in_stages(
    method: Method, path: Any, field: Any, source: Any, maps: Any, seconds: float, options: Any
) -> tuple[list[dict[int, fm.maps.FlowMap]], int, float, dict[str, float]]:
    """Halve the number of steps, one seed after another: each is its own teacher."""
    stages = [count for count in method.stages if count <= max(STEPS)]
    each, updates, spent = seconds / len(stages) / len(maps), 0, 0.0
    kept: list[dict[int, fm.maps.FlowMap]] = []
    for seed, learned in enumerate(maps):
        teacher, found = field, {}
        for count in stages:
            objective = fm.objectives.progressive_distillation(path, teacher, count)
            run = fm.training.fit_together(
                [learned], objective, source, seeds=[seed], seconds=each, **options
            )
            updates, spent = updates + run.steps, spent + run.seconds
            teacher = found[count] = copy.deepcopy(learned)
        kept.append(found)
    return kept, updates, spent, {}


def taught(path: Any, source: Any, given: argparse.Namespace) -> Any:
    """Return the velocity of a network trained by flow matching, kept for the next method."""
    kept = given.keep / f"teacher-{type(path).__name__}.pt"
    learned = METHODS["lsd"].learned(
        100, given.width, given.depth, path, given.device, given.residual
    )
    if kept.exists():
        learned.load_state_dict(torch.load(kept, weights_only=True, map_location=given.device))
        return learned.eval().velocity
    fm.training.fit_together(
        [learned],
        fm.objectives.flow_matching(path),
        source,
        seconds=given.teacher_seconds,
        seeds=[100],
        batch=given.batch,
        learning_rate=given.rate,
        warmup=200,
        log_every=100,
        compile=given.compile or False,
    )
    torch.save(learned.state_dict(), kept)
    return learned.velocity


def measured(
    method: Method, path: Any, maps: list[dict[int, fm.maps.FlowMap]], given: argparse.Namespace
) -> dict[str, Any]:
    """Return both scores of every seed for every number of steps, and histograms of the first."""
    published = fm.generative.CheckerboardKL.published()
    aligned = fm.generative.CheckerboardKL.aligned()
    if given.small:
        published = fm.generative.CheckerboardKL(50, 2_000, 2)
        aligned = fm.generative.CheckerboardKL(48, 2_000, 1)
    floor = aligned.floor(3)[0]
    scores: dict[str, Any] = {"published": {}, "aligned excess": {}, "pictures": {}}
    for steps in STEPS:
        samplers = [sampler(method, path, found[steps], steps, given.device) for found in maps]
        scores["published"][steps] = [published(draw)[0] for draw in samplers]
        scores["aligned excess"][steps] = [aligned(draw)[0] - floor for draw in samplers]
        scores["pictures"][steps] = histogram(samplers[0](aligned.samples // 5, 0))
    return scores


def sampler(method: Method, path: Any, learned: Any, steps: int, device: str) -> Any:
    """Return ``draw(n, k)``: n samples, new ones for every k."""

    @torch.no_grad()
    def draw(n: int, k: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1000 + k)
        noise = (path.base_scale * torch.randn(n, 2, generator=generator)).to(device)
        if method is MATCHING:  # it learns the velocity alone: Euler's steps
            euler = fm.maps.SolverFlowMap(learned.velocity, method=fm.solvers.Euler(), steps=steps)
            return euler(*path.times, noise)
        if not method.to_end:
            return fm.generative.sample(learned, noise, steps)
        return fm.generative.sample_multistep(
            learned, noise, steps, interpolant=path, generator=generator
        )

    return draw


def line(found: dict[str, Any]) -> str:
    """Return the figures of a method on a line: mean over seeds."""
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    raw = " ".join(f"{mean(v):.4f}" for v in found["published"].values())
    excess = " ".join(f"{mean(v):.4f}" for v in found["aligned excess"].values())
    return (
        f"{found['method']:26} {found['seconds asked']:4.0f} s {found['updates']:7d} updates "
        f"{found['milliseconds a step']:6.2f} ms  published {raw}  aligned excess {excess}"
    )


def record(keep: Path) -> None:
    """Write the record and the pictures of what is kept."""
    found = [json.loads(path.read_text()) for path in sorted(keep.glob("*.json"))]
    pictures = [
        (f"{one['method']}, {one['seconds asked']:g} s", one.pop("pictures")) for one in found
    ]
    perfect = {
        name: getattr(fm.generative.CheckerboardKL, name)().floor(10)
        for name in ("published", "aligned")
    }
    folder = write_record(
        "checkerboard",
        ASKED,
        {"perfect sampler, mean and deviation": perfect, "methods": found},
        "\n".join(map(line, found)) + "\n",
    )
    panels(pictures, folder / "samples.png")
    print(folder)


if __name__ == "__main__":
    main()
