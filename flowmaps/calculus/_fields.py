"""Derivatives of a field: Jacobian, divergence, logarithmic norm."""

from collections.abc import Callable

import torch
from torch import Tensor

from flowmaps._checks import (
    as_clock,
    as_count,
    brief,
    check_condition,
    check_output,
    check_state,
    time_like,
)
from flowmaps._probing import probe_once
from flowmaps._typing import Condition, Count, Field, Time
from flowmaps.calculus._jvp import pushforward
from flowmaps.calculus._matrices import as_columns, at_least_single, basis

__all__ = ["divergence", "field_jacobian", "logarithmic_norm"]


def _directional(
    field: Field, t: Time, x: Tensor, condition: Condition, check_field: bool
) -> Callable[[Tensor], Tensor]:
    """Return the function v -> Db(t, x) v."""
    x = check_state(x)
    check_condition(condition, x)
    if not callable(field):
        raise TypeError(f"field must be a callable b(t, x), got {brief(field)}")
    clock = as_clock(t, x, "t")
    if check_field:
        probe_once(field, clock, clock, x, condition, noisy=True)
    time = time_like(clock, x)
    extra = () if condition is None else (condition,)

    def along(v: Tensor) -> Tensor:
        return pushforward(
            lambda x: check_output(field(time, x, *extra), x, "the field"), [x], [v]
        )[1]

    return along


def field_jacobian(
    field: Field,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    chunk_size: int | None = None,
    check_field: bool = True,
) -> Tensor:
    """Return Db(t, x) over the flattened event, shape (batch, n, n).

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        t: time, a number or a tensor of shape () or (batch,).
        x: states (batch, *event).
        condition: tensor or pytree with leading batch axis.
        chunk_size: how many of the n derivatives are held at a time; all by default.
        check_field: probe a new field, with one and with two samples, for treating every sample
            alone, without which its derivative in x is none of a sample's.

    Raises:
        TypeError, ValueError: for wrong shapes, dtypes, devices, or a field that is not per-sample.
        UnsupportedTransform: under ``torch.inference_mode``.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.calculus.field_jacobian(lambda t, x: x**2, 0.0, torch.full((1, 1), 3.0)).item()
        6.0
    """
    along = _directional(field, t, x, condition, check_field)
    return as_columns(torch.func.vmap(along, chunk_size=chunk_size)(basis(x)))


def divergence(
    field: Field,
    t: Time,
    x: Tensor,
    method: str = "exact",
    condition: Condition = None,
    probes: Count | Tensor = 1,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    check_field: bool = True,
) -> Tensor:
    """Return the divergence of b at (t, x), shape (batch,).

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        t: time, a number or a tensor of shape () or (batch,).
        x: states (batch, *event) with n components.
        method: ``"exact"``, n forward-mode derivatives; ``"hutchinson"``, unbiased, one derivative
            a probe.
        condition: tensor or pytree with leading batch axis.
        probes: Hutchinson only: their number, or the probes themselves, (n_probes, batch, *event)
            with independent entries of mean 0 and variance 1 (give them in compiled or vmapped
            code).
        generator: source of the random signs, on x's device.
        chunk_size: how many of the derivatives are held at a time; all by default, which for an
            image takes as much memory as n times the batch.
        check_field: as in field_jacobian.

    Raises:
        TypeError, ValueError: for another method, fewer than one probe, probes of another shape, or
            a field that is not per-sample.
        UnsupportedTransform: under ``torch.inference_mode``.

    Source:
        Hutchinson (1990), A stochastic estimator of the trace of the influence matrix.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.calculus.divergence(lambda t, x: x**2, 0.0, torch.tensor([[1.0, 2.0]])).item()
        6.0
    """
    if method not in ("exact", "hutchinson"):
        raise ValueError(f'method must be "exact" or "hutchinson", got {method!r}')
    along = _directional(field, t, x, condition, check_field)
    vectors = basis(x) if method == "exact" else _signs(x, probes, generator)
    quadratic = torch.func.vmap(lambda v: _total(v * along(v)), chunk_size=chunk_size)(vectors)
    return quadratic.sum(0) if method == "exact" else quadratic.mean(0)


def _total(a: Tensor) -> Tensor:
    return a.reshape(a.shape[0], a.shape[1:].numel()).sum(1)


def _signs(x: Tensor, probes: Count | Tensor, generator: torch.Generator | None) -> Tensor:
    if isinstance(probes, Tensor):
        if probes.shape[1:] != x.shape or not len(probes):
            raise ValueError(
                f"probes must have shape (n_probes, {', '.join(map(str, x.shape))}) with at least "
                f"one probe, got {tuple(probes.shape)}"
            )
        return probes.to(x)
    count = as_count(probes, "probes")
    bits = torch.randint(0, 2, (count, *x.shape), generator=generator, device=x.device)
    return (2 * bits - 1).to(x.dtype)


def logarithmic_norm(
    field: Field,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    norm: str = "2",
    weight: Tensor | None = None,
    chunk_size: int | None = None,
    check_field: bool = True,
) -> Tensor:
    """Return the logarithmic norm mu(Db(t, x)), shape (batch,).

    It is the largest rate at which close solutions part: with mu(A) = lim (||I + h A|| - 1) / h as
    h falls to 0, two solutions of dx/dt = b satisfy |x - y|(t) <= exp(int mu) |x - y|(s). Float32
    for states of half precision.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        t: time, a number or a tensor of shape () or (batch,).
        x: states (batch, *event) with n components.
        condition: tensor or pytree with leading batch axis.
        norm: ``"1"``, ``"2"`` or ``"inf"``.
        weight: invertible matrix W (n, n): the norm is |W x| instead of |x|.
        chunk_size, check_field: as in field_jacobian.

    Raises:
        TypeError, ValueError: for another norm, a weight of another type or shape, or a field that
            is not per-sample.
        torch.linalg.LinAlgError: for a weight that has no inverse.

    Source:
        Soderlind (2006), The logarithmic norm. History and modern theory, table 2.1.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.calculus.logarithmic_norm(lambda t, x: -2 * x, 0.0, torch.zeros(1, 2)).item()
        -2.0
    """
    if norm not in ("1", "2", "inf"):
        raise ValueError(f'norm must be "1", "2" or "inf", got {norm!r}')
    matrix = at_least_single(field_jacobian(field, t, x, condition, chunk_size, check_field))
    if weight is not None:
        weight = _fitting(weight, matrix)
        matrix = weight @ matrix @ torch.linalg.inv(weight)  # of linalg.solve see log_det
    if norm == "2":
        return torch.linalg.eigvalsh((matrix + matrix.mT) / 2)[:, -1]
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    off_diagonal = (matrix - torch.diag_embed(diagonal)).abs().sum(1 if norm == "1" else 2)
    return (diagonal + off_diagonal).amax(1)


def _fitting(weight: Tensor, matrix: Tensor) -> Tensor:
    if not isinstance(weight, Tensor):
        raise TypeError(f"weight must be a tensor, got {type(weight).__name__}")
    if weight.shape != matrix.shape[1:]:
        raise ValueError(
            f"weight must be a matrix {tuple(matrix.shape[1:])}, got shape {tuple(weight.shape)}"
        )
    return weight.to(matrix)
