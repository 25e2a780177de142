"""Networks of other libraries as fields: exact ones for Gaussian data, whose flows are known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import flowmaps as fm

fields = fm.fields
M, S = 1.5, 0.6  # data is N(M, S^2)
KEPT = np.cumprod(1 - np.linspace(1e-3, 0.4, 30))  # alphas_cumprod


def posterior(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """E[x1 | alpha x0 + beta x1 = x] by conditioning of Gaussians."""
    return M + beta * S**2 / (alpha**2 + beta**2 * S**2) * (x - beta * M)


def known_flow(x: Tensor, alpha: tuple[float, float], beta: tuple[float, float]) -> Tensor:
    """Carries the law at the first coefficients to that at the last, monotonously."""
    before, after = (np.hypot(a, b * S) for a, b in zip(alpha, beta, strict=True))
    return beta[1] * M + after / before * (x - beta[0] * M)


def solved(field: Any, x: Tensor, *condition: Any) -> Tensor:
    return fm.maps.SolverFlowMap(field, rtol=1e-9, atol=1e-9)(0.0, 1.0, x, *condition)


@pytest.mark.parametrize("call", ["tx", "xt", ("timestep", "hidden_states")])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_velocity_of_other_times_is_the_gaussian_field(call: Any, reverse: bool) -> None:
    exact = fm.problems.GaussianInterpolant([M], [[S**2]])

    def network(time: Tensor, x: Tensor) -> SimpleNamespace:
        t = time / 1000
        velocity = -exact.field(1 - t, x) if reverse else exact.field(t, x)
        return SimpleNamespace(sample=velocity)

    def other(x: Tensor, time: Tensor) -> Tensor:
        return network(time, x).sample

    def named(*, timestep: Tensor, hidden_states: Tensor) -> tuple[Tensor]:
        return (network(timestep, hidden_states).sample,)

    given: Any = {"tx": network, "xt": other}.get(call, named) if isinstance(call, str) else named
    field, x = fields.from_velocity(given, reverse, 1000.0, call), torch.randn(4, 1)
    t = torch.rand(4)
    assert_close(field(t, x), exact.field(t, x))
    assert_close(solved(field, x), exact.exact(0.0, 1.0, x), rtol=1e-7, atol=1e-7)


def noisy(prediction: str, kept: np.ndarray = KEPT) -> Any:
    """The exact network of a schedule, at real steps too: the angle between them is a cubic."""
    from scipy.interpolate import PchipInterpolator

    angles = PchipInterpolator(np.arange(len(kept)), np.arccos(np.sqrt(kept)))

    def network(x: Tensor, k: Tensor) -> SimpleNamespace:
        angle = torch.as_tensor(angles(k.detach().numpy()))[:, None]
        alpha, beta = angle.sin(), angle.cos()
        data = posterior(x, alpha, beta)
        noise = (x - beta * data) / alpha
        out = {"sample": data, "epsilon": noise, "v_prediction": beta * noise - alpha * data}
        return SimpleNamespace(sample=out[prediction])

    return network


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_denoiser_of_discrete_steps_carries_base_to_data(prediction: str) -> None:
    schedule = SimpleNamespace(
        alphas_cumprod=torch.tensor(KEPT), config=SimpleNamespace(prediction_type=prediction)
    )
    x = torch.randn(5, 1)
    for given in (schedule, KEPT.tolist()):
        field = fields.from_diffusers(noisy(prediction), given, prediction)
        ends = KEPT[[-1, 0]]
        expected = known_flow(x, tuple(np.sqrt(1 - ends)), tuple(np.sqrt(ends)))
        assert_close(solved(field, x), expected, rtol=1e-6, atol=1e-6)


def test_a_schedule_may_end_without_signal() -> None:
    kept = np.append(KEPT, 0.0)
    field = fields.from_diffusers(noisy("v_prediction", kept), kept, "v_prediction")
    x = torch.randn(3, 1)
    expected = known_flow(x, (1.0, np.sqrt(1 - kept[0])), (0.0, np.sqrt(kept[0])))
    assert_close(solved(field, x), expected, rtol=1e-6, atol=1e-6)


def test_a_denoiser_of_edm_carries_base_to_data() -> None:
    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        assert sigma.shape == (len(x),)
        return posterior(x, sigma[:, None], torch.ones(1))

    x = 20 * torch.randn(5, 1)
    expected = known_flow(x, (20.0, 0.01), (1.0, 1.0))
    for rho in (3.0, 7.0):
        field = fields.from_edm(denoiser, 0.01, 20.0, rho)
        assert_close(solved(field, x), expected, rtol=1e-6, atol=1e-6)


def test_conditions_are_handed_on() -> None:
    def network(x: Tensor, k: Tensor, class_labels: Tensor) -> Tensor:
        return x * class_labels[:, None]

    t, x, label = torch.rand(3), torch.randn(3, 2), torch.arange(3)
    for make in (
        lambda: fields.from_diffusers(network, KEPT, "sample"),
        lambda: fields.from_edm(network),
        lambda: fields.from_velocity(network, call="xt"),
    ):
        field = make()
        assert torch.equal(field(t, x, label), field(t, x, {"class_labels": label}))
        slope = torch.func.jvp(lambda x, f=field: f(t, x, label), (x,), (x,))[1]
        assert_close(slope, field(t, x, label))  # linear in x
        assert field(t.float(), x.float(), label).dtype == torch.float32


@pytest.mark.parametrize("kind", ["steps", "edm", "velocity"])
def test_adapted_networks_compile(kind: str) -> None:
    def network(x: Tensor, time: Tensor) -> Tensor:
        return torch.tanh(x) * time[:, None]

    field = {
        "steps": lambda: fields.from_diffusers(network, KEPT),
        "edm": lambda: fields.from_edm(network),
        "velocity": lambda: fields.from_velocity(network, True, call="xt"),
    }[kind]()
    t, x = torch.rand(3), torch.randn(3, 2)
    compiled = torch.compile(field, fullgraph=True, backend="aot_eager")
    assert_close(compiled(t, x), field(t, x))


ANY: Any = "later"
NET = noisy("epsilon")
T, X = torch.zeros(1), torch.zeros(1, 1)
LIAR = SimpleNamespace(alphas_cumprod=KEPT, config=SimpleNamespace(prediction_type="sample"))
BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no network": (lambda: fields.from_edm(ANY), TypeError, "a field is a callable"),
    "reversed": (lambda: fields.from_velocity(NET, ANY), TypeError, "True or False"),
    "scale": (lambda: fields.from_velocity(NET, False, 0.0), ValueError, "time_scale"),
    "call": (lambda: fields.from_velocity(NET, call="yt"), ValueError, 'call must be "tx"'),
    "prediction": (lambda: fields.from_diffusers(NET, KEPT, "x"), ValueError, "must be one of"),
    "increasing": (lambda: fields.from_diffusers(NET, [0.1, 0.9]), ValueError, "decreasing"),
    "no signal": (lambda: fields.from_diffusers(NET, [0.9, 0.0]), ValueError, "other predictions"),
    "another": (lambda: fields.from_diffusers(NET, LIAR, "epsilon"), ValueError, "scheduler says"),
    "sigmas": (lambda: fields.from_edm(NET, 2.0, 1.0), ValueError, "less than sigma_max"),
    "output": (lambda: fields.from_edm(lambda x, s: 3)(T, X), TypeError, "return a tensor"),
    "shape": (lambda: fields.from_edm(lambda x, s: s)(T, X), ValueError, "state's shape"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str, refused: Any) -> None:
    refused(*BAD[name])
