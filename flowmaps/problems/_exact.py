"""Problems whose flow map is known in closed form."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from flowmaps._typing import State, Time
from flowmaps.maps import ExactFlowMap
from flowmaps.problems._operations import Operations, operations
from flowmaps.problems._problem import Problem, like_batch, stack

__all__ = ["ExactProblem"]


class ExactProblem(Problem):
    """A problem with a closed form; give ``name``, ``formula`` and ``solution``."""

    @abstractmethod
    def solution(self, m: Operations, s: Any, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return the dim components of X_{s,t}(x); arguments as in ``formula``."""

    def exact(self, s: Time, t: Time, x: State, condition: Tensor | None = None) -> State:
        """Return X_{s,t}(x) in closed form.

        Args:
            s: time of x, a number or a tensor of shape () or (batch,).
            t: time of the result, likewise; before or after s.
            x: states (batch, dim) at time s.
            condition: parameters (batch, n_parameters) or None for the problem's own.

        Raises:
            ValueError: if x or condition has another shape.

        Example:
            >>> import torch, flowmaps as fm
            >>> fm.problems.LogisticGrowth().exact(0.0, 100.0, torch.tensor([[0.5]])).item()
            1.0
        """
        p = self._parameters(x, condition)
        s, t = like_batch(s, x, "s"), like_batch(t, x, "t")
        return stack(self.solution(operations("torch"), s, t, x.unbind(1), p), x)

    def flow_map(self) -> ExactFlowMap:
        """Return the closed form as a flow map, with the field for its velocity.

        Example:
            >>> import torch, flowmaps as fm
            >>> turn = fm.problems.Rotation().flow_map()
            >>> turn(0.0, 1.0, torch.ones(5, 2)).shape
            torch.Size([5, 2])
        """
        return ExactFlowMap(self.exact, velocity=self.field)
