"""A mutant: a map that is wrong in a known way, at a known share of the points."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from flowmaps._typing import State, Transport
from flowmaps.domains import Box, Domain
from flowmaps.problems import ExactProblem, get
from flowmaps.testing._report import VerificationReport

__all__ = ["Mutant", "Truth", "wide"]


@final
@dataclass(frozen=True)
class Truth:
    """What a mutant is made from: the exact flow map, the field and what points are drawn from.

    Args:
        problem: with a closed form.
        conditioned: whether every sample has parameters of its own, as its condition.
    """

    problem: ExactProblem
    conditioned: bool

    def __call__(self, s: Tensor, t: Tensor, x: State, *condition: Any) -> State:
        """Return X_{s,t}(x); s and t (batch,), x (batch, dim)."""
        return self.problem.exact(s, t, x, *condition)

    def field(self, t: Tensor, x: State, *condition: Any) -> State:
        """Return b(t, x); t (batch,), x (batch, dim)."""
        return self.problem.field(t, x, *condition)

    @property
    def times(self) -> tuple[float, float]:
        """Earliest and latest time."""
        return self.problem.times

    @property
    def domain(self) -> Domain:
        """Where states are drawn from."""
        return self.problem.domain

    @property
    def conditions(self) -> Box | None:
        """Where conditions are drawn from, if there are some."""
        return self.problem.parameter_domain if self.conditioned else None


@final
@dataclass(frozen=True)
class Mutant:
    """A wrong map of one problem, and what is known of it before it is verified.

    Args:
        name: unique.
        problem: of ``flowmaps.problems``, with a closed form.
        description: what is wrong, in a few words.
        change: makes the wrong map from the truth; a new one each time, for some remember calls.
        share: of the points (s, t, x[, condition]) of the sample at which values or derivatives
            are wrong; where the fault is one of calls and not of points, of these.
        seen_by: properties that must see it, each of them alone enough.
        conditioned: whether every sample has parameters of its own.

    Example:
        >>> import flowmaps as fm
        >>> mutant = fm.testing.mutants.get("ignores the start")
        >>> mutant.share, mutant.verify(points=64).verdict
        (1.0, 'not a flow')
    """

    name: str
    problem: str
    description: str
    change: Callable[[Truth], Transport]
    share: float
    seen_by: tuple[str, ...]
    conditioned: bool = False

    @property
    def truth(self) -> Truth:
        """The exact flow map and the field."""
        problem = get(self.problem)
        assert isinstance(problem, ExactProblem)
        return Truth(problem, self.conditioned)

    def flow_map(self) -> Transport:
        """Return the wrong map, made anew: ``X(s, t, x)`` or ``X(s, t, x, condition)``."""
        return self.change(self.truth)

    def verify(self, **options: Any) -> VerificationReport:
        """Verify the wrong map against the true field.

        Args:
            options: of ``flowmaps.testing.verify``.
        """
        from flowmaps.testing._verify import verify

        truth = self.truth
        return verify(
            self.flow_map(),
            truth.field,
            truth.domain,
            truth.times,
            truth.conditions,
            **options,
        )


def wide(a: Tensor) -> Tensor:
    """Return numbers (batch,) as a column that multiplies states (batch, dim)."""
    return a[:, None]
