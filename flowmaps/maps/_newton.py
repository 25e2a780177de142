"""The inverse of a transition map by Newton's method."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps import solvers
from flowmaps._checks import (
    as_count,
    brief,
    check_condition,
    check_state,
    per_sample,
    shaped_like,
    shorten,
)
from flowmaps._transforms import any_item, peek
from flowmaps._typing import Condition, Count, Mask, State
from flowmaps.calculus import jacobian
from flowmaps.errors import SolveError
from flowmaps.maps._transition import Leg, TransitionMap, check_method

__all__ = ["NewtonInverse"]

_GUESS_STEPS = 8
_HALVINGS = 8


@final
class NewtonInverse(TransitionMap):
    """x -> y with X_{s,t}(y) = x, by damped Newton iterations.

    They start from a coarse backward solve of the map's velocity. Differentiable: two last Newton
    steps are taken with derivatives on, which makes the first three derivatives of y exact at the
    root. In a compiled function it runs between two graphs.

    A state is inverted if its residual |X_{s,t}(y) - x| is of rounding size, or, where the map is
    rough, if residual and Newton step both are small beside the states of the batch.

    Args:
        leg: the transition map to invert.
        max_iterations: bound on the iterations.
        throw: raise SolveError if a sample does not converge; otherwise such samples are NaN.

    Raises:
        TypeError, ValueError: if leg is no Leg, or max_iterations no positive number.
        SolveError: for samples that do not converge, when ``throw``; names them.

    Example:
        >>> import torch, flowmaps as fm
        >>> growth = fm.maps.ExactFlowMap(lambda s, t, x: x * torch.exp(t - s)[:, None])
        >>> back = growth.between(0.0, 1.0).inverse("newton")
        >>> round(back(torch.ones(1, 1)).item(), 4)
        0.3679
    """

    def __init__(self, leg: Leg, max_iterations: Count = 50, throw: bool = True):
        super().__init__()
        if not isinstance(leg, Leg):
            raise TypeError(f"NewtonInverse needs a flow_map.between(s, t), got {brief(leg)}")
        self.leg = leg
        self.max_iterations = as_count(max_iterations, "max_iterations")
        self.throw = throw
        self.s, self.t = leg.t, leg.s

    @property
    def evaluations(self) -> int:
        """Calls of the flow map in one Newton iteration (value and Jacobian together)."""
        return self.leg.evaluations

    def inverse(self, method: str = "map") -> TransitionMap:
        """Return the transition map that was inverted."""
        check_method(method)
        return self.leg

    def forward(self, x: Tensor, condition: Condition = None) -> Tensor:
        """Return y (batch, *event) with X_{s,t}(y) = x."""
        check_condition(condition, check_state(x))
        if torch.compiler.is_compiling():
            from flowmaps.maps._uncompiled import run_eagerly

            return run_eagerly(self._solution, x, condition)
        return self._solution(x, condition)

    def _solution(self, x: State, condition: Condition) -> Tensor:
        with torch.no_grad():
            fixed = pytree.tree_map(lambda leaf: None if leaf is None else leaf.detach(), condition)
            root, size, solved = self._root(x.detach(), fixed)
        y = root
        for _ in range(2):
            y = y - self._correction(y, x, condition)
        with torch.no_grad():
            last = _norm(self._residual(y.detach(), x.detach(), fixed))
        # The last steps bring derivatives, and their values where these are no worse.
        y = torch.where(shaped_like(last > size, x), root.detach() + (y - y.detach()), y)
        solved = solved & torch.isfinite(last)
        if self.throw:
            _refuse(~solved)
        return y * per_sample(torch.where(solved, 1.0, torch.nan), y)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"leg": self.leg, "max_iterations": self.max_iterations, "throw": self.throw}

    def _residual(self, y: State, x: State, condition: Condition) -> Tensor:
        return self.leg(y, condition) - x

    def _correction(self, y: State, x: State, condition: Condition) -> Tensor:
        """Return J^{-1} (X(y) - x)."""
        matrix = jacobian(self.leg.flow_map, *self.leg.times_on(y), y, condition)
        residual = self._residual(y, x, condition).reshape(matrix.shape[:2])
        # Derivatives of linalg.solve are silently wrong under one vmap inside another.
        inverse, singular = torch.linalg.inv_ex(matrix)
        correction = (inverse @ residual[:, :, None]).reshape(x.shape)
        return correction * per_sample(torch.where(singular == 0, 1.0, torch.nan), x)

    def _root(self, x: State, condition: Condition) -> tuple[Tensor, Tensor, Mask]:
        """Return y, the norm of its residual (batch,) and which samples it inverts (batch,)."""
        unit = torch.finfo(x.dtype).eps
        y = self._guess(x, condition)
        size = _norm(self._residual(y, x, condition))
        for _ in range(self.max_iterations):
            close = size <= 64 * unit * (_norm(x) + _norm(y))
            if not any_item(~close):
                return y, size, close
            y, smaller = self._damped_step(y, x, size, condition)
            progress = any_item(smaller < size)
            size = smaller
            if not progress:
                break
        close = size <= 64 * unit * (_norm(x) + _norm(y))
        # Where the map itself is rough, as adaptive steps are, iterations end before rounding does.
        scale = torch.where(torch.isfinite(x), x.abs(), 0.0).amax() * x.shape[1:].numel() ** 0.5
        small = 4 * unit**0.5 * torch.where(scale > 0, scale, 1.0)
        step = _norm(
            self._correction(y, x, condition)
        )  # long at a fold, beyond which there is none
        return y, size, close | ((size <= small) & (step <= small))

    def _damped_step(
        self, y: State, x: State, size: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        """Halve the Newton step of every sample until its residual falls; else keep y."""
        correction = self._correction(y, x, condition)
        best, least, share = y, size, 1.0
        for _ in range(_HALVINGS):
            trial = y - share * correction
            norm = _norm(self._residual(trial, x, condition))
            better = (norm < size) & (least >= size)
            best = torch.where(shaped_like(better, x), trial, best)
            least = torch.where(better, norm, least)
            if not any_item(least >= size):
                break
            share /= 2
        return best, least

    def _guess(self, x: State, condition: Condition) -> Tensor:
        start, end = self.leg.times_on(x)
        back = solvers.solve(
            self.leg.flow_map.velocity,
            end,
            start,
            x,
            condition,
            method=solvers.RK4(),
            steps=_GUESS_STEPS,
            throw=False,
            check_field=False,
        ).x
        return torch.where(torch.isfinite(back), back, x)


def _refuse(bad: Mask) -> None:
    """Raise SolveError that names the bad samples, if there are any."""
    if any_item(bad):
        samples = peek(bad).flatten().nonzero().flatten().tolist()
        raise SolveError(
            f"Newton's method did not invert samples {shorten(samples)}: no state near the guess "
            "maps there; compose shorter spans, or check that the state lies in the image of the "
            "map; or pass NewtonInverse(leg, throw=False), which makes such samples NaN"
        )


def _norm(x: State) -> Tensor:
    return x.reshape(len(x), x.shape[1:].numel()).norm(dim=1)
