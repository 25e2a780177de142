"""Jacobians and determinants of maps, Jacobians, divergences and logarithmic norms of fields."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

C = fm.calculus


def flow(s: Tensor, t: Tensor, x: Tensor, c: Tensor | None = None) -> Tensor:
    """Coupled and nonlinear, for any event shape."""
    flat = x.reshape(len(x), x.shape[1:].numel())
    speed = (t - s)[:, None] * (1.0 if c is None else c)
    moved = flat + speed * torch.sin(flat.roll(1, 1)) * flat
    return moved.reshape(x.shape)


def field(t: Tensor, x: Tensor, c: Tensor | None = None) -> Tensor:
    return flow(torch.zeros_like(t), t, x, c)


EVENTS = [(), (1,), (3,), (2, 1, 2)]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("conditional", [True, False])
def test_jacobians_against_differences(
    event: tuple[int, ...], batch: int, conditional: bool, default_dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *event, generator=generator)
    c = (torch.full((batch, 1), 0.7),) if conditional else ()
    n = x.shape[1:].numel()
    s, t = torch.full((batch,), 0.2), torch.full((batch,), 0.9)
    matrix, of_field = C.jacobian(flow, s, t, x, *c), C.field_jacobian(field, t, x, *c)
    assert matrix.shape == of_field.shape == (batch, n, n)
    assert matrix.dtype == of_field.dtype == default_dtype
    wide, c64 = x.double(), tuple(a.double() for a in c)
    for k in range(n):
        unit = torch.zeros(n, dtype=torch.float64)
        unit[k] = 1e-5
        step = unit.reshape(event)
        for got, function in (
            (matrix, lambda x: flow(s.double(), t.double(), x, *c64)),
            (of_field, lambda x: field(t.double(), x, *c64)),
        ):
            column = (function(wide + step) - function(wide - step)) / 2e-5
            loose = 1e-8 if default_dtype == torch.float64 else 1e-5
            torch.testing.assert_close(
                got[:, :, k].double(), column.reshape(batch, n), rtol=loose, atol=loose
            )
    torch.testing.assert_close(C.log_det(flow, s, t, x, *c), torch.linalg.slogdet(matrix)[1])
    trace = of_field.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(C.divergence(field, t, x, condition=c[0] if c else None), trace)


def test_derivatives_of_the_determinant_under_one_vmap_inside_another() -> None:
    """Where torch's own slogdet and solve are silently wrong; here against single calls."""
    x = torch.tensor([[0.3, -0.8, 1.2], [1.0, 0.5, -0.1]])

    def single(x: Tensor) -> Tensor:
        return C.log_det(flow, 0.1, 0.7, x[None])[0]

    def gradient(x: Tensor) -> Tensor:
        columns = torch.func.vmap(lambda v: torch.func.jvp(single, (x,), (v,))[1])
        return columns(torch.eye(3))

    def difference(x: Tensor) -> Tensor:
        h = 1e-5 * torch.eye(3)
        return torch.stack([(single(x + e) - single(x - e)) / 2e-5 for e in h])

    expected = torch.stack([difference(row) for row in x])
    torch.testing.assert_close(torch.func.vmap(gradient)(x), expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(single))(x), expected)
    second = torch.func.vmap(torch.func.hessian(single))(x)
    alone = torch.stack([torch.func.jacrev(torch.func.grad(single))(row) for row in x])
    torch.testing.assert_close(second, alone)


