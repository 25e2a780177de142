"""Training several equal maps at once, their weights stacked."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from flowmaps._checks import as_count, brief
from flowmaps.maps import FlowMap
from flowmaps.objectives import Draw, Objective
from flowmaps.objectives._learned import require_times
from flowmaps.training._capture import captured
from flowmaps.training._compiling import compiled
from flowmaps.training._ema import Average
from flowmaps.training._optimizers import make_optimizer
from flowmaps.training._schedules import Schedule, learning_rate_factor, named_schedule
from flowmaps.training._seeds import step_generator
from flowmaps.training._settings import as_real

__all__ = ["Together", "fit_together"]


@dataclass(frozen=True)
class Together:
    """The outcome of ``fit_together``.

    Args:
        maps: the maps given, now with averaged weights and in eval mode.
        losses: (records, maps), one record every ``log_every`` steps.
        steps: how many steps were made.
        seconds: that they took, without what chose their number.
        finite: of every map, whether all its weights are finite.

    Example:
        >>> import torch, flowmaps as fm
        >>> maps = [fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1)) for _ in "ab"]
        >>> data = fm.objectives.Pairs(None, torch.zeros(8, 1))
        >>> run = fm.training.fit_together(maps, fm.objectives.lsd(), data, steps=3, batch=4)
        >>> run.losses.shape, run.steps, run.finite
        (torch.Size([3, 2]), 3, (True, True))
    """

    maps: Sequence[FlowMap]
    losses: Tensor
    steps: int
    seconds: float
    finite: tuple[bool, ...]


def fit_together(
    maps: Sequence[FlowMap],
    objective: Objective,
    source: Any,
    *,
    seeds: Sequence[int] | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    batch: int = 256,
    optimizer: str = "adamw",
    learning_rate: float = 1e-3,
    schedule: str | Schedule = "cosine",
    warmup: int = 0,
    ema: float | None = 0.999,
    target: float | None = None,
    clip: float | None = 1.0,
    compile: bool | str = False,
    log_every: int = 1,
) -> Together:
    """Train maps of one structure at once: the same run for several seeds in little more time.

    The weights are stacked along a new first axis and the loss is mapped over it; on CUDA loss and
    gradient are recorded as one graph and replayed. Map i draws what
    ``fit(..., seed=seeds[i])`` draws and its gradient is its own, so that it ends where ``fit``
    would take it, but for rounding, dropout's masks, and the guard, of which there is none: weights
    that are not finite stay so, and the result says whose.

    Args:
        maps: equal but for the values of their weights; trained in place.
        objective: its own parameters are learned for every map alone; they are not given back.
        source: as for ``fit``.
        seeds: of the draws, one a map; None for 0, 1, ...
        steps: number of updates.
        seconds: budget instead of ``steps``, turned into a number of them by trial steps.
        batch: rows of a draw for every map.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``, which treat every weight alone.
        learning_rate, schedule, warmup, ema, target, clip, compile: as for ``fit``.
        log_every: steps between records of the losses.

    Raises:
        TypeError: for what is no map, or objective.
        ValueError: for maps of different structure, other optimizers, or neither steps nor seconds.

    Example:
        >>> import torch, flowmaps as fm
        >>> maps = [fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1)) for _ in "ab"]
        >>> data = fm.objectives.Pairs(None, torch.full((64, 1), 2.0))
        >>> run = fm.training.fit_together(
        ...     maps, fm.objectives.lsd(), data, steps=20, batch=32, learning_rate=1e-2
        ... )
        >>> bool((run.losses[-1] < run.losses[0]).all())
        True
    """
    if (steps is None) == (seconds is None):
        raise ValueError(f"give steps or seconds, got steps={steps} and seconds={seconds}")
    if optimizer not in ("adam", "adamw", "sgd"):
        raise ValueError(
            'optimizer must treat every weight alone: "adam", "adamw" or "sgd", '
            f"got {brief(optimizer)}"
        )
    longest = None if clip is None else as_real(clip, "clip", lambda v: v > 0, "positive")
    every, n = as_count(log_every, "log_every"), len(maps)
    seeds = list(range(n)) if seeds is None else [int(seed) for seed in seeds]
    if len(seeds) != n:
        raise ValueError(f"seeds must be one a map, {n}, got {len(seeds)}")
    stack = _Stack(maps, objective, target, longest, compile)
    draws = _Draws(objective, source, as_count(batch, "batch"), seeds, stack.device)
    for progress in (0.0, 0.5, 1.0):  # pre-training and growing spans draw other times at first
        sample = pytree.tree_map(lambda leaf: leaf.to(stack.device), draws.one(0, progress))
        objective.check(sample, maps[0])
        require_times(maps[0], sample)
    rule = _Rule(stack, optimizer, learning_rate, ema)
    plan = (named_schedule(schedule), warmup)
    if seconds is not None:
        budget = as_real(seconds, "seconds", lambda v: v > 0, "positive")
        steps = _affordable(stack, rule, draws, budget)
        rule = _Rule(stack, optimizer, learning_rate, ema)
    total = as_count(steps, "steps")
    start, losses = time.perf_counter(), []
    for step in range(total):
        draw = draws(step, step / total)  # while the device is at the step before
        loss = rule.step(draw, learning_rate_factor(plan[0], step, total, plan[1]))
        if step % every == 0 or step == total - 1:
            losses.append(loss)
    rule.average.apply()
    finite = stack.write_back(maps)
    return Together(maps, torch.stack(losses).cpu(), total, time.perf_counter() - start, finite)


class _Run(nn.Module):
    """A map, its objective and its target as one module, for functional calls."""

    def __init__(self, learned: FlowMap, objective: Objective, target: FlowMap | None):
        super().__init__()
        self.learned, self.objective, self.target = learned, objective, target

    def forward(self, draw: Draw) -> Tensor:
        return self.objective(self.learned, draw, self.target).total


class _Stack:
    """The weights of all maps, stacked, and their losses."""

    def __init__(
        self,
        maps: Sequence[FlowMap],
        objective: Objective,
        target: float | None,
        clip: float | None,
        compile: bool | str,
    ):
        _check_alike(maps)
        self.decay, first = target, copy.deepcopy(maps[0]).train()
        followed = None
        if target is not None:
            as_real(target, "target", lambda v: 0 <= v < 1, "in [0, 1)")
            followed = copy.deepcopy(first).requires_grad_(False).eval()
        run = _Run(first, copy.deepcopy(objective).train(), followed)
        self.device = next(first.parameters()).device
        run.to(self.device)
        self.n = len(maps)
        self.live = {
            name: _stacked(maps, name, weight)
            for name, weight in run.named_parameters()
            if weight.requires_grad
        }
        self.followed = {
            f"target.{name.removeprefix('learned.')}": weight.detach().clone()
            for name, weight in self.live.items()
            if target is not None and name.startswith("learned.")
        }
        self._start = self._copied()

        def one(weights: dict[str, Tensor], draw: Draw) -> Tensor:
            return functional_call(run, weights, (draw,))

        def every(weights: dict[str, Tensor], draw: Draw) -> Tensor:
            return vmap(one, randomness="different")(weights, draw)

        self._every = compiled(every, compile)
        self.step = captured(self.losses, list(self.live.values()), clip, self.device)

    def losses(self, draw: Draw) -> Tensor:
        """Return the loss of every map (maps,) on its own draw."""
        return self._every(self.live | self.followed, draw)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the targets towards the weights."""
        if self.followed:
            live = [self.live[f"learned.{n.removeprefix('target.')}"] for n in self.followed]
            for mean, weight in zip(self.followed.values(), live, strict=True):
                mean.lerp_(weight, 1 - (self.decay or 0))

    @torch.no_grad()
    def restart(self) -> None:
        """Go back to the weights that were given."""
        for now, then in zip((self.live, self.followed), self._start, strict=True):
            for name, weight in now.items():
                weight.copy_(then[name])

    @torch.no_grad()
    def write_back(self, maps: Sequence[FlowMap]) -> tuple[bool, ...]:
        """Give every map its weights; tell whose are finite."""
        finite = torch.ones(self.n, dtype=torch.bool, device=self.device)
        for name, weights in self.live.items():
            if name.startswith("learned."):
                finite &= weights.isfinite().flatten(1).all(1)
                for flow_map, weight in zip(maps, weights, strict=True):
                    flow_map.get_parameter(name.removeprefix("learned.")).copy_(weight)
        for flow_map in maps:
            flow_map.eval()
        return tuple(finite.tolist())

    def _copied(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return (
            {name: weight.detach().clone() for name, weight in self.live.items()},
            {name: weight.clone() for name, weight in self.followed.items()},
        )


class _Draws:
    """The draws of a step for all maps, stacked."""

    def __init__(
        self, objective: Objective, source: Any, batch: int, seeds: list[int], device: torch.device
    ):
        self.objective, self.source, self.batch = objective, source, batch
        self.seeds, self.device = seeds, device

    def one(self, step: int, progress: float, seed: int | None = None) -> Draw:
        """Return the draw of one seed."""
        generator = step_generator(self.seeds[0] if seed is None else seed, step)
        return self.objective.draw(
            self.source, batch=self.batch, generator=generator, progress=progress
        )

    def __call__(self, step: int, progress: float) -> Draw:
        """Return the draws of all seeds, each leaf with a first axis of maps.

        For CUDA they stay in pinned memory, to be copied straight into a graph's inputs.
        """
        drawn = [self.one(step, progress, seed) for seed in self.seeds]
        stacked = pytree.tree_map(lambda *leaves: torch.stack(leaves), *drawn)
        if self.device.type != "cuda":
            return pytree.tree_map(lambda leaf: leaf.to(self.device), stacked)
        return pytree.tree_map(lambda leaf: leaf if leaf.is_cuda else leaf.pin_memory(), stacked)


class _Rule:
    """What a step does to the weights."""

    def __init__(
        self,
        stack: _Stack,
        optimizer: str,
        learning_rate: float,
        ema: float | None,
    ):
        self.stack, self.peak = stack, float(learning_rate)
        self.weights = list(stack.live.values())
        self.update = make_optimizer(optimizer, self.weights, self.peak)
        for group in self.update.param_groups:
            group["fused"] = stack.device.type == "cuda"
        held = nn.ParameterList(
            weight for name, weight in stack.live.items() if name.startswith("learned.")
        )
        self.average = Average(held, ema or 0.0)

    def step(self, draw: Draw, factor: float) -> Tensor:
        """Go down every map's gradient; return the losses (maps,)."""
        losses = self.stack.step(draw)
        for group in self.update.param_groups:
            group["lr"] = self.peak * factor
        self.update.step()
        self.average.update()
        self.stack.follow()
        return losses


def _affordable(stack: _Stack, rule: _Rule, draws: _Draws, budget: float) -> int:
    """Return how many steps fit a budget of seconds, by a few that leave no trace.

    What is compiled and captured in the first ones is not counted. Trial steps run as training
    does, the host drawing while the device works.
    """
    for number in range(5):  # a law of times by progress may compile more than once
        loss = rule.step(draws(number, number / 4), 0.0)
    loss.sum().item()  # waits for the device
    start, count = time.perf_counter(), 0
    while count < 3 or (count < 100 and time.perf_counter() - start < 0.05 * budget):
        loss, count = rule.step(draws(count, (count % 5) / 4), 0.0), count + 1
    loss.sum().item()
    spent = time.perf_counter() - start
    stack.restart()
    return max(1, int((budget - spent) * count / spent))


def _stacked(maps: Sequence[FlowMap], name: str, weight: Tensor) -> nn.Parameter:
    """Return a parameter of the run for every map: the maps' own, or copies of the objective's."""
    own = name.removeprefix("learned.")
    if own != name:
        rows = [flow_map.get_parameter(own).detach() for flow_map in maps]
    else:
        rows = [weight.detach()] * len(maps)
    return nn.Parameter(torch.stack(rows))


def _check_alike(maps: Sequence[FlowMap]) -> None:
    """Raise unless these are flow maps whose weights have the same names and shapes."""
    if len(maps) == 0:
        raise ValueError("there must be at least one map")
    for flow_map in maps:
        if not isinstance(flow_map, FlowMap):
            raise TypeError(
                f"maps must be flow maps, got {brief(flow_map)}; "
                "wrap networks in fm.maps.NeuralFlowMap"
            )
    shapes = [
        {name: (weight.shape, weight.dtype) for name, weight in flow_map.named_parameters()}
        for flow_map in maps
    ]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("maps must have weights of the same names, shapes and dtypes")
