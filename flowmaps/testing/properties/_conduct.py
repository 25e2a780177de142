"""What every function of a batch of samples satisfies: the same again, alone, in any order."""

from typing import final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._typing import PerSample, State
from flowmaps.testing._draws import Draw
from flowmaps.testing._property import Property
from flowmaps.testing._subject import described
from flowmaps.testing._view import View, condition_of, size

__all__ = ["BatchConsistency", "Determinism", "Finite", "InputKept", "UnderVmap"]


def _end(view: View, draw: Draw) -> State:
    return view.map(draw.s, draw.t, draw.x, draw.condition).detach()


def _apart(a: State, b: State) -> State:
    """Return a - b; zero where both are the same infinity or NaN: ``Finite`` tells of these."""
    same = (a == b) | (torch.isnan(a) & torch.isnan(b))
    return torch.where(same, 0.0, a - b)


@final
class Determinism(Property):
    """The same arguments give the same value, also after other arguments of the same shape."""

    name, kind, alone, cost = "determinism", "conduct", False, 4
    conditioned = False

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return two values of one point, between which other points were asked, less each other.

        The points between have the same times and conditions and other states.
        """
        first = _end(view, draw)
        other = draw._replace(x=draw.x.flip(0))
        between = _end(view, other)
        _end(view, draw._replace(x=draw.x[:1].expand_as(draw.x)))  # flipped, means are the same
        again = _end(view, draw)
        backwards = draw.take(torch.arange(len(draw.x) - 1, -1, -1, device=draw.x.device))
        turned = _end(view, backwards._replace(x=draw.x)).flip(0)
        return torch.stack([_apart(again, first), _apart(turned, between)], dim=1)


@final
class Finite(Property):
    """Finite states go to finite states."""

    name, kind, units = "finite values", "conduct", "number"
    conditioned = False

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return 1 where a value is NaN or infinite, else 0."""
        return (~torch.isfinite(size(_end(view, draw)))).to(draw.x.dtype)


@final
class BatchConsistency(Property):
    """A sample has one value alone, in a batch, and wherever it stands in it."""

    name, kind, alone, cost = "batch consistency", "conduct", False, 64

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the values in another order and alone, less those in the batch."""
        whole, n = _end(view, draw), len(draw.x)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(n)).to(draw.x.device)
        turned = torch.empty_like(whole).index_copy(0, order, _end(view, draw.take(order)))
        single = torch.cat([_end(view, draw.take([k])) for k in range(n)])
        return torch.stack([_apart(turned, whole), _apart(single, whole)], dim=1)


@final
class UnderVmap(Property):
    """A sample has one value under ``torch.func.vmap`` and in a batch."""

    name, kind, alone, cost = "batch consistency under vmap", "conduct", False, 256

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the values under vmap less those in the batch."""
        whole = _end(view, draw)

        def single(s: Tensor, t: Tensor, x: Tensor, condition: object) -> Tensor:
            row = pytree.tree_map(_alone, condition)
            return view.map(s[None], t[None], x[None], row)[0]

        arguments = (draw.s, draw.t, draw.x, draw.condition)
        axes = (0, 0, 0, None if draw.condition is None else 0)
        return _apart(torch.func.vmap(single, in_dims=axes)(*arguments).detach(), whole)

    def excused(self, error: Exception) -> str | None:
        """Return that the map cannot be called under vmap, which no flow map has to be."""
        return f"no vmap: {described(error)}"

    def condition(self, view: View, draw: Draw) -> PerSample:
        """Return that of the end: disturbances know the size of a state in plain batches only."""
        return condition_of(lambda each: _end(each, draw), view, draw.x.dtype)


@final
class InputKept(Property):
    """The map changes none of its arguments."""

    name, kind, alone, cost, units = "input not mutated", "conduct", False, 64, "number"
    conditioned = False

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return 1 for every number that a call has changed, of states, times and condition."""
        before = draw.s, draw.t, draw.x, draw.condition
        after = pytree.tree_map(lambda leaf: None if leaf is None else leaf.clone(), before)
        view.map.given(*after)  # pyright: ignore[reportCallIssue]
        pairs = zip(pytree.tree_leaves(after), pytree.tree_leaves(before), strict=True)
        moved = [(now != then).reshape(len(now), -1) for now, then in pairs if now is not None]
        return torch.cat(moved, dim=1).to(draw.x.dtype)


def _alone(leaf: Tensor | None) -> Tensor | None:
    return None if leaf is None else leaf[None]