def test_a_map_without_inverse_has_determinant_zero() -> None:
    def collapse(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x.sum(1, keepdim=True).expand_as(x) * 1.0

    assert C.log_det(collapse, 0.0, 1.0, torch.ones(2, 2)).tolist() == [-torch.inf] * 2


# ---------------------------------------------------------------------------- divergence


def test_hutchinson_is_exact_where_signs_tell_all() -> None:
    """For a diagonal Jacobian every draw of signs is right."""
    x = torch.randn(4, 3)
    estimate = C.divergence(lambda t, x: x**3, 0.0, x, method="hutchinson")
    torch.testing.assert_close(estimate, (3 * x**2).sum(1))


def test_hutchinson_over_all_signs_is_the_divergence() -> None:
    """The mean over all 2^n sign vectors, and not one of them, is exact: unbiased."""
    x = torch.randn(2, 3)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    probes = signs[:, None, :].expand(8, 2, 3)
    mean = C.divergence(field, 0.7, x, method="hutchinson", probes=probes)
    exact = C.divergence(field, 0.7, x)
    torch.testing.assert_close(mean, exact)
    one = C.divergence(field, 0.7, x, method="hutchinson", probes=probes[:1])
    assert not torch.allclose(one, exact)


def test_hutchinson_draws_from_the_generator_it_is_given() -> None:
    x = torch.randn(2, 3)

    def estimate(seed: int, probes: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return C.divergence(field, 0.7, x, "hutchinson", probes=probes, generator=generator)

    assert torch.equal(estimate(0), estimate(0)) and not torch.equal(estimate(0), estimate(1))
    many = estimate(0, probes=20_000)
    torch.testing.assert_close(many, C.divergence(field, 0.7, x), rtol=0.0, atol=0.05)


@pytest.mark.parametrize("method", ["exact", "hutchinson"])
def test_divergence_is_differentiable_compiled_and_vmapped(method: str) -> None:
    x, probes = torch.randn(3, 2), torch.ones(2, 3, 2)

    def total(x: Tensor) -> Tensor:
        return C.divergence(field, 0.7, x, method, probes=probes)

    h = 1e-5 * torch.ones_like(x)
    slope = torch.func.jvp(total, (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(slope, (total(x + h) - total(x - h)) / 2e-5, rtol=1e-7, atol=1e-7)
    compiled = torch.compile(total, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), total(x))
    vmapped = torch.func.vmap(
        lambda x: C.divergence(field, 0.7, x[None], method, probes=probes[:, :1])[0]
    )
    torch.testing.assert_close(vmapped(x), total(x))


# ---------------------------------------------------------------------------- logarithmic norm


@given(
    entries=st.lists(st.floats(-5, 5), min_size=4, max_size=4),
    norm=st.sampled_from(["1", "2", "inf"]),
    weighted=st.booleans(),
)
def test_the_logarithmic_norm_is_its_limit(entries: list[float], norm: str, weighted: bool) -> None:
    """(|I + h A| - 1) / h for a small h, in the operator norm, in other coordinates too."""
    matrix = torch.tensor(entries).reshape(2, 2)
    weight = torch.tensor([[2.0, 1.0], [0.0, 0.5]]) if weighted else torch.eye(2)
    moved = weight @ matrix @ torch.linalg.inv(weight)
    order = {"1": 1, "2": 2, "inf": torch.inf}[norm]
    h = 1e-6
    limit = (torch.linalg.matrix_norm(torch.eye(2) + h * moved, order) - 1) / h
    got = C.logarithmic_norm(
        lambda t, x: x @ matrix.T, 0.0, torch.zeros(3, 2), norm=norm, weight=weight
    )
    torch.testing.assert_close(got, limit.expand(3), rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 1000), span=st.floats(0.0, 1.0))
def test_close_solutions_part_no_faster(seed: int, span: float) -> None:
    """|x - y|(t) <= exp(mu t) |x - y|(0) for a linear field, where the bound is a theorem."""
    generator = torch.Generator().manual_seed(seed)
    matrix, x = torch.randn(3, 3, generator=generator), torch.randn(4, 3, generator=generator)
    growth = torch.linalg.matrix_exp(span * matrix.expand(2, 3, 3))[0]
    mu = C.logarithmic_norm(lambda t, x: x @ matrix.T, 0.0, x)
    assert ((x @ growth.T).norm(dim=1) <= torch.exp(mu * span) * x.norm(dim=1) * (1 + 1e-9)).all()


def test_the_logarithmic_norm_in_time_and_condition() -> None:
    def growing(t: Tensor, x: Tensor, c: Tensor) -> Tensor:
        return t[:, None] * c * x

    t, c = torch.tensor([1.0, 2.0]), torch.tensor([[3.0], [-1.0]])
    for norm in ("1", "2", "inf"):
        got = C.logarithmic_norm(growing, t, torch.ones(2, 2), c, norm=norm)
        torch.testing.assert_close(got, torch.tensor([3.0, -2.0]))
