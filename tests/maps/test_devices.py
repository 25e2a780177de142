"""Nothing is made on another device: on meta tensors, which mix with no others and hold no values.

Adaptive steps, torchdiffeq and Autonomous at tensor times read values and are left out.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import flowmaps as fm

C, M, R = fm.calculus, fm.maps, fm.residuals


def exact(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp(t - s)[:, None]


def field(t: Tensor, x: Tensor) -> Tensor:
    return x * t[:, None]


class Net(torch.nn.Module):
    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: object) -> Tensor:
        return torch.sin(x)


FLOWS = {
    "exact": M.ExactFlowMap(exact, velocity=field),
    "steps": M.SolverFlowMap(field, method=fm.solvers.RK4(), steps=2),
    "neural": M.NeuralFlowMap(Net(), times=M.TimeSet(0.0, 1.0)),
    "endpoint": M.NeuralFlowMap(Net(), M.Endpoint(1.0), M.TimeSet(0.0, 1.0)),
    "second order": M.NeuralFlowMap(Net(), M.SecondOrder(field), M.TimeSet(0.0, 1.0)),
    "identity": M.Identity(),
    "conjugated": M.Conjugated(M.ExactFlowMap(exact), M.Affine([1.0, 2.0], 3.0)),
    "piecewise": M.Piecewise([M.ExactFlowMap(exact), M.ExactFlowMap(exact)], [0.5]),
    "through": M.ExactFlowMap(exact).through([0.3, 0.6]),
}
USES: dict[str, Callable[..., Tensor]] = {
    "call": lambda flow, s, t, x: flow(s, t, x),
    "number": lambda flow, s, t, x: flow(0.1, 0.9, x),
    "0-d time of the host": lambda flow, s, t, x: flow(s, torch.tensor(0.4), x),
    "velocity": lambda flow, s, t, x: flow.velocity(t, x),
    "along": lambda flow, s, t, x: flow.along(s, [0.1, 0.2], x),
    "jvp": lambda flow, s, t, x: C.jvp(flow, s, t, x, 1.0, torch.tensor(2.0), x)[1],
    "jacobian": lambda flow, s, t, x: C.jacobian(flow, s, t, x),
    "log_det": lambda flow, s, t, x: C.log_det(flow, s, t, x),
    "chain": lambda flow, s, t, x: (flow.between(0.2, 0.5) @ flow.between(0.1, 0.2))(x),
    "tangent": lambda flow, s, t, x: R.tangent(flow, field, t, x),
    "lagrangian": lambda flow, s, t, x: R.lagrangian(flow, field, s, t, x),
    "eulerian": lambda flow, s, t, x: R.eulerian(flow, field, s, t, x),
    "semigroup": lambda flow, s, t, x: R.semigroup(flow, s, 0.3, t, x),
    "integral": lambda flow, s, t, x: R.integral_lagrangian(flow, field, s, t, x),
    "liouville": lambda flow, s, t, x: R.liouville(flow, field, s, t, x),
}
OF_FIELDS: dict[str, Callable[..., Tensor]] = {
    "divergence": C.divergence,
    "hutchinson": lambda f, t, x: C.divergence(f, t, x, "hutchinson", probes=3),
    "logarithmic_norm": lambda f, t, x: C.logarithmic_norm(f, t, x, weight=torch.eye(2)),
    "scaled": lambda f, t, x: fm.fields.scaled(f, [1.0, 2.0], 2.0)(t, x),
    "per_sample": lambda f, t, x: fm.fields.per_sample(lambda t, x: t * x)(t, x),
    "scalar_time": lambda f, t, x: fm.fields.scalar_time(lambda t, x: t * x)(t, x),
}


def points() -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.ones(3, device="meta"),
        torch.ones(3, device="meta"),
        torch.ones(3, 2, device="meta"),
    )


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("use", USES)
def test_maps_stay_on_the_device_of_the_state(name: str, use: str) -> None:
    value = USES[use](FLOWS[name], *points())
    assert value.is_meta and value.dtype == torch.float64


@pytest.mark.parametrize("use", OF_FIELDS)
def test_fields_stay_on_the_device_of_the_state(use: str) -> None:
    _, t, x = points()
    assert OF_FIELDS[use](field, t, x).is_meta
