"""How the steps of a solve are chosen: method, controller, tolerances and bound in one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowmaps._typing import Clock
from flowmaps.solvers._bind import BoundField, Detached
from flowmaps.solvers._controllers import Controller
from flowmaps.solvers._method import Stepper
from flowmaps.solvers._problem import Problem

__all__ = ["ErrorControl"]


@dataclass(frozen=True)
class ErrorControl:
    """What holds for all of a solve, and for its way back.

    ``rtol`` and ``atol`` are in x's dtype, 0-d or broadcasting against a sample's event.
    ``modulus`` puts the modulus in the place of both parts of complex components, if there are any.
    """

    method: Stepper
    controller: Controller
    rtol: Tensor
    atol: Tensor
    max_steps: int
    modulus: Callable[[Tensor], Tensor] | None = None

    def problem(
        self, field: Detached | BoundField, s: Clock, t: Clock, differentiated: bool = False
    ) -> Problem:
        """Return the problem of one way, from s to t, with tolerances that the dtype can meet."""
        info = torch.finfo(self.rtol.dtype)
        rtol, atol = self.rtol.clamp_min(10 * info.eps), self.atol.clamp_min(info.tiny)
        bounds = rtol, atol, self.max_steps
        own = self.method, self.controller
        return Problem(field, *own, s, t, *bounds, differentiated, self.modulus)
