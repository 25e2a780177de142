"""Everything that a step changes, and that a run needs to go on as if it had not stopped."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps.training._ema import Average
from flowmaps.training._target import Target

__all__ = ["TrainingState", "running_buffers"]


class TrainingState:
    """The weights and buffers of map and objective, the optimiser's memory, and the average.

    Args:
        learned: the map in training.
        objective: its parameters that ask for gradients, and its buffers, are part of the state; a
            frozen teacher is not.
        update: the optimiser over both.
        average: of the map's weights.
        target: the map that follows; None if there is none.
    """

    def __init__(
        self,
        learned: nn.Module,
        objective: nn.Module,
        update: torch.optim.Optimizer,
        average: Average,
        target: Target | None = None,
    ):
        self.learned, self.objective = learned, objective
        self.update, self.average, self.target = update, average, target
        self._of_objective = {
            name: weight for name, weight in objective.named_parameters() if weight.requires_grad
        }

    def capture(self) -> dict[str, Any]:
        """Return a copy of the state: nested dicts and lists of tensors and numbers."""
        learned = dict(self.learned.state_dict())
        buffers = running_buffers(self.learned, self.objective)
        state = {
            "learned": learned,
            "buffers": {k: v for k, v in buffers.items() if _own_name(k) not in learned},
            "objective": self._of_objective,
            "optimizer": self.update.state_dict(),
            "average": self.average.state_dict(),
        }
        if self.target is not None:
            state["target"] = self.target.state_dict()
        return _copied(state)

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Put a captured state back; raises ValueError if it is not one of such a run."""
        try:
            state = _copied(state)
            self.learned.load_state_dict(state["learned"])
            for name, weight in self._of_objective.items():
                weight.copy_(state["objective"][name])
            buffers = running_buffers(self.learned, self.objective)
            for name, value in state["buffers"].items():
                buffers[name].copy_(value)
            self.update.load_state_dict(state["optimizer"])
            self.average.load_state_dict(state["average"])
            if self.target is not None:
                self.target.load_state_dict(state["target"])
        except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"the checkpoint does not fit this map, objective and optimizer: {error}"
            ) from error


def running_buffers(learned: nn.Module, objective: nn.Module) -> dict[str, Tensor]:
    """Return every buffer that training may change, by name, as it is now.

    They are those of the map, the ones that a state_dict leaves out among them, and those of the
    objective but its frozen parts: a teacher does not change.
    """
    found = {f"learned.{name}": buffer for name, buffer in learned.named_buffers()}
    return found | dict(_unfrozen_buffers(objective, "objective"))


def _unfrozen_buffers(module: nn.Module, place: str) -> Iterator[tuple[str, Tensor]]:
    for name, buffer in module.named_buffers(recurse=False):
        yield f"{place}.{name}", buffer
    for name, part in module.named_children():
        weights = list(part.parameters())
        if not weights or any(weight.requires_grad for weight in weights):
            yield from _unfrozen_buffers(part, f"{place}.{name}")


def _own_name(name: str) -> str | None:
    return name.removeprefix("learned.") if name.startswith("learned.") else None


def _copied(tree: Any) -> Any:
    return pytree.tree_map(
        lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, tree
    )
