"""The probe finds mixing whatever the units are, asks at times of one's own, and asks once."""

import gc
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from flowmaps._probing import _once
from flowmaps.solvers import RK4, solve

CURE = r"(?s)condition=.*t\[:, None\] \* x"
QUICK: dict[str, Any] = {"method": RK4(), "steps": 1}
S, T = torch.tensor([0.0, 0.1]), torch.tensor([1.0, 1.0])


def mixing(size: float) -> dict[str, Any]:
    """Fields of order one for states of a size, none of them per-sample."""
    return {
        "misread time": lambda t, x: t * torch.ones_like(x),
        "coupled": lambda t, x: 0.5 * torch.tanh(x - x.mean(0)),
        "normalised": lambda t, x: 0.3 * (x - x.mean(0)) / (1 + x.std(0, correction=0)),
        "size of the batch": lambda t, x: x / size / len(x),
    }


@pytest.mark.parametrize("kind", mixing(1.0))
@given(exponent=st.floats(-6, 6), offset=st.floats(-2, 2))
def test_mixing_is_found_whatever_the_unit_of_the_state(kind, exponent, offset) -> None:
    size = 10.0**exponent
    for dtype, least in ((torch.float32, 1e-4), (torch.float64, 1e-12)):
        spread = torch.tensor([[0.0, 1.0], [0.5, -1.0]], dtype=torch.float64)
        x = (size * (1 + offset) + max(1.0, least * size) * spread).to(dtype)
        with pytest.raises(ValueError, match=CURE):
            solve(mixing(size)[kind], S, T, x, **QUICK)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mixing_is_found_beside_parts_in_large_units(dtype) -> None:
    """A pressure in pascal beside a concentration; as two leaves, as two components."""
    p, c = torch.full((2, 1), 101325.0, dtype=dtype), torch.zeros(2, 2, dtype=dtype)

    def leaves(t: Tensor, z: dict) -> dict:
        return {"p": 10.0 * z["p"], "c": t * torch.ones_like(z["c"])}

    def components(t: Tensor, x: Tensor) -> Tensor:
        return torch.cat([10.0 * x[:, :1], t * torch.ones_like(x[:, 1:])], dim=1)

    with pytest.raises(ValueError, match=CURE):
        solve(leaves, S, T, {"p": p, "c": c}, **QUICK)
    with pytest.raises(ValueError, match=CURE):
        solve(components, S, T, torch.cat([p, c], dim=1), **QUICK)


@given(exponent=st.integers(0, 7), n=st.integers(3, 60), batch=st.integers(1, 4))
def test_rounding_of_large_states_is_not_mixing(exponent, n, batch) -> None:
    """Differences of neighbours through a matrix product: small values of large terms."""
    generator = torch.Generator().manual_seed(n)
    for dtype in (torch.float32, torch.float64):
        rows = torch.randn(n, n, generator=generator, dtype=torch.float64)
        matrix = (rows - rows.mean(1, keepdim=True)).to(dtype)
        x = 10.0**exponent + torch.randn(batch, n, generator=generator, dtype=torch.float64)
        solve(lambda t, x, m=matrix: x @ m.T, 0.0, 1.0, x.to(dtype), throw=False, **QUICK)


@given(
    starts=st.lists(st.floats(-50, 50), min_size=2, max_size=4),
    length=st.floats(0.01, 3.0),
    backwards=st.booleans(),
)
def test_samples_are_asked_at_times_of_their_own(starts, length, backwards) -> None:
    """A field per sample that exists in each one's own span alone, in both precisions."""
    s = torch.tensor(starts)
    t = s - length if backwards else s + length

    def within(t: Tensor, x: Tensor, c: Tensor) -> Tensor:
        if bool(((t.double() < c[:, 0]) | (t.double() > c[:, 1])).any()):
            raise ValueError("asked outside its span")
        return -x

    spans = torch.stack([torch.minimum(s, t), torch.maximum(s, t)], dim=1)
    for dtype in (torch.float32, torch.float64):
        x = torch.ones(len(s), 2, dtype=dtype)
        solve(lambda t, x, c: within(t, x, c), s, t, x, spans, method=RK4(), steps=2)
        solve(lambda t, x, c: within(t, x, c), s, t, x, spans)


def test_a_single_precision_end_is_not_overstepped() -> None:
    """float32 rounds 0.1 up: the field is asked one unit below."""
    seen: list[float] = []

    def field(t: Tensor, x: Tensor) -> Tensor:
        seen.extend(t.double().tolist())
        return -x

    x = torch.ones(1, 1, dtype=torch.float32)
    for s, t in ((0.0, 0.1), (0.1, 0.0), (-0.1, -0.3)):
        seen.clear()
        solve(field, s, t, x)
        assert min(s, t) <= min(seen) and max(seen) <= max(s, t)
        assert max(seen) - min(seen) > 0.999999 * abs(t - s)


# ---------------------------------------------------------------------------- once


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return -x

    def method(self, t: Tensor, x: Tensor) -> Tensor:
        return self(t, x)


@pytest.mark.parametrize("kind", ["module", "method", "closure"])
def test_a_field_is_probed_once_for_every_kind_of_state(kind) -> None:
    field = Counting()
    same = lambda t, x: field(t, x)  # noqa: E731
    given = {"module": lambda: field, "method": lambda: field.method, "closure": lambda: same}[kind]

    def probes(x: Tensor) -> int:
        field.sizes.clear()
        solve(given(), 0.0, 1.0, x, **QUICK)
        return len(field.sizes) - field.sizes.count(5)

    assert probes(torch.ones(5, 2)) == 3
    assert probes(torch.randn(5, 2)) == 0
    assert probes(torch.ones(5, 3)) == 3
    assert probes(torch.ones(5, 3, dtype=torch.float32)) == 3
    field.eval()
    assert probes(torch.ones(5, 3)) == (
        0 if kind == "closure" else 3
    )  # another mode, another field


def test_a_refused_field_is_refused_again_and_a_new_one_is_asked() -> None:
    x = torch.randn(3, 2)

    def scaled(by: Tensor) -> Any:
        return lambda t, x: by * x

    for _ in range(2):
        solve(scaled(torch.ones(2)), 0.0, 1.0, x, **QUICK)
        for _ in range(2):
            with pytest.raises(ValueError, match=CURE):
                solve(scaled(torch.ones(3, 1)), 0.0, 1.0, x, **QUICK)


def test_fields_are_forgotten() -> None:
    gc.collect()
    before = len(_once._PROBED)
    for _ in range(5):
        solve(Counting(), 0.0, 1.0, torch.ones(2, 2), **QUICK)
        solve(Counting().method, 0.0, 1.0, torch.ones(2, 2), **QUICK)
    gc.collect()
    assert len(_once._PROBED) <= before


def test_probing_draws_no_random_numbers() -> None:
    def noisy(t: Tensor, x: Tensor) -> Tensor:
        torch.rand(3)
        return -x

    state = torch.get_rng_state()
    solve(noisy, 0.0, 0.0, torch.ones(2, 1), check_field=False, **QUICK)
    used = torch.get_rng_state()
    torch.set_rng_state(state)
    solve(noisy, 0.0, 0.0, torch.ones(2, 1), **QUICK)
    assert torch.equal(torch.get_rng_state(), used)
