"""Everything that a step changes, and that a run needs to go on as if it had not stopped."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps.training._ema import Average

__all__ = ["TrainingState"]


class TrainingState:
    """The weights of map and objective, the optimiser's memory, and the average.

    Args:
        learned: the map in training.
        objective: its parameters that ask for gradients are part of the state; a frozen teacher is
            not.
        update: the optimiser over both.
        average: of the map's weights.
    """

    def __init__(
        self,
        learned: nn.Module,
        objective: nn.Module,
        update: torch.optim.Optimizer,
        average: Average,
    ):
        self.learned, self.update, self.average = learned, update, average
        self._of_objective = {
            name: weight for name, weight in objective.named_parameters() if weight.requires_grad
        }

    def capture(self) -> dict[str, Any]:
        """Return a copy of the state: nested dicts and lists of tensors and numbers."""
        state = {
            "learned": dict(self.learned.state_dict()),
            "objective": self._of_objective,
            "optimizer": self.update.state_dict(),
            "average": self.average.state_dict(),
        }
        return _copied(state)

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Put a captured state back; raises ValueError if it is not one of such a run."""
        state = _copied(state)
        try:
            self.learned.load_state_dict(state["learned"])
            for name, weight in self._of_objective.items():
                weight.copy_(state["objective"][name])
            self.update.load_state_dict(state["optimizer"])
            self.average.load_state_dict(state["average"])
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"the checkpoint does not fit this map, objective and optimizer: {error}"
            ) from error


def _copied(tree: Any) -> Any:
    return pytree.tree_map(
        lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, tree
    )
