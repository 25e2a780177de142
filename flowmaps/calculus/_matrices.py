"""Jacobian of a flow map in its state, and its log-determinant."""

import torch
from torch import Tensor

from flowmaps._checks import check_state
from flowmaps._typing import Condition, Time, Transport
from flowmaps.calculus._jvp import directional

__all__ = ["as_columns", "at_least_single", "basis", "jacobian", "log_det"]


def basis(x: Tensor) -> Tensor:
    """Return the unit vectors of the event, each for the whole batch: (n, batch, *event)."""
    event = x.shape[1:]
    n = event.numel()
    unit = torch.eye(n, dtype=x.dtype, device=x.device).reshape(n, 1, *event)
    return unit.expand(n, *x.shape)


def as_columns(columns: Tensor) -> Tensor:
    """Return derivatives along the unit vectors, (n, batch, *event), as matrices (batch, n, n)."""
    n, batch = columns.shape[:2]
    return columns.reshape(n, batch, n).permute(1, 2, 0)


def at_least_single(matrix: Tensor) -> Tensor:
    """Return a matrix of half precision in float32, for torch factorises none of less."""
    return matrix if matrix.dtype in (torch.float32, torch.float64) else matrix.float()


def jacobian(
    flow_map: Transport,
    s: Time,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Return DX_{s,t}(x) over the flattened event, (batch, n, n), by n forward-mode derivatives.

    Args:
        flow_map: a flow map or any callable ``(s, t, x[, condition])``.
        s, t: times, numbers or tensors of shape () or (batch,).
        x: states (batch, *event) with n = event.numel() components.
        condition: tensor or pytree with leading batch axis.
        chunk_size: how many of the n derivatives are held at a time; all by default.

    Returns:
        Entry [i, j, k] is the derivative of component j of X(x_i) in component k of x_i.

    Raises:
        TypeError, ValueError: for wrong shapes, dtypes, devices.
        UntrainedTimes: for number-valued times that the map is not for.
        UnsupportedTransform: under ``torch.inference_mode``.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.calculus.jacobian(lambda s, t, x: 2 * x, 0.0, 1.0, torch.zeros(1, 2)).tolist()
        [[[2.0, 0.0], [0.0, 2.0]]]
    """
    x = check_state(x)
    column = torch.func.vmap(
        lambda v: directional(flow_map, s, t, x, v, condition), chunk_size=chunk_size
    )
    return as_columns(column(basis(x)))


def log_det(
    flow_map: Transport,
    s: Time,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Return log |det DX_{s,t}(x)|, shape (batch,), float32 for states of half precision.

    Arguments as in jacobian.

    Raises:
        TypeError, ValueError, UntrainedTimes, UnsupportedTransform: as jacobian.

    Example:
        >>> import torch, flowmaps as fm
        >>> round(fm.calculus.log_det(lambda s, t, x: 2 * x, 0.0, 1.0, torch.zeros(1, 2)).item(), 5)
        1.38629
    """
    matrix = at_least_single(jacobian(flow_map, s, t, x, condition, chunk_size))
    # Derivatives of slogdet, as of linalg.solve, are silently wrong under one vmap inside another.
    factors = torch.linalg.lu_factor_ex(matrix)[0]
    return factors.diagonal(dim1=1, dim2=2).abs().log().sum(1)
