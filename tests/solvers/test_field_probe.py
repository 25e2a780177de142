"""Fields that do not treat every sample alone are refused with the cure; all others pass."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.errors import SolveError, UnsupportedTransform
from flowmaps.solvers import RK4, TorchDiffEq, solve

CURE = r"(?s)condition=.*t\[:, None\] \* x"
QUICK: dict[str, Any] = {"method": RK4(), "steps": 1}  # the probe comes before the method


def coupled(batch: int, dim: int) -> dict[str, Any]:
    """Fields that mix samples or hold something of each."""
    held, row = torch.rand(batch, dim), torch.rand(batch)
    norm = nn.BatchNorm1d(dim, affine=False)  # in training mode
    return {
        "captured": lambda t, x: held * x,
        "captured row": lambda t, x: row[:, None] * x,
        "captured list": lambda t, x: torch.stack([k * y for k, y in zip(row, x, strict=True)]),
        "time along the event": lambda t, x: t * x,
        "mean of the batch": lambda t, x: x - x.mean(0),
        "softmax over the batch": lambda t, x: torch.softmax(x, dim=0),
        "batch norm": lambda t, x: norm(x),
        "sorted": lambda t, x: x.sort(dim=0).values,
        "neighbour": lambda t, x: x.roll(1, 0),
        "repulsion": lambda t, x: (x[:, None] - x[None]).sum(1) + x,
        "first time for all": lambda t, x: t[0] * x,
        "size of the batch": lambda t, x: x / len(x),
    }


KINDS = list(coupled(2, 2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch", "dim"), [(2, 2), (5, 5), (4, 3)])
def test_fields_that_mix_samples_are_refused(kind, batch, dim, default_dtype) -> None:
    x = torch.randn(batch, dim)
    with pytest.raises(ValueError, match=CURE):
        solve(coupled(batch, dim)[kind], 0.3, torch.rand(batch) + 0.5, x, **QUICK)


@pytest.mark.parametrize("options", [{}, QUICK, {"method": TorchDiffEq()}], ids=repr)
def test_no_method_takes_them(options) -> None:
    with pytest.raises(ValueError, match=CURE):
        solve(lambda t, x: x - x.mean(0), 0.0, 1.0, torch.randn(3, 2), **options)


@pytest.mark.parametrize("kind", ["mean of the batch", "batch norm", "repulsion", "neighbour"])
def test_equal_samples_hide_nothing(kind) -> None:
    x = torch.ones(3, 2) * torch.tensor([0.5, -0.25])
    t = torch.tensor([0.3, 0.6, 0.9])
    with pytest.raises(ValueError, match=CURE):
        solve(lambda t, y: coupled(3, 2)[kind](t, y) + 0.1 * y, 0.0, t, x)


def test_a_first_sample_at_zero_hides_nothing() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match=CURE):
        solve(lambda t, x: t * x, 0.5, 1.0, x)


def test_mixing_is_found_in_structures_and_conditions() -> None:
    with pytest.raises(ValueError, match=CURE):
        solve(lambda t, z: {"x": z["x"] - z["x"].mean()}, 0.0, 1.0, {"x": torch.randn(3, 2)})
    x, c = torch.randn(3, 2), torch.rand(3, 1)
    with pytest.raises(ValueError, match=CURE):
        solve(lambda t, x, c: c.sum() * x, 0.0, 1.0, x, c)
    with pytest.raises(ValueError, match=CURE):  # where condition is not what was asked for
        solve(lambda t, x, c: c * torch.ones(3, 2), 0.0, 1.0, x, c)


def test_noise_is_told_from_mixing() -> None:
    network = nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.5), nn.Linear(16, 2))
    with pytest.raises(ValueError, match=r"two values for the same.*eval\(\)"):
        solve(lambda t, x: network(x), 0.0, 1.0, torch.randn(3, 2))
    network.eval()
    assert solve(lambda t, x: network(x), 0.0, 1.0, torch.randn(3, 2)).success.all()


def test_the_cures_cure() -> None:
    x, k, t = torch.randn(4, 4), torch.rand(4, 4), torch.tensor([1.0, -1.0, 0.0, 2.0])
    truth = x * torch.exp(-k * t[:, None])
    assert torch.allclose(solve(lambda t, x, k: -k * x, 0.0, t, x, k).x, truth, atol=1e-4)
    single = fm.fields.per_sample(lambda t, x, k: -k * x)
    assert torch.allclose(solve(single, 0.0, t, x, k).x, truth, atol=1e-4)
    scalar = fm.fields.scalar_time(lambda t, x: -t * x)  # written for one time, as torchdiffeq's
    truth = x * torch.exp(-(t**2) / 2)[:, None]
    assert torch.allclose(solve(scalar, 0.0, t, x).x, truth, atol=1e-4)
    mixing = lambda t, x: x - x.mean(0)  # at one's own risk  # noqa: E731
    assert solve(mixing, 0.0, 1.0, x, check_field=False).success.all()


# ---------------------------------------------------------------------------- legal fields


def legal() -> dict[str, Any]:
    """Fields that treat every sample alone, however strange."""
    wide = nn.Sequential(nn.Linear(2, 2000), nn.Tanh(), nn.Linear(2000, 2))
    frozen = nn.BatchNorm1d(2).eval()
    matrix, shared = torch.randn(2, 2), torch.rand(1, 2)
    return {
        "zero": lambda t, x: torch.zeros_like(x),
        "constant": lambda t, x: torch.ones_like(x),
        "the state itself": lambda t, x: x,
        "large and cancelling": lambda t, x: 1e6 * (x + 1) - 1e6 * x - 1e6,
        "not a number": lambda t, x: torch.where(x > 0, torch.nan, x),
        "infinite": lambda t, x: torch.where(x > 0, torch.inf, x),
        "huge": lambda t, x: 1e30 * x,
        "tiny": lambda t, x: 1e-30 * x,
        "of time alone": lambda t, x: t[:, None].expand_as(x),
        "matrix": lambda t, x: x @ matrix.T,
        "shared": lambda t, x: shared * x,
        "layer norm": lambda t, x: nn.functional.layer_norm(x, (2,)),
        "batch norm at rest": lambda t, x: frozen(x),
        "wide network": lambda t, x: wide(x),
        "half inside": lambda t, x: x.to(torch.float32).to(x.dtype),
        "vmapped": fm.fields.per_sample(lambda t, x: t * x),
        "derivative": fm.fields.per_sample(torch.func.grad(lambda t, x: (x**4).sum(), argnums=1)),
        "discontinuous": lambda t, x: torch.sign(x) * torch.sign(t - 0.5)[:, None],
    }


@pytest.mark.parametrize("kind", list(legal()))
def test_legal_fields_pass(kind, default_dtype) -> None:
    for batch in (1, 2, 5):
        x = torch.randn(batch, 2)
        x[-1] = x[0]
        solve(legal()[kind], 0.0, 1.0, x, throw=False, **QUICK)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_coarse_arithmetic_inside_passes(half) -> None:
    network = nn.Sequential(nn.Linear(2, 300), nn.Tanh(), nn.Linear(300, 2)).to(half)

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return self.network(x.to(half)).to(x.dtype)

    solve(Field(), 0.0, 1.0, torch.randn(7, 2), method=RK4(), steps=2)
    network.float()
    x = torch.randn(7, 2, dtype=torch.float32)
    with torch.autocast("cpu", dtype=half):
        solve(lambda t, x: network(x).float(), 0.0, 1.0, x, method=RK4(), steps=2)


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(1, 4), st.floats(-10, 10), st.booleans())
def test_whatever_vmap_makes_is_legal(batch, dim, time, still) -> None:
    weights = torch.randn(dim, dim)
    field = fm.fields.per_sample(lambda t, x: torch.tanh(weights @ x) * torch.cos(t) + x.sum())
    x = torch.randn(batch, dim)
    solve(field, time, time if still else time + 0.1, x, method=RK4(), steps=1)


# ---------------------------------------------------------------------------- other errors


def test_errors_of_the_field_are_shown() -> None:
    def far(t: Tensor, x: Tensor) -> Tensor:
        if bool((t > 0.5).any()):
            raise RuntimeError("no data beyond a half")
        return x

    with pytest.raises(RuntimeError, match="no data beyond a half"):
        solve(far, 0.0, 1.0, torch.ones(1, 1))
    with pytest.raises(ValueError, match="no data beyond a half") as caught:
        solve(far, 0.7, 1.0, torch.ones(1, 1))
    assert isinstance(caught.value.__cause__, RuntimeError)

    class Mine(Exception):
        pass

    def broken(t: Tensor, x: Tensor) -> Tensor:
        raise Mine("of my own making")

    with pytest.raises(Mine, match="of my own making"):
        solve(broken, 0.0, 1.0, torch.ones(1, 1))

    def picky(t: Tensor, x: Tensor) -> Tensor:
        if len(x) != 3:
            raise KeyError("three samples, please")
        return x

    with pytest.raises(
        ValueError, match=r"KeyError.*three samples, please.*on 2 samples"
    ) as caught:
        solve(picky, 0.0, 1.0, torch.randn(3, 1))
    assert isinstance(caught.value.__cause__, KeyError)


def test_errors_of_our_own_pass_through_a_field() -> None:
    def inner(t: Tensor, x: Tensor) -> Tensor:
        return solve(lambda t, x: x, 0.0, 1.0, x, method=TorchDiffEq()).x

    with pytest.raises(UnsupportedTransform):
        torch.func.jvp(
            lambda x: solve(inner, 0.0, 1.0, x).x, (torch.ones(1, 1),) * 1, (torch.ones(1, 1),)
        )

    def failing(t: Tensor, x: Tensor) -> Tensor:
        return solve(lambda t, x: x * torch.nan, 0.0, 1.0, x).x

    with pytest.raises(SolveError):
        solve(failing, 0.0, 1.0, torch.ones(1, 1))


def test_probing_leaves_no_trace() -> None:
    network = nn.Linear(2, 2)
    x = torch.randn(3, 2, requires_grad=True)
    generator = torch.get_rng_state()
    solution = solve(lambda t, x: network(x), 0.0, 1.0, x, method=RK4(), steps=1)
    assert torch.equal(torch.get_rng_state(), generator)
    assert solution.x.requires_grad


def test_rounding_errors_of_a_field_that_vanishes_are_no_mixing() -> None:
    """As an exact velocity that is zero at a time: what is left of it differs with the batch."""
    x = torch.randn(5, 2)
    resting = lambda t, x: 1e-17 * len(x) * (1 + x)  # noqa: E731
    torch.testing.assert_close(solve(resting, 0.0, 1.0, x, **QUICK).x, x)
    moving = lambda t, x: 1e-17 * len(x) * (2 + x)  # noqa: E731
    with pytest.raises(ValueError, match=CURE):  # over a span in which it moves something
        solve(moving, 0.0, 1e14, x, **QUICK)
