"""Vector fields whose flow maps are known."""

from hypothesis import strategies as st

from flowmaps._checks import as_count, as_positive, brief
from flowmaps._typing import Count
from flowmaps.problems import (
    ExactProblem,
    GaussianInterpolant,
    HarmonicOscillator,
    LinearSystem,
    LogisticGrowth,
    Rotation,
    ScalarSeparable,
)
from flowmaps.testing.strategies._coordinates import diffeomorphisms
from flowmaps.testing.strategies._falling import Falling
from flowmaps.testing.strategies._known_flow import KnownFlow
from flowmaps.testing.strategies._matrices import matrices
from flowmaps.testing.strategies._numbers import as_strategy, numbers
from flowmaps.testing.strategies._times import times as one_time

__all__ = [
    "conjugated_flows",
    "flows",
    "gaussian_flows",
    "hamiltonian_flows",
    "linear_flows",
    "rotation_flows",
    "scalar_flows",
]

Window = tuple[float, float]


def linear_flows(
    dim: Count = 2, kind: str = "general", bound: float = 2.0, times: Window = (0.0, 1.0)
) -> st.SearchStrategy[KnownFlow]:
    """Return a strategy for dx/dt = A x, X_{s,t}(x) = exp((t - s) A) x.

    Args:
        dim: number of coordinates.
        kind, bound: of the matrix, as for ``matrices``.
        times: earliest and latest time.

    Raises:
        TypeError, ValueError: as ``matrices``, or if times are no interval.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> linear = fm.testing.strategies.linear_flows(dim=2)
        >>> hypothesis.find(linear, lambda flow: "1.0" in repr(flow.problem.config()))
        KnownFlow(LinearSystem(matrix=[[0.0, 0.0], [0.0, 1.0]]), times=(0.0, 1.0))
    """
    return _known(matrices(dim, kind, bound).map(LinearSystem), times)


def rotation_flows(bound: float = 2.0, times: Window = (0.0, 1.0)) -> st.SearchStrategy[KnownFlow]:
    """Return a strategy for rotations of the plane whose rate varies with time.

    Args:
        bound: largest mean rate and variation.
        times: earliest and latest time.

    Raises:
        TypeError, ValueError: if bound is not positive or times are no interval.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> hypothesis.find(fm.testing.strategies.rotation_flows(), lambda flow: True)
        KnownFlow(Rotation(rate=0.0, amplitude=0.0, frequency=1.0), times=(0.0, 1.0))
    """
    rates = numbers(-as_positive(bound, "bound"), bound)
    return _known(st.builds(Rotation, rates, rates, numbers(0.5, 3.0)), times)


def hamiltonian_flows(
    bound: float = 2.0, times: Window = (0.0, 1.0)
) -> st.SearchStrategy[KnownFlow]:
    """Return a strategy for separable Hamiltonian systems of one position and one momentum.

    Harmonic oscillators, and ``Falling``, which is not linear. Linear ones of more coordinates are
    ``linear_flows(dim, kind="Hamiltonian")``.

    Args:
        bound: largest frequency and coefficient.
        times: earliest and latest time.

    Raises:
        TypeError, ValueError: if bound is not positive or times are no interval.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> hypothesis.find(fm.testing.strategies.hamiltonian_flows(), lambda flow: True)
        KnownFlow(HarmonicOscillator(frequency=1.0), times=(0.0, 1.0))
    """
    top = as_positive(bound, "bound")
    any_size = numbers(-top, top)
    oscillators = st.builds(HarmonicOscillator, numbers(top / 8, top))
    return _known(oscillators | st.builds(Falling, any_size, any_size, any_size), times)


def scalar_flows(times: Window = (0.0, 1.0)) -> st.SearchStrategy[KnownFlow]:
    """Return a strategy for scalar equations with separable variables, which are not linear.

    Logistic growth on (0, 1), and dx/dt = rate cos(frequency t) (1 + x^2) on [-1, 1], from where
    solutions exist at all times.

    Args:
        times: earliest and latest time.

    Raises:
        TypeError, ValueError: if times are no interval.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> hypothesis.find(fm.testing.strategies.scalar_flows(), lambda flow: True)
        KnownFlow(LogisticGrowth(rate=0.0, capacity=1.0), times=(0.0, 1.0))
    """
    growth = st.builds(LogisticGrowth, numbers(-2.0, 2.0), numbers(1.0, 2.0))
    separable = st.builds(ScalarSeparable, numbers(-0.3, 0.3), numbers(1.0, 2.0))
    return _known(growth | separable, times)


def gaussian_flows(dim: Count = 2) -> st.SearchStrategy[KnownFlow]:
    """Return a strategy for probability flows of linear interpolants between Gaussians, on [0, 1].

    Args:
        dim: number of coordinates.

    Raises:
        TypeError, ValueError: if dim is no positive whole number.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> hypothesis.find(fm.testing.strategies.gaussian_flows(dim=1), lambda flow: True)
        KnownFlow(GaussianInterpolant(mean=[0.0], covariance=[[1.0]]), times=(0.0, 1.0))
    """
    d = as_count(dim, "dim")
    means = st.lists(numbers(-1.0, 1.0), min_size=d, max_size=d)
    laws = st.builds(GaussianInterpolant, means, matrices(d, "positive definite"))
    return _known(laws, (0.0, 1.0))


def conjugated_flows(inner: st.SearchStrategy[KnownFlow]) -> st.SearchStrategy[KnownFlow]:
    """Return a strategy for flows seen in other coordinates: phi o X_{s,t} o phi^{-1}.

    Args:
        inner: strategy for the flows.

    Raises:
        TypeError: if it is none.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> strategies = fm.testing.strategies
        >>> seen = strategies.conjugated_flows(strategies.rotation_flows())
        >>> len(hypothesis.find(seen, lambda flow: True).coordinates)
        1
    """
    as_strategy(inner, "inner")

    @st.composite
    def seen(draw: st.DrawFn) -> KnownFlow:
        flow = draw(inner)
        return flow.seen_by(draw(diffeomorphisms(flow.dim)))

    return seen()


def flows(dim: Count = 2, times: Window = (0.0, 1.0)) -> st.SearchStrategy[KnownFlow]:
    """Return a strategy for all flows of a dimension, linear ones first, plain and conjugated.

    Args:
        dim: number of coordinates.
        times: earliest and latest time; those of Gaussian interpolants lie in [0, 1].

    Raises:
        TypeError, ValueError: if dim is no positive whole number or times are no interval.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> hypothesis.find(fm.testing.strategies.flows(dim=3), lambda flow: flow.coordinates).dim
        3
    """
    d = as_count(dim, "dim")
    kinds = [linear_flows(d, times=times), gaussian_flows(d)]
    if d == 1:
        kinds.append(scalar_flows(times))
    if d == 2:
        kinds += [rotation_flows(times=times), hamiltonian_flows(times=times)]
    plain = st.one_of(kinds)
    return plain | conjugated_flows(plain)


def _known(
    problems: st.SearchStrategy[ExactProblem], times: Window
) -> st.SearchStrategy[KnownFlow]:
    if not isinstance(times, tuple | list) or len(times) != 2:
        raise TypeError(f"times must be a pair (earliest, latest), got {brief(times)}")
    one_time(*times)  # refuses what is no interval
    window = (float(times[0]), float(times[1]))
    return problems.map(lambda problem: KnownFlow(problem, window))
