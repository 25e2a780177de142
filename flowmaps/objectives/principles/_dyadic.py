"""The semigroup principle of shortcut models."""

from typing import final

import torch
from torch import Tensor

from flowmaps._checks import as_positive, per_sample
from flowmaps._typing import Field
from flowmaps.maps import FlowMap, NeuralFlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._routing import constant
from flowmaps.objectives.principles._shared import at, mean_velocity
from flowmaps.objectives.teachers import as_map

__all__ = ["Shortcut"]


@final
class Shortcut:
    """(v_{s,u} + v_{u,t}(x + (u - s) v_{s,u})) / 2 - v_{s,t} at the midpoint u, stopped.

    Steps shorter than the finest span of the grid are Euler steps of the velocity v_{s,s}, which
    flow matching trains: where the recursion starts. That is its bias, of the order of the finest
    span. Its only routing is "target".

    Args:
        finest: the shortest span that is trained, in units of time.

    Raises:
        TypeError, ValueError: for a span that is not positive; at a call, TypeError for maps that
            are not ``NeuralFlowMap``.

    Source:
        Frans et al. (2024), arXiv:2410.12557, equation 4 and section 3.2.

    Example:
        >>> import torch, flowmaps as fm
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), torch.zeros(1, 1))
        >>> shortcut = fm.objectives.principles.Shortcut(finest=1 / 128)
        >>> shortcut(learned, learned, draw, "target").shape
        torch.Size([1, 1])
    """

    routings = ("target",)

    def __init__(self, finest: float):
        self.finest = as_positive(finest, "finest")

    def __call__(
        self, learned: FlowMap, teacher: Field | FlowMap, draw: Draw, routing: str
    ) -> Tensor:
        """Return the residual (rows, *event)."""
        by = as_map(teacher)
        if not (isinstance(learned, NeuralFlowMap) and isinstance(by, NeuralFlowMap)):
            raise TypeError(
                "a shortcut compares mean velocities of an fm.maps.NeuralFlowMap, got "
                f"{type(learned).__name__} and {type(by).__name__}; for other maps take psd_m"
            )
        s, t, x, condition = at(draw)
        u = torch.lerp(s, t, 0.5)
        # a millionth: halves of spans on the grid are compared with its finest, up to rounding
        euler = (u - s).abs() < self.finest * (1 - 1e-6)

        def known() -> Tensor:
            first = by.mean_velocity(s, torch.where(euler, s, u), x, condition)
            middle = x + per_sample(u - s, x) * first
            second = by.mean_velocity(u, torch.where(euler, u, t), middle, condition)
            return (first + second) / 2

        return constant(known) - mean_velocity(learned, draw)
