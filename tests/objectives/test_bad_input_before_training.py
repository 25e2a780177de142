"""Objectives refuse teachers, paths, sources and times that do not fit, before the first step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import flowmaps as fm

o = fm.objectives
NAME: Any = "snr"
NETWORK: Any = fm.networks.MLP(dim=1, width=4, depth=1)
BOX = fm.domains.Box([-1.0], [1.0])


def learned() -> fm.maps.NeuralFlowMap:
    return fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))


def short() -> fm.maps.NeuralFlowMap:
    return fm.maps.NeuralFlowMap(learned().network, times=fm.maps.TimeSet(0.0, 0.5))


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape)


class Cut(fm.interpolants.Interpolant):
    """The straight line on [1/10, 1], and what makes no path of it.

    Args:
        slope: of alpha, as it is said to be.
        said: (alpha, beta) at both ends, as they are said to be; None for as they are.
        interval: of the times.
    """

    def __init__(self, slope: float = -1.0, said: Any = None, interval: Any = (0.1, 1.0)):
        self.slope, self.said, self.interval = slope, said, interval

    times = property(lambda self: self.interval)  # type: ignore[assignment]

    @property
    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return super().ends if self.said is None else self.said

    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return 1 - t

    def beta(self, t: torch.Tensor) -> torch.Tensor:
        return t

    def alpha_derivative(self, t: torch.Tensor) -> torch.Tensor:
        return torch.full_like(t, self.slope)

    def beta_derivative(self, t: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(t)

    def config(self) -> dict[str, Any]:
        return {}


class Beyond(o.TimeLaw):
    """Times that leave the interval."""

    def sample(self, n: int, interval: Any, generator: Any = None, progress: float = 1.0) -> Any:
        s = torch.full((n,), interval[0], dtype=torch.float64)
        return s, s + 2 * (interval[1] - interval[0])

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        return 0


def fitted(learned: fm.maps.FlowMap, objective: o.Objective, source: Any) -> object:
    return fm.training.fit(learned, objective, source, steps=1, batch=16, progress=False)


def fitted_together(objective: o.Objective, source: Any) -> object:
    maps = [learned(), learned()]
    return fm.training.fit_together(maps, objective, source, steps=1, batch=16)


def by_hand(term: o.Term) -> o.Composed:
    return o.Composed(o.SortedPair(), o.AtStates(), [term])


CASES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    # ------------------------------------------------------------------- teachers
    "no teacher": (lambda: o.lmd(), TypeError, r"needs teacher=, .* use fm.objectives.lsd"),
    "no teacher for steps": (
        lambda: o.pfmm(),
        TypeError,
        r"got None; to learn without one use fm.objectives.psd_m",
    ),
    "a name for a teacher": (lambda: o.pfmm(teacher=NAME), TypeError, "be a field, .* got 'snr'"),
    "a class for a teacher": (
        lambda: o.emd(teacher=fm.problems.DampedPendulum),
        TypeError,
        r"an instance, got the class DampedPendulum; call it .* as DampedPendulum\(\.\.\.\)",
    ),
    "a path for a teacher": (
        lambda: o.ayf_emd(teacher=fm.interpolants.Linear()),  # type: ignore[arg-type]
        TypeError,
        "must be a field or a flow map, got the interpolant",
    ),
    "a path's class": (
        lambda: o.scm(teacher=fm.interpolants.Linear),  # type: ignore[arg-type]
        TypeError,
        "must be an instance, got the class Linear",
    ),
    "a field of the state alone": (
        lambda: o.lmd(teacher=lambda x: x),  # type: ignore[arg-type]
        TypeError,
        r"called as a field, \(t, x\) or \(t, x, condition\), and takes \(x\); wrap it",
    ),
    "a layer for a teacher": (
        lambda: o.ctm(teacher=torch.nn.Linear(1, 1)),
        TypeError,
        r"as a field, .* and takes \(input",
    ),
    "a field of four": (
        lambda: o.lmd(teacher=lambda t, x, y, z: x),  # type: ignore[arg-type]
        TypeError,
        r"and takes \(t, x, y, z\)",
    ),
    "a network for a teacher": (
        lambda: o.lmd(teacher=NETWORK),
        TypeError,
        r"takes two times, \(s: .* of a network fm.maps.NeuralFlowMap\(network\)",
    ),
    "a formula of two times": (
        lambda: o.progressive_distillation(teacher=lambda s, t, x: x),
        TypeError,
        r"takes two times, \(s, t, x\); .* fm.maps.ExactFlowMap\(function\)",
    ),
    "a flow map for a term's teacher": (
        lambda: o.Term("a", o.principles.lagrangian, learned()),  # type: ignore[arg-type]
        TypeError,
        r"called as teacher\(learned, draw\), .* or Known\(field\), got NeuralFlowMap",
    ),
    # ------------------------------------------------------------------- paths
    "a path that misses the ends it declares": (
        lambda: o.lsd(Cut(said=((1.0, 0.0), (0.0, 1.0)))),
        ValueError,
        "misses its end at time 0.1: alpha and beta are 0.9 and 0.1, declared 1 and 0",
    ),
    "a path of another slope": (
        lambda: o.mean_flow(Cut(slope=1.0)),
        ValueError,
        "alpha_derivative is not the derivative of alpha: .* it is 1, by differences -1",
    ),
    "a path of infinite slope": (
        lambda: fm.interpolants.FromCoefficients(lambda t: 1 - t, torch.sqrt),
        ValueError,
        "beta_derivative must be finite, and is not at time 0; clip the interval",
    ),
    "a path that mixes times": (
        lambda: fm.interpolants.FromCoefficients(lambda t: 1 - t / t.max(), lambda t: t),
        ValueError,
        "alpha must be a function of each time alone",
    ),
    "a path without an interval": (
        lambda: o.lsd(Cut(interval=1.0)),
        TypeError,
        "times must be two numbers, lower and upper end, got 1.0",
    ),
    "a path backwards": (lambda: o.lsd(Cut(interval=(1.0, 0.0))), ValueError, "and increase"),
    "ends of another form": (
        lambda: fm.interpolants.FromCoefficients(
            lambda t: 1 - t,
            lambda t: t,
            ends=(1.0, 0.0),  # type: ignore[arg-type]
        ),
        TypeError,
        r"ends must be \(alpha, beta\) at the lower and at the upper end",
    ),
    "a clock of another shape": (
        lambda: fm.interpolants.Retimed(fm.interpolants.Linear(), lambda t: t.mean()),
        TypeError,
        "tau must return a tensor of the times' shape",
    ),
    # ------------------------------------------------------------------- sources
    "no source": (
        lambda: o.lsd().draw(None, batch=2),
        TypeError,
        r"draws points from fm.objectives.Pairs\(x0, x1\), got NoneType",
    ),
    "no source to fit": (
        lambda: fitted(learned(), o.mean_flow(), None),
        TypeError,
        r"fm.objectives.Pairs\(x0, x1\), got NoneType",
    ),
    "no source to fit together": (
        lambda: fitted_together(o.lsd(), None),
        TypeError,
        r"fm.objectives.Pairs\(x0, x1\), got NoneType",
    ),
    "a domain to fit": (
        lambda: fitted(learned(), o.ect(), o.Domain(BOX, (0.0, 1.0))),
        TypeError,
        r"fm.objectives.Pairs\(x0, x1\), got Domain",
    ),
    "data for records": (
        lambda: fitted(learned(), o.trajectory_matching(), o.Pairs(None, zeros(8, 1))),
        TypeError,
        r"fm.objectives.Trajectories\(times, states\), got Pairs",
    ),
    "no data for a loss": (
        lambda: o.lsd().loss(learned(), None, None),  # type: ignore[arg-type]
        TypeError,
        r"x1 must be a torch tensor of shape \(batch, \*event\), got NoneType",
    ),
    "a draw without velocity": (
        lambda: fitted(
            learned(),
            by_hand(o.Term("a", o.principles.tangent, o.teachers.data)),
            o.Domain(BOX, (0.0, 1.0)),
        ),
        ValueError,
        "the term 'a' asks the draw for its velocity, .* from Pairs with an interpolant",
    ),
    "a draw without middle times": (
        lambda: fitted(
            learned(),
            by_hand(o.Term("a", o.principles.semigroup, o.teachers.own)),
            o.Domain(BOX, (0.0, 1.0)),
        ),
        ValueError,
        "the term 'a' asks the draw for middle times u, .* middles=",
    ),
    "a draw without records": (
        lambda: fitted(
            learned(),
            by_hand(o.Term("a", o.principles.recorded, o.teachers.own)),
            o.Domain(BOX, (0.0, 1.0)),
        ),
        ValueError,
        "asks the draw for recorded states, .* from Trajectories",
    ),
    # ------------------------------------------------------------------- times
    "a limit that is a number": (
        lambda: o.lsd(limit=0.5),  # type: ignore[arg-type]
        TypeError,
        r"limit must be a function of progress such as GrowingSpan\(\), .* lambda progress: 0.5",
    ),
    "a limit that leaves the interval": (
        lambda: o.fmm(limit=lambda progress: 1.5 * progress + 0.1),
        ValueError,
        r"limit of spans must be in \(0, 1\], got 1.6 at progress 1",
    ),
    "a span by name": (lambda: o.GrowingSpan(start=NAME), TypeError, "start must be a number"),
    "a share by name": (lambda: o.lsd(diagonal=NAME), TypeError, "must be a number, got 'snr'"),
    "a marginal by name": (
        lambda: o.mean_flow(marginal=NAME),
        TypeError,
        r"marginal must be an fm.objectives.Marginal such as LogitNormal\(\), got 'snr'",
    ),
    "no nodes at last": (
        lambda: o.Nodes(lambda progress: round(4 * (1 - progress))),
        ValueError,
        "count must be a whole number of at least 1, got 0",
    ),
    "a law that leaves the interval": (
        lambda: o.Composed(Beyond(), o.AtStates(), [*o.lsd().terms]).draw(
            o.Domain(BOX, (0.0, 1.0)), batch=2
        ),
        ValueError,
        r"law of times Beyond drew s = 0, t = 2, outside the interval \[0, 1\]",
    ),
    "points for times": (
        lambda: o.Composed(o.AtStates(), o.AtStates(), [*o.lsd().terms]),  # type: ignore[arg-type]
        TypeError,
        "times must be of fm.objectives.TimeLaw",
    ),
    "a path beyond the map's times": (
        lambda: fitted(short(), o.lsd(Cut()), o.Pairs(None, zeros(64, 1))),
        fm.errors.UntrainedTimes,
        r"is for times in \[0, 0.5\], .* here s from 0\.\d+ to 0\.\d+ and t from 0\.\d+ to 0\.\d+",
    ),
    "an end beyond the map's times": (
        lambda: o.scm().loss(short(), None, zeros(8, 1)),
        fm.errors.UntrainedTimes,
        r"is for times in \[0, 0.5\], .* and t from 1 to 1",
    ),
    "a domain beyond the map's times": (
        lambda: fitted(learned(), o.lagrangian_residual(lambda t, x: x), o.Domain(BOX, (0.0, 3.0))),
        fm.errors.UntrainedTimes,
        r"is for times in \[0, 1\], s <= t only",
    ),
    "no way back": (
        lambda: o.fmm().loss(learned(), None, zeros(8, 1)),
        fm.errors.UntrainedTimes,
        r"s <= t only, but the term 'returning' goes .* times=TimeSet\(0, 1\), both directions",
    ),
    "no way back, found before flow matching": (
        lambda: fitted(learned(), o.fmm(pretrain=0.9), o.Pairs(None, zeros(64, 1))),
        fm.errors.UntrainedTimes,
        "but the term 'returning' goes from s to t and back",
    ),
    "a teacher's velocity beyond its times": (
        lambda: o.lmd(teacher=short()).loss(learned(), None, zeros(64, 1)),
        fm.errors.UntrainedTimes,
        r"the teacher of the term 'lagrangian': this flow map is for times in \[0, 0.5\]",
    ),
    "a teacher's steps beyond its spans": (
        lambda: o.pfmm(
            teacher=fm.maps.NeuralFlowMap(
                learned().network, times=fm.maps.TimeSet(0.0, 1.0, max_span=0.1)
            ),
            count=2,
        ).loss(learned(), None, zeros(64, 1)),
        fm.errors.UntrainedTimes,
        r"the teacher of the term 'chain': .* spans up to 0.1, not for",
    ),
    "spans that are too long at last": (
        lambda: fitted(
            fm.maps.NeuralFlowMap(learned().network, times=fm.maps.TimeSet(0.0, 1.0, max_span=0.2)),
            o.lmd(teacher=lambda t, x: x, limit=o.GrowingSpan(0.1)),
            o.Pairs(None, zeros(64, 1)),
        ),
        fm.errors.UntrainedTimes,
        "spans up to 0.2, not for the times of samples",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused(case: str) -> None:
    act, error, message = CASES[case]
    with pytest.raises(error, match=message):
        act()


def test_what_can_be_used_is_not_refused() -> None:
    """A path on part of the interval, fields of every signature, a map for both directions."""
    both = fm.maps.NeuralFlowMap(learned().network, times=fm.maps.TimeSet(0.0, 1.0))
    assert o.fmm(Cut()).loss(both, None, zeros(8, 1)).total.isfinite()
    fields: list[Any] = [
        lambda t, x: x,
        lambda t, x, condition: x,
        lambda t, x, condition=None: x,
        lambda *given: given[1],
        torch.mul,
        fm.problems.DampedPendulum().field,
        learned(),
    ]
    for field in fields:
        o.lmd(teacher=field), o.pfmm(teacher=field)
