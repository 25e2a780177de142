"""Sets of states that a flow does not leave, for training maps that are to be composed."""

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowmaps._checks import as_count, brief, finite_samples, is_number
from flowmaps._typing import Condition, Field
from flowmaps.domains import Domain, Points
from flowmaps.errors import SolveError
from flowmaps.maps import FlowMap, SolverFlowMap
from flowmaps.objectives._sources import rows_of

__all__ = ["InvariantSet", "forward_invariant"]


@dataclass(frozen=True)
class InvariantSet:
    """What ``forward_invariant`` built, and how well a flow stays in it.

    Args:
        domain: the set: the given domain if the flow stays in that, else ``fm.domains.Points``, the
            given domain's draws and their images, with a radius.
        leaving: of states drawn anew from the given domain and followed for ``spans`` spans, the
            share outside the set, after the number of spans at which it is largest.
        leaving_before: share of states of the given domain that are outside it after one span.
        tolerance: the share of leaving that was allowed.
        rounds: how often images were added.
        span: time between a state and its image.
        spans: for how many spans states were followed when leaving was measured.
        lost: share of these states that were not finite at last, which counts as outside.

    Example:
        >>> import flowmaps as fm
        >>> box = fm.domains.Box([-1.0], [1.0])
        >>> found = fm.objectives.InvariantSet(box, 0.002, 0.001, 0.01, 0, span=0.25, spans=64)
        >>> print(found)  # doctest: +NORMALIZE_WHITESPACE
        0.10% of the states of the given domain are outside it after a span of 0.25, and at most
        0.20% when followed for 64 spans
    """

    domain: Domain
    leaving: float
    leaving_before: float
    tolerance: float
    rounds: int
    span: float
    spans: int
    lost: float = 0.0

    @property
    def reached(self) -> bool:
        """Whether leaving is within the tolerance."""
        return self.leaving <= self.tolerance

    def __str__(self) -> str:
        built = f" are outside {self.domain!r}" if self.rounds else ""
        lost = f", {self.lost:.2%} not finite" if self.lost else ""
        beyond = "" if self.reached else f", more than the {self.tolerance:.2%} allowed"
        return (
            f"{self.leaving_before:.2%} of the states of the given domain are outside it after a "
            f"span of {self.span:g}, and at most {self.leaving:.2%}{built} when followed for "
            f"{self.spans} spans{lost}{beyond}"
        )


def forward_invariant(
    flow_map: FlowMap | Field,
    domain: Domain,
    span: float,
    *,
    n: int = 4096,
    spans: int = 32,
    rounds: int = 8,
    tolerance: float = 0.01,
    generator: torch.Generator | None = None,
    start: float = 0.0,
    condition: Any = None,
) -> InvariantSet:
    """Return a set that holds a domain and that trajectories from the domain do not leave.

    A map of one span that is to be composed must be learned on such a set: elsewhere its images
    soon lie where it was not trained. For a field that is autonomous, or periodic with the span.

    The set consists of draws of the domain and those images of draws that came out of the set, one
    for each cell as small as the draws lie apart; a state is inside if it is as near to one of them
    as draws of the domain are to each other, all but half the tolerance of them. Each round follows
    n new states: for ``spans`` spans to collect what came out, for twice as many to measure what
    comes out of the set as it was. The share reported is therefore of states that did not build the
    set, and of times beyond those it was built for: a set that keeps growing is found out.
    States that are not finite are outside and never added; once they exceed the tolerance the
    search ends.

    The flow is only looked at after whole spans. Where the flow is periodic in a coordinate, as in
    an angle, give a flow map whose images are wrapped, or the set will grow by every turn.

    Args:
        flow_map: the flow map, or the field, which is then solved to a tolerance of 1e-6, in at
            most 1000 steps a span: for a stiff field give a flow map.
        domain: where initial states lie.
        span: positive time between a state and its image.
        n: states drawn in every round, and the initial size of the set. The more, the finer: the
            radius falls like n^(-1/d).
        spans: for how many spans states are followed while the set is built.
        rounds: how often images are added, at most.
        tolerance: allowed share of states outside, in (0, 1).
        generator: a CPU generator.
        start: time of the states.
        condition: None, or a set of conditions with ``.sample`` like a domain's; each state has its
            own along its trajectory.

    Returns:
        InvariantSet, whose ``str`` is a sentence; with a UserWarning if it is not ``reached``.

    Raises:
        TypeError: if flow_map is not callable, domain no Domain or a number none.
        ValueError: if a number is out of its range, or the domain's draws are all one point.

    Source:
        Dellnitz and Hohmann (1997), A subdivision algorithm for the computation of unstable
        manifolds and global attractors, Numer. Math. 75, 293-317: continuation by images of cells.

    Example:
        >>> import torch, flowmaps as fm
        >>> spiral = lambda t, x: x @ torch.tensor([[-0.1, -1.0], [4.0, -0.1]])
        >>> box = fm.domains.Box([-1.0, -1.0], [1.0, 1.0])
        >>> found = fm.objectives.forward_invariant(
        ...     spiral, box, 0.25, n=500, generator=torch.Generator().manual_seed(0)
        ... )
        >>> found.reached, found.leaving_before > 0.2, found.leaving <= 0.01
        (True, True, True)
        >>> source = fm.objectives.Domain(found.domain, (0.0, 0.25))
    """
    _check(domain, span, n, spans, rounds, tolerance, start, condition)
    follower = _Follower(
        _tolerant(flow_map), domain, condition, float(start), float(start + span), n, generator
    )
    found = _search(follower, spans, rounds, tolerance)
    if not found.reached:
        warnings.warn(
            f"no forward-invariant set was found in {found.rounds} rounds: {found}; the flow may "
            "leave every bounded set, else give more spans, rounds, points or a larger tolerance",
            stacklevel=2,
        )
    return found


