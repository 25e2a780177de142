"""A problem: a field with parameters, written once, and all that follows from the formula."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowmaps._checks import as_clock, check_state, is_number, time_like
from flowmaps._typing import SquareMatrix, State, States, Time
from flowmaps.domains import Box, Domain
from flowmaps.maps import FlowMap, SolverFlowMap, TimeSet
from flowmaps.problems._operations import Operations, operations
from flowmaps.problems._parameters import Parameters
from flowmaps.problems._reference import trajectories
from flowmaps.problems._symbolic import Symbolic, symbolic

__all__ = ["Problem"]


class Problem(ABC):
    """An initial value problem dx/dt = b(t, x; p) with states in R^dim.

    To add one, give ``name`` and ``formula`` and call this constructor; all else follows.
    A condition is a tensor (batch, n_parameters), one column for each parameter in their order;
    without one every sample has the problem's own ``parameters``.

    Args:
        parameters: names and values.
        parameter_domain: box of sensible parameter values, in the same order.
        domain: where initial states lie.
        times: lower and upper end of the times of interest; the field may be asked at others.

    Raises:
        TypeError: if a parameter is no number.
        ValueError: if a parameter is not finite, or is zero where it divides, or the parts do not
            fit together.
    """

    name: ClassVar[str]
    """Key in the registry."""
    autonomous: ClassVar[bool] = True
    """Whether the field is independent of time."""
    stiff: ClassVar[bool] = False
    """Whether the reference needs an implicit method."""
    components: ClassVar[tuple[str, ...]] = ()
    """Names of the state's components, where they have some."""
    divisors: ClassVar[tuple[str, ...]] = ()
    """Parameters that must not be zero."""
    defined: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """Times at which the field exists."""

    def __init__(
        self,
        parameters: Mapping[str, float],
        parameter_domain: Box,
        domain: Domain,
        times: tuple[float, float],
    ):
        unreal = [name for name, value in parameters.items() if not _is_real(value)]
        if unreal:
            raise TypeError(
                f"parameters of {self.name} must be numbers, got {dict(parameters)}; "
                f"look at {unreal}"
            )
        values = {name: float(value) for name, value in parameters.items()}
        bad = [
            name
            for name, value in values.items()
            if not math.isfinite(value) or (value == 0 and name in self.divisors)
        ]
        if bad:
            raise ValueError(
                f"parameters of {self.name} must be finite, and not zero where they divide, "
                f"got {values}; look at {bad}"
            )
        if parameter_domain.dim != len(values):
            raise ValueError(
                f"parameter_domain must have {len(values)} coordinates, one for each of "
                f"{list(values)}, got {parameter_domain.dim}"
            )
        if not times[0] < times[1]:
            raise ValueError(f"times must be (lower, upper) with lower < upper, got {times}")
        self._values = values
        self.parameter_domain, self.domain, self.times = parameter_domain, domain, times

    @property
    def dim(self) -> int:
        """Number of components of the state."""
        return self.domain.dim

    @property
    def parameters(self) -> Mapping[str, float]:
        """Names and values of the parameters, in order; they cannot be changed."""
        return MappingProxyType(self._values)

    @abstractmethod
    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return the dim components of b(t, x; p), in the operations of m and arithmetic alone.

        Args:
            m: operations of torch, NumPy, SymPy or mpmath; see ``operations``.
            t: time.
            x: components of the state.
            p: parameters as attributes.
        """

    def invariants(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Mapping[str, Any]:
        """Return what trajectories conserve, by name; arguments as in ``formula``."""
        return {}

    def config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the problem."""
        return dict(self._values)

    def field(self, t: Time, x: State, condition: Tensor | None = None) -> State:
        """Return b(t, x), ready to be used wherever a field is asked for.

        Args:
            t: time, a number or a tensor of shape () or (batch,).
            x: states (batch, dim).
            condition: parameters (batch, n_parameters) or None for the problem's own.

        Raises:
            ValueError: if x or condition has another shape.

        Example:
            >>> import torch, flowmaps as fm
            >>> growth = fm.problems.LogisticGrowth(rate=2.0)
            >>> growth.field(0.0, torch.tensor([[0.5]])).item()
            0.5
        """
        p = self._parameters(x, condition)
        formula = self.formula(operations("torch"), like_batch(t, x, "t"), x.unbind(1), p)
        return stack(formula, x)

    def conserved(self, t: Time, x: State, condition: Tensor | None = None) -> dict[str, Tensor]:
        """Return the values of the invariants, by name, each (batch,); arguments as in ``field``.

        Example:
            >>> import torch, flowmaps as fm
            >>> fm.problems.HarmonicOscillator().conserved(0.0, torch.tensor([[3.0, 4.0]]))
            {'energy': tensor([12.5000])}
        """
        p = self._parameters(x, condition)
        t = like_batch(t, x, "t")
        return dict(self.invariants(operations("torch"), t, x.unbind(1), p))

    def symbolic(self) -> Symbolic:
        """Return the field in SymPy's symbols.

        Example:
            >>> import flowmaps as fm
            >>> fm.problems.HarmonicOscillator().symbolic().field
            (velocity, -frequency**2*position)
        """
        return symbolic(self)

    def reference(self, s: Time, t: Time, x: State, condition: Tensor | None = None) -> State:
        """Return X_{s,t}(x) by scipy, DOP853 (Radau for stiff problems) at tolerances 1e-12.

        Each sample is solved on its own. Backwards, dissipative problems amplify every error.

        Args:
            s: time of x, a number or a tensor of shape () or (batch,).
            t: time of the result, likewise; before or after s.
            x: states (batch, dim).
            condition: parameters (batch, n_parameters) or None for the problem's own.

        Returns:
            States (batch, dim) in float64, detached, on x's device.

        Raises:
            ValueError: if a shape is wrong, a value not finite, or a time outside ``defined``.
            SolveError: if a solution cannot be followed that far.

        Example:
            >>> import torch, flowmaps as fm
            >>> growth = fm.problems.LogisticGrowth()
            >>> round(growth.reference(0.0, 1.0, torch.tensor([[0.5]])).item(), 10)  # 1 / (1 + 1/e)
            0.7310585786
        """
        self._parameters(x, condition)
        return trajectories(self, as_clock(s, x, "s"), as_clock(t, x, "t")[None], x, condition)[0]

    def reference_along(
        self, s: Time, times: Sequence[float] | Tensor, x: State, condition: Tensor | None = None
    ) -> States:
        """Return X_{s,t}(x) at several times t, computed like ``reference``.

        Args:
            s: time of x, a number or a tensor of shape () or (batch,).
            times: (n_times,) or, different for every sample, (n_times, batch); in any order.
            x: states (batch, dim).
            condition: parameters (batch, n_parameters) or None for the problem's own.

        Returns:
            States (n_times, batch, dim) in float64.

        Raises:
            ValueError, SolveError: as ``reference``.

        Example:
            >>> import torch, flowmaps as fm
            >>> fm.problems.Lorenz63().reference_along(0.0, [0.1, 0.2, 0.3], torch.ones(4, 3)).shape
            torch.Size([3, 4, 3])
        """
        self._parameters(x, condition)
        grid = torch.as_tensor(times, dtype=torch.float64, device=x.device)
        if grid.ndim == 1:
            grid = grid[:, None].expand(-1, x.shape[0])
        if grid.ndim != 2 or grid.shape[1] != x.shape[0]:
            raise ValueError(
                f"times must have shape (n_times,) or (n_times, {x.shape[0]}), "
                f"got {tuple(grid.shape)}"
            )
        return trajectories(self, as_clock(s, x, "s"), grid, x, condition)

    def variational_reference(
        self, s: Time, t: Time, x: State, condition: Tensor | None = None
    ) -> SquareMatrix:
        """Return the Jacobian DX_{s,t}(x) by the variational equation dJ/dt = Db(t, X) J.

        State and Jacobian, J = 1 at time s, are solved together, as in ``reference``; Db is SymPy's
        derivative of the formula, so that no automatic differentiation of torch enters.

        Args:
            s: time of x, a number or a tensor of shape () or (batch,).
            t: time of the result, likewise; before or after s.
            x: states (batch, dim).
            condition: parameters (batch, n_parameters) or None for the problem's own.

        Returns:
            Jacobians (batch, dim, dim) in float64.

        Raises:
            ValueError, SolveError: as ``reference``.

        Example:
            >>> import math, torch, flowmaps as fm
            >>> oscillator = fm.problems.HarmonicOscillator()
            >>> quarter = oscillator.variational_reference(0.0, math.pi / 2, torch.ones(1, 2))
            >>> quarter[0].round(decimals=9).abs().tolist()
            [[0.0, 1.0], [1.0, 0.0]]
        """
        self._parameters(x, condition)
        clocks = as_clock(s, x, "s"), as_clock(t, x, "t")[None]
        return trajectories(self, *clocks, x, condition, variational=True)[0]

    def flow_map(self, **solver_options: Any) -> FlowMap:
        """Return the flow map: closed form where known, else by a tight solve.

        Args:
            solver_options: of ``flowmaps.maps.SolverFlowMap``; tolerances are 1e-10 by default.

        Example:
            >>> import torch, flowmaps as fm
            >>> cycle = fm.problems.VanDerPol().flow_map(rtol=1e-6, atol=1e-6)
            >>> cycle(0.0, 1.0, torch.ones(2, 2)).shape
            torch.Size([2, 2])
        """
        tight = {"rtol": 1e-10, "atol": 1e-10, "times": TimeSet(*self.defined)}
        return SolverFlowMap(self.field, **{**tight, **solver_options})

    def _parameters(self, x: State, condition: Tensor | None) -> Parameters:
        """Check the shapes of x and condition and return the parameters of this call."""
        if check_state(x).ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(
                f"states of {self.name} must have shape (batch, {self.dim}), got {tuple(x.shape)}"
            )
        if condition is None:
            return Parameters(self._values, self._values.values())
        if not isinstance(condition, Tensor):
            raise TypeError(
                f"condition must be a tensor (batch, n_parameters), got {type(condition).__name__}"
            )
        expected = (x.shape[0], len(self._values))
        if condition.shape != expected:
            raise ValueError(
                f"condition of {self.name} must have shape {expected}, one column for each of "
                f"{list(self._values)}, got {tuple(condition.shape)}"
            )
        return Parameters(self._values, condition.unbind(1))


def _is_real(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    return is_number(value)


def like_batch(t: Time, x: State, name: str) -> Tensor:
    """Return a time as a tensor (batch,); a number in the dtype in which fields see time."""
    if not isinstance(t, Tensor):
        return time_like(as_clock(t, x, name), x)
    if t.shape not in ((), x.shape[:1]):
        raise ValueError(f"{name} must have shape () or ({x.shape[0]},), got {tuple(t.shape)}")
    return t.expand(x.shape[0])


def stack(components: Sequence[Any], x: State) -> State:
    """Return components, tensors of shape () or (batch,) or numbers, as a state like x."""
    batch = x.shape[:1]
    columns = [
        c.to(x.dtype).expand(batch) if isinstance(c, Tensor) else x.new_full(batch, c)
        for c in components
    ]
    return torch.stack(columns, dim=1)
