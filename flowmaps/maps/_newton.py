"""The inverse of a transition map by Newton's method."""

from __future__ import annotations

import torch
from torch import Tensor

from flowmaps import solvers
from flowmaps._checks import shorten
from flowmaps._transforms import any_item, peek
from flowmaps._typing import Condition, State
from flowmaps.calculus import jacobian
from flowmaps.errors import SolveError, UnsupportedTransform
from flowmaps.maps._transition import Leg, TransitionMap, check_method

__all__ = ["NewtonInverse"]

_GUESS_STEPS = 8
_HALVINGS = 8


class NewtonInverse(TransitionMap):
    """x -> y with X_{s,t}(y) = x, by damped Newton iterations from a coarse backward solve of the velocity.

    Differentiable: two last Newton steps are taken with derivatives on, which makes the first three derivatives
    of y exact at the root.

    Args:
        leg: the transition map to invert.
        max_iterations: bound on the iterations.

    Raises:
        SolveError: if a sample does not converge; names the samples.
        UnsupportedTransform: while being compiled.

    Example:
        >>> import torch, flowmaps as fm
        >>> growth = fm.maps.ExactFlowMap(lambda s, t, x: x * torch.exp(t - s)[:, None])
        >>> round(growth.between(0.0, 1.0).inverse("newton")(torch.ones(1, 1)).item(), 4)
        0.3679
    """

    def __init__(self, leg: Leg, max_iterations: int = 50):
        super().__init__()
        self.leg = leg
        self.max_iterations = max_iterations
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
        if torch.compiler.is_compiling():
            raise UnsupportedTransform("Newton's method decides on data and does not compile")
        with torch.no_grad():
            y = self._root(x.detach(), condition)
        for _ in range(2):
            y = y - self._correction(y, x, condition)
        return y

    def _residual(self, y: State, x: State, condition: Condition) -> Tensor:
        return self.leg(y, condition) - x

    def _correction(self, y: State, x: State, condition: Condition) -> Tensor:
        """Return J^{-1} (X(y) - x)."""
        matrix = jacobian(self.leg.flow_map, self.leg.s, self.leg.t, y, condition)
        residual = self._residual(y, x, condition).reshape(len(x), -1)
        return torch.linalg.solve(matrix, residual).reshape(x.shape)

    def _root(self, x: State, condition: Condition) -> Tensor:
        y = self._guess(x, condition)
        size = _norm(self._residual(y, x, condition))
        tolerance = 64 * torch.finfo(x.dtype).eps * (1 + _norm(x))
        for _ in range(self.max_iterations):
            if not any_item(~(size <= tolerance)):
                return y
            y, smaller = self._damped_step(y, x, size, condition)
            if not any_item(smaller < size):
                break
            size = smaller
        self._refuse(size, 1e4 * tolerance)
        return y

    def _damped_step(
        self, y: State, x: State, size: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        """Halve the Newton step of every sample until its residual falls; keep y where it never does."""
        correction = self._correction(y, x, condition)
        best, least, share = y, size, 1.0
        for _ in range(_HALVINGS):
            trial = y - share * correction
            norm = _norm(self._residual(trial, x, condition))
            better = (norm < size) & (least >= size)
            best = torch.where(better.reshape(-1, *([1] * (x.ndim - 1))), trial, best)
            least = torch.where(better, norm, least)
            if not any_item(least >= size):
                break
            share /= 2
        return best, least

    def _guess(self, x: State, condition: Condition) -> Tensor:
        def field(t: Tensor, x: Tensor, *extra: Tensor) -> Tensor:
            return self.leg.flow_map.velocity(t, x, *extra)

        back = solvers.solve(
            field,
            self.leg.t,
            self.leg.s,
            x,
            condition,
            method=solvers.RK4(),
            steps=_GUESS_STEPS,
            throw=False,
            check_field=False,
        ).x
        return torch.where(torch.isfinite(back), back, x)

    def _refuse(self, size: Tensor, tolerance: Tensor) -> None:
        bad = peek(~(size <= tolerance)).flatten()
        if any_item(bad):
            samples = bad.nonzero().flatten().tolist()
            raise SolveError(
                f"Newton's method did not invert samples {shorten(samples)}: no state near the guess maps there; "
                "compose shorter spans, or check that the state lies in the image of the map"
            )


def _norm(x: State) -> Tensor:
    return x.reshape(len(x), -1).norm(dim=1)