def _search(follower: "_Follower", spans: int, rounds: int, tolerance: float) -> InvariantSet:
    """Add images round by round until the states that leave are few enough."""
    net = _Net(follower.draw()[0], tolerance)
    built, before = follower.domain, math.nan
    for spent in range(rounds + 1):
        enough = math.inf if spent == rounds else tolerance
        shares, lost, out = follower.follow(built, net, spans, enough)
        before = shares[0] if spent == 0 else before
        if max(shares) <= enough or lost > tolerance:  # what is lost no set can hold
            break
        built = net.grown(out)
    span = follower.end - follower.start
    return InvariantSet(built, max(shares), before, tolerance, spent, span, len(shares), lost)


class _Net:
    """Draws of a domain and states added to them, with the distance at which states are near.

    Args:
        draws: of the domain (n, d).
        tolerance: half of it is the share of draws that are not near another one.
    """

    def __init__(self, draws: Tensor, tolerance: float):
        from scipy.spatial import KDTree

        states = draws.cpu().unique(dim=0)
        if len(states) < 2:
            raise ValueError(
                "the domain's draws are all one point, which has no spread; give a larger domain"
            )
        self.scale = Points(states).scale
        places = self._places(states)
        distance = KDTree(places).query(places, k=2)[0][:, 1]
        radius = float(np.quantile(distance, 1 - tolerance / 2))
        # A cell's diagonal is the radius: a state in a cell with a point in it is near that point.
        self.cell = radius / math.sqrt(states.shape[1])
        self.points = Points(states, radius, self.scale)

    def grown(self, states: Tensor) -> Points:
        """Add states and return all the points."""
        together = torch.cat([self.points.data, states])
        self.points = Points(together, self.points.radius, self.scale)
        return self.points

    def thinned(self, states: Tensor) -> Tensor:
        """Return the first state of every cell, in their order."""
        cells = np.floor(self._places(states) / self.cell)
        first = np.unique(cells, axis=0, return_index=True)[1]
        return states[torch.from_numpy(np.sort(first))]

    def _places(self, states: Tensor) -> np.ndarray:
        return (states.double() / self.scale).numpy()


