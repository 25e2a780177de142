"""The log-density along a flow: the field of the state and of its log-determinant together."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from flowmaps._checks import as_count, brief, check_output, check_state, method_owner
from flowmaps._typing import Count, Field, State
from flowmaps.calculus._jvp import pushforward
from flowmaps.calculus._matrices import basis

__all__ = ["probes", "with_divergence"]


@final
class with_divergence(nn.Module):  # noqa: N801  (reads as the function that it is to its users)
    """Return the field of (x, log_det): d log|det DX| / dt is the divergence of b along the way.

    Solved from (x, 0) it gives X and log|det DX|, so that densities follow by
    log p_t(X(x)) = log p_s(x) - log|det DX(x)|.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``, with states x (batch, *event) of n components.
        method: ``"exact"``, n forward-mode derivatives an evaluation; ``"hutchinson"``, one a
            probe, unbiased. Then the field is called with the pair ``(condition, probes)`` for its
            condition, ``condition`` None if it has none and ``probes`` from ``calculus.probes``:
            every sample keeps its own all along a solve, whose field is then smooth.
        chunk_size: how many of the derivatives are held at a time; all by default.

    Returns:
        A field on pairs (x, log_det) with log_det (batch,): a module.

    Raises:
        TypeError, ValueError: if field is not callable, or there is no such method.

    Source:
        Chen, Rubanova, Bettencourt, Duvenaud (2018), Neural ordinary differential equations,
            arXiv:1806.07366, theorem 1. Probes that stay fixed in a solve: Grathwohl, Chen,
            Bettencourt, Sutskever, Duvenaud (2019), FFJORD, arXiv:1810.01367.

    Example:
        >>> import torch, flowmaps as fm
        >>> both = fm.calculus.with_divergence(lambda t, x: -2 * x)
        >>> start = torch.ones(1, 3), torch.zeros(1)
        >>> round(fm.solvers.solve(both, 0.0, 0.5, start).x[1].item(), 4)
        -3.0
    """

    def __init__(self, field: Field, method: str = "exact", chunk_size: int | None = None):
        super().__init__()
        if not callable(field):
            raise TypeError(f"field must be a callable b(t, x), got {brief(field)}")
        if method not in ("exact", "hutchinson"):
            raise ValueError(f'method must be "exact" or "hutchinson", got {method!r}')
        self.field, self.method, self.chunk_size = field, method, chunk_size
        # The parameters of a field that is a module's method are found here too.
        self._owner = method_owner(field)

    def forward(self, t: Tensor, state: Any, condition: Any = None) -> tuple[Tensor, Tensor]:
        """Return b(t, x) and its divergence (batch,) at times (batch,) and a state (x, log_det)."""
        x, _ = state
        if self.method == "exact":
            vectors = basis(x)
        else:
            condition, vectors = _pair(condition, x)
        extra = () if condition is None else (condition,)
        return _value_and_trace(lambda y: self.field(t, y, *extra), x, vectors, self)


def _pair(condition: Any, x: State) -> tuple[Any, Tensor]:
    """Return the field's own condition and the probes, (n_probes, batch, *event)."""
    if not isinstance(condition, tuple | list) or len(condition) != 2:
        raise TypeError(
            'with_divergence(..., method="hutchinson") takes the pair (condition, probes) for its '
            f"condition, with probes from flowmaps.calculus.probes(x), got {brief(condition)}"
        )
    own, given = condition
    wanted = (len(x), "n_probes", *x.shape[1:])
    fits = isinstance(given, Tensor) and given.ndim == x.ndim + 1
    if not fits or given.shape[:1] + given.shape[2:] != x.shape or not given.shape[1]:
        raise ValueError(f"probes must have shape {wanted}, got {brief(given)}")
    return own, given.movedim(1, 0).to(x.dtype)


def _value_and_trace(
    function: Callable[[Tensor], Tensor], x: State, vectors: Tensor, module: with_divergence
) -> tuple[Tensor, Tensor]:
    """Return the value at x and, as the sum or mean of v Db v, the divergence."""

    def along(v: Tensor) -> tuple[Tensor, Tensor]:
        value, change = pushforward(lambda y: check_output(function(y), y, "the field"), [x], [v])
        return value, (v * change).reshape(len(x), x.shape[1:].numel()).sum(1)

    if module.chunk_size is None and len(vectors):  # the value comes along with the derivatives
        once_and_each: Any = (None, 0)
        value, parts = torch.func.vmap(along, out_dims=once_and_each)(vectors)
    else:
        value = check_output(function(x), x, "the field")
        parts = torch.func.vmap(lambda v: along(v)[1], chunk_size=module.chunk_size)(vectors)
    return value, parts.sum(0) if module.method == "exact" else parts.mean(0)


def probes(
    x: Tensor,
    count: Count = 1,
    law: str = "rademacher",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw probes of Hutchinson's estimator for every sample, (batch, count, *event).

    Args:
        x: states (batch, *event).
        count: how many a sample.
        law: ``"rademacher"``, random signs, of the least variance among independent entries; or
            ``"normal"``.
        generator: source of the numbers, on x's device.

    Raises:
        TypeError, ValueError: for another law, or fewer than one probe.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.calculus.probes(torch.zeros(5, 2), 3).shape
        torch.Size([5, 3, 2])
    """
    x = check_state(x)
    shape = len(x), as_count(count, "count"), *x.shape[1:]
    if law == "rademacher":
        bits = torch.randint(0, 2, shape, generator=generator, device=x.device)
        return (2 * bits - 1).to(x.dtype)
    if law == "normal":
        return torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
    raise ValueError(f'law must be "rademacher" or "normal", got {law!r}')
