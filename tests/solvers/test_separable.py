"""Symplectic methods refuse what is not separable, and take what is."""

from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm
from flowmaps.solvers import SemiImplicitEuler, StormerVerlet, Symplectic, Yoshida4, solve

METHODS: list[Symplectic] = [SemiImplicitEuler(), StormerVerlet(), Yoshida4()]
every_method = pytest.mark.parametrize("method", METHODS, ids=repr)
START = [[0.7, 0.1, 0.2, 1.3], [0.5, 0.0, 0.0, 0.0]]


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    q, p = x.chunk(2, dim=-1)
    return q, p


def swelling(t: Tensor, x: Tensor) -> Tensor:
    """Both halves of the Hamiltonian depend on time."""
    (q, p), growth = halves(x), torch.exp(0.5 * t)[:, None]
    return torch.cat([p / growth, -growth * torch.sin(q)], dim=-1)


def driven(t: Tensor, x: Tensor) -> Tensor:
    """The potential alone depends on time."""
    q, p = halves(x)
    return torch.cat([p, -torch.sin(q) + torch.cos(3 * t)[:, None]], dim=-1)


def planet(t: Tensor, x: Tensor) -> Tensor:
    q, p = halves(x)
    return torch.cat([p, -q / q.norm(dim=-1, keepdim=True) ** 3], dim=-1)


def charged(t: Tensor, x: Tensor) -> Tensor:
    """In a magnetic field dq/dt = p - A(q)."""
    (q, p), turn = halves(x), torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    return torch.cat([p - q @ turn, (p - q @ turn) @ turn.T], dim=-1)


def rubbed(t: Tensor, x: Tensor) -> Tensor:
    q, p = halves(x)
    return torch.cat([p, -torch.sin(q) - 0.1 * p], dim=-1)


def interleaved(t: Tensor, x: Tensor) -> Tensor:
    """Positions and momenta in turn: q1, p1, q2, p2."""
    a, c, b, d = x.unbind(-1)
    return torch.stack([c, -a, d, -b], dim=-1)


@every_method
@pytest.mark.parametrize(
    ("field", "rate", "other"),
    [(charged, "dq/dt", "q"), (rubbed, "dp/dt", "p"), (interleaved, "dq/dt", "q")],
)
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_what_is_not_separable_is_refused(method, field, rate, other, start, refused) -> None:
    name, x = type(method).__name__, torch.full((2, 4), start)
    message = f"{name} needs a separable .* but {rate} of this field depends on {other} too"
    act = lambda: solve(field, 0.0, 1.0, x, method=method, steps=2)  # noqa: E731
    refused(act, ValueError, message)
    refused(act, ValueError, message)  # not the first time alone
    flow = fm.maps.SolverFlowMap(field, method=method, steps=2)
    refused(lambda: flow(0.0, 1.0, x), ValueError, message)
    assert solve(field, 0.0, 1.0, x, method=method, steps=2, check_field=False).success.all()


def test_nested_pairs_are_refused_where_their_order_is_another() -> None:
    q, p = torch.randn(2, 2, 1)
    pairs = lambda t, z: tuple((p, -q) for q, p in z)  # noqa: E731
    with pytest.raises(ValueError, match="positions and then as many momenta"):
        solve(pairs, 0.0, 1.0, ((q, p), (q, p)), method=StormerVerlet(), steps=2)
    grouped = lambda t, z: (z[1], tuple(-q for q in z[0]))  # noqa: E731
    end = solve(grouped, 0.0, 1.0, ((q, 2 * q), (p, 2 * p)), method=StormerVerlet(), steps=9).x
    (a, b), (c, d) = end
    assert torch.allclose(b, 2 * a) and torch.allclose(d, 2 * c)


def test_drifts_that_depend_on_time_are_refused_where_they_leave_the_step(refused) -> None:
    x = torch.tensor([[1.0, 0.3]])
    message = r"Yoshida4\(\) asks for dq/dt at times outside .* take Yoshida4\(kinetic_time=True\)"
    act = lambda: solve(swelling, 0.0, 1.0, x, method=Yoshida4(), steps=2)  # noqa: E731
    refused(act, ValueError, message)
    assert solve(driven, 0.0, 1.0, x, method=Yoshida4(), steps=2).success.all()
    bad: Any = "yes"
    refused(lambda: Yoshida4(kinetic_time=bad), TypeError, "kinetic_time must be True or False")


@every_method
def test_separable_systems_pass_the_probe_in_every_precision(method) -> None:
    for field in (planet, driven):
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            start = torch.tensor(START, dtype=dtype)
            as_is = lambda t, x, field=field: field(t, x).to(x.dtype)  # noqa: E731
            assert solve(as_is, 0.0, 0.1, start, method=method, steps=1).success.all()
