"""What an objective is: a draw, and a loss on it."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from flowmaps._typing import Condition
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._learned import (
    check_learned,
    require_times,
    warn_of_lost_digits,
)
from flowmaps.objectives._loss import Loss
from flowmaps.objectives._sources import Pairs
from flowmaps.objectives.teachers import Known

__all__ = ["Objective"]


class Objective(nn.Module, ABC):
    """A loss whose minimiser over flow maps is the flow map sought.

    Drawing is separate from evaluating: ``draw`` makes everything random, ``forward`` is a
    deterministic function of (map, draw) that may be compiled and differentiated.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.lsd()
        >>> pairs = fm.objectives.Pairs(None, torch.randn(100, 2))
        >>> draw = objective.draw(pairs, batch=8, generator=torch.Generator().manual_seed(0))
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=16, depth=2))
        >>> objective.check(draw, learned)
        >>> objective(learned, draw).total.item() > 0
        True
    """

    @abstractmethod
    def draw(
        self,
        source: Any,
        *,
        batch: int | None = None,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> Draw:
        """Return a batch of times, points and data.

        Args:
            source: where data or points come from: ``Pairs``, ``Domain`` or ``Trajectories``,
                whichever the objective names.
            batch: number of rows; None for every pair or trajectory once.
            generator: a CPU generator; None for torch's global one.
            progress: fraction of training done, in [0, 1], for laws that change with it; 1 for the
                objective as it is at the end of training, pre-training and growing spans behind it.

        Raises:
            TypeError: if the source is of another kind.
            ValueError: for no rows, or a progress outside [0, 1].
        """

    @abstractmethod
    def forward(self, learned: FlowMap, draw: Draw, target: FlowMap | None = None) -> Loss:
        """Return the loss of the learned map on a draw.

        Args:
            learned: the map being trained.
            draw: what ``draw`` returned.
            target: the map that supplies self-made velocities; None for the learned map itself, as
                it is now.
        """

    def check(self, draw: Draw, learned: FlowMap | None = None) -> None:
        """Refuse what a compiled loss could not: once, before training, on the host.

        Args:
            draw: what ``draw`` returned.
            learned: the map to be trained, if that is to be checked too.

        Raises:
            UntrainedTimes: if the learned map is not for the times of the draw, or for one
                direction alone where a term goes there and back.
            ValueError: for a known field that does not treat every sample alone, a draw without
                what a term needs, or a term's weight that is negative at a time drawn.

        Warns:
            UserWarning: if the draw's states have fewer digits than the map.
        """
        for part in self.modules():
            if isinstance(part, Known):
                part.check(draw)
        if learned is not None:
            require_times(learned, draw)
            warn_of_lost_digits(learned, draw)

    def loss(
        self,
        learned: FlowMap,
        x0: Tensor | None,
        x1: Tensor,
        condition: Condition = None,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> Loss:
        """Return the loss on every given pair once, at times drawn here.

        Args:
            learned: the map being trained.
            x0, x1: base and data samples (batch, *event); x0 None for standard normal noise.
            condition: tensor or pytree with leading batch axis.
            generator: a CPU generator.
            progress: fraction of training done, as in draw.

        Raises:
            TypeError: if learned is no flow map, or it or a part of it is compiled.
            UntrainedTimes: if the map is not for the times drawn.
            ValueError: for pairs or a condition that do not fit, or what ``check`` refuses.
        """
        drawn = self.draw(Pairs(x0, x1, condition), generator=generator, progress=progress)
        check_learned(learned)
        self.check(drawn, learned)
        return self(learned, drawn)
