"""A point at which a property fails, made as simple as Hypothesis can, with code that shows it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import time_like
from flowmaps._typing import Mask
from flowmaps.testing._draws import Draw

__all__ = ["Counterexample", "is_plain", "screened", "simplest"]

_SIMPLE = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0)
_DIGITS = (1, 2, 4)
_LEVELS = len(_SIMPLE) + len(_DIGITS)
"""The last level is the number itself."""
_KEEP = 48
"""So many of 64 draws leave a number as it is: the search starts from the worst points."""
_ROUNDS, _TRIED = 2, 128
"""Batches of candidates, and how many of each are drawn at random."""
_ALONE = 2
"""Candidates of a batch that are looked at alone."""
_MOST = 24
"""Coordinates that are made simpler one by one; beyond, all of a state at once."""


@dataclass(frozen=True)
class Counterexample:
    """One point at which a property fails.

    Args:
        draw: the point, a batch of one.
        ratio: the residual there over what is allowed.
        value: the residual's size.
        call: of what computes it, in Python.
        simplified: whether simpler points were looked for.
    """

    draw: Draw
    ratio: float
    value: float
    call: str
    simplified: bool

    def code(self) -> str:
        """Return Python that computes the residual, given ``flow_map`` and ``field``."""
        s, u, t, x, _, condition = self.draw
        lines = ["import torch", "import flowmaps as fm", ""]
        times = (("s", s), ("u", u), ("t", t)) if " u, " in self.call else (("s", s), ("t", t))
        lines += [f"{name} = {_tensor(time_like(clock, x))}" for name, clock in times]
        lines.append(f"x = {_tensor(x)}")
        if condition is not None:
            lines.append(f"condition = {_shown(condition)}")
        name = "end" if self.call.startswith("flow_map(") else "residual"
        lines.append(f"{name} = {self.call}  # {self.value:.3g}, {self.ratio:.3g} of the allowed")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        s, u, t, x, _, condition = self.draw
        point = {"s": s.item(), "u": u.item(), "t": t.item(), "x": x[0].tolist()}
        point["condition"] = condition.tolist() if isinstance(condition, Tensor) else None
        return {**point, "ratio": str(self.ratio), "value": str(self.value), "code": self.code()}


def _tensor(x: Tensor) -> str:
    if x.numel() > 64:
        return f"...  # of shape {tuple(x.shape)}; see report[...].counterexample.draw.x"
    return f"torch.tensor({x.tolist()}, dtype={x.dtype})"


def _shown(condition: Any) -> str:
    """Return a pytree of tensors as Python writes it."""
    if isinstance(condition, Tensor):
        return _tensor(condition)
    if isinstance(condition, dict):
        return "{" + ", ".join(f"{key!r}: {_shown(a)}" for key, a in condition.items()) + "}"
    if isinstance(condition, list | tuple):
        parts = ", ".join(map(_shown, condition))
        if isinstance(condition, list):
            return f"[{parts}]"
        return f"({parts},)" if len(condition) == 1 else f"({parts})"
    return repr(condition)


def is_plain(point: Draw) -> bool:
    """Tell whether nothing of a point could be simpler."""
    return point.x.numel() <= _MOST and all(a in _SIMPLE for a in _numbers(point))


def screened(worst: Draw, failing: Callable[[Draw], Mask], allowed: Callable[[Draw], Mask]) -> Draw:
    """Return a failing point that is simpler than the worst, if a few batches have one.

    One call for hundreds of points costs about what one for a single point does.

    Args:
        worst: the failing point.
        failing: tells at which points a property fails.
        allowed: tells which points lie in the domain and the times.
    """
    best = worst.take([0])
    numbers = _numbers(best)
    steps = [[_at(a, k) for k in range(_LEVELS + 1)] for a in numbers]
    ladder = torch.tensor(steps, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    level = torch.full((len(numbers),), _LEVELS)
    for _ in range(_ROUNDS):
        tried = _simpler(level, generator)
        for kept in (allowed, failing):
            if len(tried) > 0:
                tried = tried[kept(_built(best, ladder.gather(1, tried.mT).mT)).cpu()]
        for one in tried[tried.sum(1).argsort(stable=True)][:_ALONE]:
            # what fails in a batch need not fail alone: scales are those of a sample
            if bool(failing(_built(best, ladder.gather(1, one[:, None]).mT))):
                level = one
                break
        else:
            break
    if bool((level == _LEVELS).all()):
        return worst
    return _built(best, ladder.gather(1, level[:, None]).mT)


def _simpler(level: Tensor, generator: torch.Generator) -> Tensor:
    """Return levels of detail below the given ones: all of one number, and some of many."""
    n = len(level)
    one = level.repeat(n, _LEVELS, 1)
    one[torch.arange(n), :, torch.arange(n)] = torch.arange(_LEVELS)
    drawn = torch.rand(_TRIED, n, generator=generator)
    many = torch.where(
        torch.rand(_TRIED, n, generator=generator) < 0.25, level, (drawn * (level + 1)).long()
    )
    tried = torch.cat([one.reshape(-1, n), many])
    return tried[tried.sum(1) < level.sum()]


def simplest(
    worst: Draw, fails: Callable[[Draw], bool], allowed: Callable[[Draw], bool], examples: int
) -> Draw:
    """Return a failing point whose numbers are as simple as may be.

    Hypothesis draws, for every number, how much of it to keep: all, some digits, or a plain 0, 1,
    -1, a half or two instead. It starts from the worst points and shrinks towards the plain ones.

    Args:
        worst: failing points, the worst first.
        fails: whether a property fails at one point.
        allowed: whether a point lies in the domain and the times.
        examples: how many points to try.
    """
    best = worst.take([0])
    try:
        import hypothesis
        import hypothesis.strategies as st
        from hypothesis.errors import NoSuchExample
    except ModuleNotFoundError:  # the worst point shows the failure as well
        return best
    numbers = _numbers(best)
    level = st.integers(0, 63).map(lambda k: _LEVELS if k >= 64 - _KEEP else min(k, _LEVELS))
    levels = st.lists(level, min_size=len(numbers), max_size=len(numbers))

    known: dict[tuple[int, ...], bool] = {}

    def built(chosen: list[int]) -> Draw:
        values = [_at(a, k) for a, k in zip(numbers, chosen, strict=True)]
        return _built(best, torch.tensor([values], dtype=torch.float64))

    def failing(chosen: list[int]) -> bool:
        key = tuple(chosen)
        if key not in known:  # and only then: what is measured, or given up, stays so
            point = built(chosen)
            known[key] = allowed(point) and fails(point)
        return known[key]

    quiet = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[
            hypothesis.HealthCheck.too_slow,
            hypothesis.HealthCheck.filter_too_much,
            hypothesis.HealthCheck.data_too_large,
            hypothesis.HealthCheck.large_base_example,
        ],
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
    )
    try:
        return built(hypothesis.find(levels, failing, settings=quiet))
    except NoSuchExample:
        return best


def _at(number: float, level: int) -> float:
    """Return a number at a level of detail."""
    if level >= _LEVELS:
        return number
    if level < len(_SIMPLE):
        return _SIMPLE[level]
    digits = _DIGITS[level - len(_SIMPLE)]
    size = 0 if number == 0 else math.floor(math.log10(abs(number)))
    return round(number, digits - 1 - size)


def _numbers(point: Draw) -> list[float]:
    """Return the numbers of a point: times, states and condition, if they are not too many."""
    flat = [point.s, point.u, point.t]
    if point.x.numel() <= _MOST:
        flat.append(point.x.reshape(-1))
    for leaf in pytree.tree_leaves(point.condition):
        if leaf is not None and leaf.is_floating_point() and leaf.numel() <= _MOST:
            flat.append(leaf.reshape(-1))
    return torch.cat([part.double() for part in flat]).tolist()


def _built(like: Draw, numbers: Tensor) -> Draw:
    """Return the points with these numbers, (n, numbers of a point)."""
    done, n = 0, len(numbers)

    def filled(leaf: Tensor | None) -> Tensor | None:
        nonlocal done
        if leaf is None:
            return None
        if not leaf.is_floating_point() or leaf.numel() > _MOST:
            return leaf.expand(n, *leaf.shape[1:])
        columns = numbers[:, done : done + leaf.numel()]
        done += leaf.numel()
        return columns.to(leaf).reshape(n, *leaf.shape[1:])

    s, u, t = (filled(part) for part in like[:3])
    x = filled(like.x)
    assert s is not None and u is not None and t is not None and x is not None
    v = like.v.expand(n, *like.v.shape[1:])
    return Draw(s, u, t, x, v, pytree.tree_map(filled, like.condition))
