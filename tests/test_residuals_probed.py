"""The calculus of fields and the residuals refuse what is no field, once, and stay out of the way.

One property of two rooms: ``calculus`` and ``residuals`` share the probe.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm

C, R = fm.calculus, fm.residuals
CURE = r"(?s)condition=.*t\[:, None\] \* x"
T = torch.tensor([1.0, 3.0], dtype=torch.float64)
X = torch.tensor([[1.0, 2.0], [-0.5, 1.0]], dtype=torch.float64)


def flow(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp((t**2 - s**2) / 2)[:, None]


DOORS: dict[str, Callable] = {
    "divergence": lambda f, t, **o: C.divergence(f, t, X, **o),
    "estimate": lambda f, t, **o: C.divergence(f, t, X, method="hutchinson", **o),
    "field_jacobian": lambda f, t, **o: C.field_jacobian(f, t, X, **o),
    "logarithmic_norm": lambda f, t, **o: C.logarithmic_norm(f, t, X, **o),
    "tangent": lambda f, t, **o: R.tangent(flow, f, t, X, **o),
    "lagrangian": lambda f, t, **o: R.lagrangian(flow, f, 0.5, t, X, **o),
    "eulerian": lambda f, t, **o: R.eulerian(flow, f, t, 0.5, X, **o),
    "integral_lagrangian": lambda f, t, **o: R.integral_lagrangian(flow, f, 0.5, t, X, **o),
    "liouville": lambda f, t, **o: R.liouville(flow, f, 0.5, t, X, nodes=3, **o),
}


def wrong() -> dict[str, Callable]:
    """None per-sample, all of the right shape for two samples of two components."""
    held = torch.tensor([[1.0], [2.0]])
    return {
        "misread time": lambda t, x: t * x,
        "mean": lambda t, x: x - x.mean(0),
        "captured": lambda t, x: held.repeat(len(x) // 2, 1) * x,
    }


@pytest.mark.parametrize("time", [T, 0.75], ids=["own times", "one time"])
@pytest.mark.parametrize("kind", wrong())
@pytest.mark.parametrize("door", DOORS)
def test_a_field_that_mixes_samples_is_refused(door: str, kind: str, time: object) -> None:
    field = wrong()[kind]
    for _ in range(2):
        with pytest.raises(ValueError, match=CURE):
            DOORS[door](field, time)
    if kind != "misread time" or door not in ("integral_lagrangian", "liouville"):
        DOORS[door](field, time, check_field=False)


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        return t[:, None] * x


@pytest.mark.parametrize("door", DOORS)
def test_a_field_is_asked_once(door: str) -> None:
    """Whoever meets it first; a thousand steps of training cost no more than one."""
    field, new = Counted(), Counted()
    DOORS[door](field, T, check_field=False)
    plain = field.calls
    DOORS[door](new, T)
    assert new.calls == plain + 3
    for known in DOORS.values():
        known(new, T)
    new.calls = 0
    DOORS[door](new, T)
    assert new.calls == plain


@pytest.mark.parametrize("door", [d for d in DOORS if d != "estimate"])
def test_transformed_and_compiled_calls_are_not_probed(door: str) -> None:
    field = Counted()
    DOORS[door](field, T, check_field=False)
    plain, field.calls = field.calls, 0
    torch.func.jvp(lambda t: DOORS[door](field, t), (T,), (torch.ones(2),))
    assert field.calls == plain
    torch.func.vmap(lambda t: DOORS[door](field, t))(T[None])
    assert field.calls == 2 * plain


def test_compiled_residuals_are_whole_and_differentiable() -> None:
    field = lambda t, x: t[:, None] * x  # noqa: E731
    residual = lambda t, x: R.lagrangian(flow, field, 0.5, t, x)  # noqa: E731
    compiled = torch.compile(residual, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(T, X), residual(T, X))


def test_noise_in_training_passes_and_draws_as_without_a_probe() -> None:
    """A network with dropout may be trained on a residual; seeds give what they gave."""
    net = nn.Sequential(nn.Linear(2, 32), nn.Dropout(0.5), nn.Linear(32, 2))

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return self.net(x)

    found = []
    for check in (True, False):
        torch.manual_seed(3)
        found.append(R.tangent(flow, Field(), T, X, check_field=check))
    assert torch.equal(*found)


def test_tables_of_one_time_pass() -> None:
    """A field that exists at its own times only is not asked elsewhere to its harm."""

    def table(t: Tensor, x: Tensor) -> Tensor:
        if bool((t != 0.75).any()):
            raise KeyError("no data")
        return x

    for door in ("divergence", "field_jacobian", "tangent"):
        DOORS[door](table, 0.75)