@dataclass(frozen=True)
class _Follower:
    """Draws states of a domain and follows them from span to span."""

    flow_map: FlowMap
    domain: Domain
    condition: Any
    start: float
    end: float
    n: int
    generator: torch.Generator | None

    def draw(self) -> tuple[Tensor, Condition]:
        """Return new states (n, d) and their condition, where the map's parameters are."""
        parameters = (p for p in self.flow_map.parameters() if p.is_floating_point())
        like = next(parameters, torch.empty(0, device="cpu"))
        options = {"generator": self.generator, "dtype": like.dtype}
        with torch.device("cpu"):  # where the generator is, whatever torch's default
            x = self.domain.sample(self.n, **options)
            condition = None if self.condition is None else self.condition.sample(self.n, **options)
        return x.to(like.device), None if condition is None else condition.to(like.device)

    def image(self, x: Tensor, condition: Condition) -> Tensor:
        """Return the states after a span, NaN where they are not finite."""
        alive = finite_samples(x)
        y = torch.full_like(x, math.nan)
        if bool(alive.any()):
            with torch.no_grad():
                y[alive] = self._carried(x[alive], rows_of(condition, alive))
        return torch.where(finite_samples(y)[:, None], y, math.nan)

    def _carried(self, x: Tensor, condition: Condition) -> Tensor:
        """Call the map; what a solver hidden in it cannot solve is NaN, found by halving."""
        try:
            return self.flow_map(self.start, self.end, x, condition)
        except SolveError:
            if len(x) == 1:
                return torch.full_like(x, math.nan)
            rows = torch.arange(len(x)).tensor_split(2)
            return torch.cat([self._carried(x[part], rows_of(condition, part)) for part in rows])

    def follow(
        self, built: Domain, net: _Net, spans: int, enough: float
    ) -> tuple[list[float], float, Tensor]:
        """Follow new states for twice ``spans``, or half of that once a share exceeds ``enough``.

        Returns:
            Shares outside of the set ``built`` after 1, 2, ... spans; the share not finite at last;
            states of the first half that are not near the net, thinned.
        """
        x, condition = self.draw()
        shares, far = [], x[:0].cpu()
        for k in range(1, 2 * spans + 1):
            x = self.image(x, condition)
            shares.append((~built.contains(x)).double().mean().item())
            if k <= spans:
                new = x[finite_samples(x)].cpu()
                far = net.thinned(torch.cat([far, new[~net.points.contains(new)]]))
            elif max(shares) > enough:
                break
        return shares, (~finite_samples(x)).double().mean().item(), far


def _tolerant(flow_map: FlowMap | Field) -> FlowMap:
    """Return a flow map whose solvers, its parts' among them, answer failure by NaN."""
    if isinstance(flow_map, SolverFlowMap):
        return SolverFlowMap(**{**flow_map.config(), "throw": False})
    if isinstance(flow_map, FlowMap):
        if not any(isinstance(part, SolverFlowMap) for part in flow_map.modules()):
            return flow_map
        own = copy.deepcopy(flow_map)
        for holder in list(own.modules()):
            for name, part in list(holder._modules.items()):  # one part may stand twice
                if isinstance(part, SolverFlowMap):
                    holder.register_module(name, _tolerant(part))
        return own
    if not callable(flow_map):
        raise TypeError(
            "flow_map must be a FlowMap or a field, a callable (t, x) or (t, x, condition), "
            f"got {brief(flow_map)}"
        )
    return SolverFlowMap(flow_map, throw=False, max_steps=1000)


def _check(
    domain: Any,
    span: Any,
    n: Any,
    spans: Any,
    rounds: Any,
    tolerance: Any,
    start: Any,
    condition: Any,
) -> None:
    """Raise TypeError or ValueError for arguments that cannot be meant."""
    if not isinstance(domain, Domain):
        raise TypeError(f"domain must be one of fm.domains such as Box, got {brief(domain)}")
    if condition is not None and not callable(getattr(condition, "sample", None)):
        raise TypeError(
            "condition must be a set with .sample(n, generator=, dtype=) such as fm.domains.Box, "
            f"got {brief(condition)}"
        )
    for name, value, least in (("n", n, 2), ("spans", spans, 1), ("rounds", rounds, 0)):
        as_count(value, name, least)
    for name, value, lower, upper in (
        ("span", span, 0.0, math.inf),
        ("tolerance", tolerance, 0.0, 1.0),
        ("start", start, -math.inf, math.inf),
    ):
        if not is_number(value) or not lower < value < upper:
            raise ValueError(
                f"{name} must be a number between {lower:g} and {upper:g}, got {brief(value)}"
            )
