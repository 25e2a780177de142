"""Fields of other forms, and in other times and units."""

import math
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import as_numbers, brief, fit_event, is_number
from flowmaps._typing import Field
from flowmaps.fields._adapter import Adapter

__all__ = ["per_sample", "reversed_time", "scalar_time", "scaled"]


@final
class per_sample(Adapter):  # noqa: N801  (reads as the function that it is to its users)
    """Make a field from a function of one sample.

    Args:
        function: ``f(t, x)`` or ``f(t, x, condition)`` with t of shape (), x of shape (*event,),
            returning x's shape.

    Returns:
        The field on batches, by ``torch.func.vmap``: a module.

    Raises:
        TypeError: if function is not callable.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.per_sample(lambda t, x: t * x)
        >>> field(torch.tensor([1.0, 2.0]), torch.ones(2, 1)).tolist()
        [[1.0], [2.0]]
    """

    def __init__(self, function: Callable[..., Tensor]):
        super().__init__(function)
        self.function = function

    def forward(self, t: Tensor, x: Tensor, *condition: Any) -> Tensor:
        """Return the field's value (batch, *event) at times (batch,) and states (batch, *event)."""
        return _mapped(self.function, t, x, *condition)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"function": self.function}


def _mapped(function: Callable[..., Any], *arguments: Any) -> Any:
    if not len(arguments[0]):  # some operations fail under a vmap over nothing
        return pytree.tree_map(torch.zeros_like, arguments[1])
    axes = pytree.tree_map(lambda leaf: None if leaf is None else 0, arguments)
    return torch.func.vmap(function, in_dims=axes)(*arguments)


@final
class scalar_time(Adapter):  # noqa: N801
    """Make a field from a function written for one time and a batch, as torchdiffeq's are.

    Every sample is evaluated at its own time as a batch of one, by ``torch.func.vmap``.

    Args:
        function: ``f(t, x)`` or ``f(t, x, condition)`` with t of shape (), x of shape
            (batch, *event) or a pytree of such, which it then returns.

    Raises:
        TypeError: if function is not callable.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.scalar_time(lambda t, x: t * x)
        >>> field(torch.tensor([1.0, 2.0]), torch.ones(2, 1)).tolist()
        [[1.0], [2.0]]
    """

    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        self.function = function

    def forward(self, t: Tensor, x: Any, *condition: Any) -> Any:
        """Return the field's value (batch, *event) at times (batch,) and states (batch, *event)."""

        def single(t: Tensor, *arguments: Any) -> Any:
            batches = pytree.tree_map(lambda a: None if a is None else a[None], arguments)
            return pytree.tree_map(lambda a: a[0], self.function(t, *batches))

        return _mapped(single, t, x, *condition)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"function": self.function}


@final
class reversed_time(Adapter):  # noqa: N801
    """Return the field of y(t) = x(2 about - t): -b(2 about - t, y).

    Args:
        field: b.
        about: the time that stays where it is.

    Raises:
        TypeError, ValueError: if field is not callable, or about no finite number.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.reversed_time(lambda t, x: t[:, None] * x, about=1.0)
        >>> field(torch.zeros(1), torch.ones(1, 1)).item()
        -2.0
    """

    def __init__(self, field: Field, about: float = 0.0):
        super().__init__(field)
        if not is_number(about) or not math.isfinite(about):
            raise ValueError(f"about must be a finite time, got {brief(about)}")
        self.field, self.about = field, float(about)

    def forward(self, t: Tensor, x: Tensor, *condition: Any) -> Tensor:
        """Return -b(2 about - t, x)."""
        return -self.field(2 * self.about - t, x, *condition)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"field": self.field, "about": self.about}


@final
class scaled(Adapter):  # noqa: N801
    """Return the field in other units: with y = x / state and r = t / time, dy/dr.

    That is time / state b(time r, state y).

    Args:
        field: b.
        state: unit of the state, a number, a list or a tensor that broadcasts against the event;
            not zero.
        time: unit of time, positive.

    Raises:
        TypeError, ValueError: if field is not callable, or a unit is none.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.scaled(lambda t, x: -x, state=10.0, time=2.0)
        >>> field(torch.zeros(1), torch.ones(1, 1)).item()
        -2.0
    """

    unit: Tensor

    def __init__(
        self,
        field: Field,
        state: float | Sequence[float] | Tensor = 1.0,
        time: float = 1.0,
    ):
        super().__init__(field)
        if not is_number(time) or not 0 < time < math.inf:
            raise ValueError(f"the unit of time must be a positive number, got {brief(time)}")
        fixed = as_numbers(state, "the unit of the state")
        if not torch.isfinite(fixed).all() or (fixed == 0).any():
            raise ValueError(
                f"the unit of the state must be finite and not zero, got {brief(fixed.tolist())}"
            )
        self.field, self.time = field, float(time)
        if isinstance(state, nn.Parameter):  # a unit may be learned, or differentiated
            self.unit = state
        else:
            unit = state if isinstance(state, Tensor) else fixed
            self.register_buffer("unit", unit, persistent=False)

    def forward(self, t: Tensor, y: Tensor, *condition: Any) -> Tensor:
        """Return time / state b(time t, state y)."""
        size = fit_event(self.unit, y, "the unit of the state")
        return self.time / size * self.field(self.time * t, size * y, *condition)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"field": self.field, "state": self.unit.detach(), "time": self.time}
