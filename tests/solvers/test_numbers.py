"""States in complex numbers and in half precision."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm
from flowmaps.solvers import (
    RK4,
    Dop853,
    Euler,
    Heun,
    Rodas5P,
    StormerVerlet,
    TorchDiffEq,
    Tsit5,
    solve,
)

jvp: Any = torch.func.jvp  # whose result has a type of two kinds

TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
WAYS: dict[str, dict[str, Any]] = {
    "Tsit5": TIGHT,
    "Dop853": {"method": Dop853(), **TIGHT},
    "Rodas5P": {"method": Rodas5P(), "rtol": 1e-7, "atol": 1e-7},
    "fixed": {"method": RK4(), "steps": 100},
    "torchdiffeq": {"method": TorchDiffEq(), **TIGHT},
}
every_way = pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())


ROWS = [[1.0, 0.5 - 0.3j, 0.0, 0.2j], [0.0, -0.7, 1.1j, 0.4], [0.0, 0.0, 0.3, 0.9], [0, 0, 0, 1.4]]
HALF_OF_IT = torch.tensor(ROWS, dtype=torch.complex128)
HAMILTONIAN = (HALF_OF_IT + HALF_OF_IT.mH) / 2


def propagator(t: float) -> Tensor:
    """exp(-i H t) by SciPy."""
    return torch.from_numpy(scipy.linalg.expm(-1j * t * HAMILTONIAN.numpy()))


def schroedinger(t: Tensor, x: Tensor) -> Tensor:
    return -1j * (x @ HAMILTONIAN.T)


def waves(n: int = 3) -> Tensor:
    return torch.randn(n, 4, dtype=torch.complex128)


# ---------------------------------------------------------------------------- complex


@every_way
def test_a_wave_follows_the_matrix_exponential(options) -> None:
    x = waves()
    found = solve(schroedinger, 0.0, 1.5, x, **options)
    assert found.x.dtype == found.final_state.dtype == torch.complex128
    assert torch.allclose(found.x, x @ propagator(1.5).T, rtol=0, atol=2e-6)
    back = solve(schroedinger, 1.5, 0.0, found.x, **options).x
    assert torch.allclose(back, x, rtol=0, atol=2e-6)


@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=4),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.sampled_from([torch.complex64, torch.complex128]),
)
def test_every_sample_turns_at_its_own_speed(speeds, s, t, dtype) -> None:
    w = torch.tensor(speeds)
    x = torch.full((len(w),), 0.6 - 0.8j, dtype=dtype)  # no axes but the batch
    turn = lambda t, x, w: 1j * w.to(x.real.dtype) * x  # noqa: E731
    found = solve(turn, s, t, x, w, rtol=1e-6, atol=1e-6)
    assert found.x.shape == x.shape and found.x.dtype == dtype
    assert torch.allclose(found.x, x * torch.exp(1j * w * (t - s)).to(dtype), rtol=0, atol=1e-4)


def test_dense_output_and_saved_times_are_complex() -> None:
    x, times = waves(), [0.0, 0.3, 1.0]
    dense = solve(schroedinger, 0.0, 1.0, x, dense=True, **TIGHT)
    saved = solve(schroedinger, 0.0, 1.0, x, save_at=times, **TIGHT).x
    truth = torch.stack([x @ propagator(t).T for t in times])
    assert torch.allclose(dense(times), truth, rtol=0, atol=1e-7)
    assert torch.equal(saved, dense(times))
    assert dense(0.3).shape == x.shape


@pytest.mark.parametrize(
    "options", [TIGHT, {"method": Dop853(), "steps": 9}], ids=["free", "fixed"]
)
def test_derivatives_are_those_of_a_linear_map(options) -> None:
    x, dx, matrix = waves(), waves(), propagator(0.7)
    run = lambda x: solve(schroedinger, 0.0, 0.7, x, **options).x  # noqa: E731
    _, tangent = jvp(run, (x,), (dx,))
    assert torch.allclose(tangent, dx @ matrix.T, rtol=0, atol=1e-7)
    leaf, weights = x.clone().requires_grad_(), waves()
    loss = (run(leaf) * weights.conj()).real.sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert torch.allclose(gradient, weights @ matrix.conj(), rtol=0, atol=1e-7)
    end = torch.full((3,), 0.7)
    _, rate = jvp(lambda t: solve(schroedinger, 0.0, t, x, **options).x, (end,), (end * 0 + 1,))
    assert torch.allclose(rate, schroedinger(end, x @ matrix.T), rtol=0, atol=1e-7)


def test_they_pass_vmap_and_compiled_graphs() -> None:
    x = waves(6).reshape(2, 3, 4)
    run = lambda x: solve(schroedinger, 0.0, 1.0, x).x  # noqa: E731
    assert torch.allclose(torch.func.vmap(run)(x), torch.stack([run(a) for a in x]), atol=1e-12)
    fixed = lambda x: solve(schroedinger, 0.0, 1.0, x, method=RK4(), steps=9).x  # noqa: E731
    compiled = torch.compile(fixed, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x[0]), fixed(x[0]), atol=1e-14)


def test_errors_are_measured_by_the_modulus() -> None:
    """Steps do not depend on the phase, though a part is near zero for one and not another."""
    phases = torch.exp(1j * torch.linspace(0, 6, 20))[:, None]
    found = solve(lambda t, x: 9j * x, 0.0, 1.0, phases, rtol=1e-9, atol=0.0)
    assert len(set(found.statistics.steps.tolist())) == 1
    parts = torch.view_as_real(phases[:, 0])
    turn = lambda t, x: torch.stack([-9 * x[:, 1], 9 * x[:, 0]], dim=1)  # noqa: E731
    apart = solve(turn, 0.0, 1.0, parts, rtol=1e-9, atol=0.0)
    assert len(set(apart.statistics.steps.tolist())) > 1
    assert apart.statistics.steps.sum() > found.statistics.steps.sum()


def test_complex_and_real_leaves_stand_together() -> None:
    """A wave, and how long its arc is so far."""
    state = {"wave": waves(), "way": torch.zeros(3)}

    def field(t: Tensor, state: Any) -> Any:
        rate = schroedinger(t, state["wave"])
        return {"way": rate.abs().square().sum(1).sqrt(), "wave": rate}

    atol = {"wave": [1e-9, 1e-9, 1e-9, 1e-8], "way": 1e-9}
    found = solve(field, 0.0, 1.0, state, rtol=1e-9, atol=atol).x
    assert torch.allclose(found["wave"], state["wave"] @ propagator(1.0).T, rtol=0, atol=1e-7)
    speed = schroedinger(torch.zeros(3), state["wave"]).norm(dim=1)  # which is conserved
    assert found["way"].dtype == torch.float64
    assert torch.allclose(found["way"], speed, rtol=0, atol=1e-7)
    many = solve(field, 0.0, 1.0, state, save_at=[0.5, 1.0]).x
    assert many["wave"].shape == (2, 3, 4) and many["way"].shape == (2, 3)


def test_a_field_need_not_be_holomorphic_for_a_stiff_method() -> None:
    field = lambda t, x: -1000 * (x - x.conj()) / 2 - x  # noqa: E731
    x = torch.tensor([[1 + 1j]], dtype=torch.complex128)
    found = solve(field, 0.0, 1.0, x, method=Rodas5P(), rtol=1e-8, atol=1e-10)
    assert found.x.item() == pytest.approx(math.exp(-1), abs=1e-6)
    assert found.statistics.steps.item() < 100


def test_real_and_imaginary_parts_are_positions_and_momenta() -> None:
    """The wave of a real Hamiltonian is a classical system of oscillators."""
    matrix = HAMILTONIAN.real
    field = lambda t, x: -1j * torch.complex(x.real @ matrix, x.imag @ matrix)  # noqa: E731
    x = waves()
    found = solve(field, 0.0, 1.0, x, method=StormerVerlet(), steps=1000).x
    exact = x @ torch.from_numpy(scipy.linalg.expm(-1j * matrix.numpy())).T
    assert torch.allclose(found, exact, rtol=0, atol=1e-5)


def test_a_bad_wave_is_alone_with_its_failure() -> None:
    x = waves()
    x[1, 2] = torch.tensor(complex(0.0, math.nan))
    found = solve(schroedinger, 0.0, 1.0, x, throw=False)
    assert found.success.tolist() == [True, False, True]
    assert torch.isnan(found.x[1].real).all() and torch.isnan(found.x[1].imag).all()
    alone = solve(schroedinger, 0.0, 1.0, x[[0, 2]])
    assert torch.allclose(found.x[[0, 2]], alone.x, rtol=0, atol=1e-14)


# ---------------------------------------------------------------------------- half precision

HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "f16"])
MATRIX = np.array([[-0.1, -1.0], [1.0, -0.1]])


def spiral(t: Tensor, x: Tensor) -> Tensor:
    assert x.dtype in (torch.bfloat16, torch.float16)
    assert t.dtype == torch.float32
    return x @ torch.from_numpy(MATRIX).to(x.dtype).T


def spiralled(x: Tensor, t: float) -> Tensor:
    return x.double() @ torch.from_numpy(scipy.linalg.expm(t * MATRIX)).T


@HALF
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": Dop853()},
        {"method": Heun()},
        {"method": Rodas5P()},
        {"steps": 40},
        {"steps": 2000, "method": Euler()},
        {"method": TorchDiffEq()},
    ],
    ids=str,
)
def test_half_precision_is_lost_in_the_field_alone(dtype, options) -> None:
    """However many the steps are: two thousand sums rounded to bfloat16 would not move at all."""
    x = torch.randn(8, 2).to(dtype)
    found = solve(spiral, 0.0, 3.0, x, **options)
    truth, unit = spiralled(x, 3.0), torch.finfo(dtype).eps
    assert found.x.dtype == found.final_state.dtype == dtype
    assert (found.x.double() - truth).abs().max() < 4 * unit * x.double().norm(dim=1).max()
    assert found.statistics.steps.max() < 5000


@HALF
def test_half_precision_takes_any_tolerance(dtype) -> None:
    x = torch.randn(8, 2).to(dtype)
    steps = [solve(spiral, 0.0, 3.0, x, rtol=r).statistics.steps for r in (1e-12, 1e-6)]
    assert torch.equal(*steps)
    assert steps[0].max() < 40


@HALF
def test_half_precision_passes_outputs_and_derivatives(dtype) -> None:
    x = torch.randn(4, 2).to(dtype)
    saved = solve(spiral, 0.0, 1.0, x, save_at=[0.5, 1.0])
    assert saved.x.dtype == dtype and saved.x.shape == (2, 4, 2)
    _, tangent = jvp(lambda x: solve(spiral, 0.0, 1.0, x).x, (x,), (torch.ones_like(x),))
    truth = spiralled(torch.ones(4, 2), 1.0)
    assert tangent.dtype == dtype
    assert torch.allclose(tangent.double(), truth, rtol=0, atol=0.03)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(solve(spiral, 0.0, 1.0, leaf).x.float().sum(), leaf)
    truth = torch.ones(4, 2) @ torch.from_numpy(scipy.linalg.expm(MATRIX))
    assert gradient.dtype == dtype
    assert torch.allclose(gradient.double(), truth, rtol=0, atol=0.03)


@HALF
def test_the_field_of_a_half_state_may_answer_in_single_precision(dtype) -> None:
    x = torch.randn(4, 2).to(dtype)
    found = solve(lambda t, x: -t[:, None] * x, 0.0, 1.0, x).x  # float32 by promotion
    assert found.dtype == dtype
    truth = x.double() * math.exp(-0.5)
    assert (found.double() - truth).abs().max() < 2 * torch.finfo(dtype).eps * x.abs().max()


def test_a_half_state_that_overflows_fails() -> None:
    x = torch.tensor([[0.0], [6e4]], dtype=torch.float16)
    ways: list[dict[str, Any]] = [{}, {"steps": 3}]
    for options in ways:
        found = solve(lambda t, x: 0 * x + 3e4, 0.0, 1.0, x, max_steps=99, throw=False, **options)
        assert found.success.tolist() == [True, False]
        assert found.x[0].item() == 3e4 and torch.isnan(found.x[1])


@HALF
def test_flow_maps_take_half_states(dtype) -> None:
    x = torch.randn(4, 2).to(dtype)
    flow = fm.maps.SolverFlowMap(lambda t, x: -t[:, None] * x)
    end = flow(0.0, 1.0, x)
    assert end.dtype == flow.velocity(0.5, x).dtype == dtype
    one = torch.ones(4)
    _, rate = jvp(lambda t: flow(torch.zeros(4), t, x), (one,), (one,))
    assert rate.dtype == dtype
    assert torch.allclose(rate.double(), -end.double(), atol=0.02)


# ---------------------------------------------------------------------------- what is refused


def test_what_cannot_be_solved_is_refused(refused) -> None:
    both = [waves(), waves().to(torch.complex64)]
    refused(lambda: solve(schroedinger, 0.0, 1.0, both), TypeError, "must share one dtype")
    dot = torch.tensor(1.0 + 1.0j)
    refused(lambda: solve(schroedinger, 0.0, 1.0, dot), ValueError, "got a 0-d tensor")
    real = lambda t, x: x.abs()  # noqa: E731
    message = "must return the state's dtype torch.complex128, got torch.float64"
    refused(lambda: solve(real, 0.0, 1.0, waves()), TypeError, message)
    flow = fm.maps.SolverFlowMap(schroedinger)
    message = "real floating-point dtype, got torch.complex128; convert it with torch.view_as_real"
    refused(lambda: flow(0.0, 1.0, waves()), TypeError, message)
    mixes = lambda t, x: x - x.mean(0)  # noqa: E731
    for x in (waves(), torch.randn(3, 2).to(torch.bfloat16)):
        refused(lambda x=x: solve(mixes, 0.0, 1.0, x), ValueError, "every sample alone")


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex")
def test_compiled_loops_serve_all_numbers(backend) -> None:
    x = waves()
    found = solve(schroedinger, 0.0, 1.0, x, compile=backend, **TIGHT).x
    assert torch.allclose(found, x @ propagator(1.0).T, rtol=0, atol=1e-7)
    half = torch.randn(8, 2).to(torch.bfloat16)
    found = solve(spiral, 0.0, 1.0, half, compile=backend).x
    assert torch.allclose(found.double(), spiralled(half, 1.0), rtol=0, atol=0.05)


def test_a_batch_of_none_is_solved() -> None:
    for dtype in (torch.complex64, torch.bfloat16):
        x = torch.zeros(0, 2, dtype=dtype)
        assert solve(lambda t, x: -x, 0.0, 1.0, x, method=Tsit5(), dense=True).x.shape == (0, 2)
