"""What the map of a recipe's run should be the flow map of, and where."""

from dataclasses import dataclass
from typing import Any

from flowmaps._typing import Field
from flowmaps.domains import Domain
from flowmaps.maps import FlowMap
from flowmaps.objectives import Composed, OnInterpolant
from flowmaps.problems import DampedPendulum
from flowmaps.testing import Interpolated

__all__ = ["Question", "of_generation", "of_pendulum"]

_HORIZON = 1.0
"""Seconds: four calls of the surrogate, one after the other."""


@dataclass(frozen=True)
class Question:
    """What a run's map is verified against where nothing else is asked.

    Args:
        field: that it should be the flow map of.
        named: the field, for readers.
        domain, times: where.
    """

    field: Field
    named: str
    domain: Domain
    times: tuple[float, float]


def of_pendulum(recipe: Any, flow_map: FlowMap) -> Question:
    """Ask of the pendulum over the set of bounded energy that it was trained on."""
    problem = DampedPendulum()
    return Question(problem.field, "the damped pendulum", problem.energy_set(), (0.0, _HORIZON))


def of_generation(recipe: Any, flow_map: FlowMap) -> Question:
    """Ask of a generative map whether it is the flow map of its own velocity, where data is."""
    objective = recipe.objective()
    assert isinstance(objective, Composed) and isinstance(objective.points, OnInterpolant)
    interpolant = objective.points.interpolant
    states = Interpolated(interpolant, recipe.source())
    return Question(flow_map.velocity, "the map's own velocity", states, interpolant.times)
