"""``compile=`` for fields that do more than to compute a value, or that change after it."""

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from flowmaps.solvers import Heun, solve

FEW: dict[str, Any] = {"method": Heun(), "rtol": 1e-3, "atol": 1e-4, "check_field": False}


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_linear_systems_with_a_mass_matrix(seed: int) -> None:
    """torch checks what it solves, an effect beside the result: M dx/dt = A x."""
    numbers = np.random.default_rng(seed)
    mass, matrix = np.eye(2) + 0.3 * numbers.uniform(-1, 1, (2, 2)), numbers.uniform(-1, 1, (2, 2))
    x = numbers.normal(size=(3, 2))
    m, a = torch.from_numpy(mass), torch.from_numpy(matrix)

    def field(t: Tensor, x: Tensor) -> Tensor:
        return torch.linalg.solve(m.expand(len(x), 2, 2), x @ a.mT)

    found = solve(field, 0.0, 0.5, torch.from_numpy(x), **FEW, compile="eager").x
    exact = x @ scipy.linalg.expm(0.5 * np.linalg.solve(mass, matrix)).T
    np.testing.assert_allclose(found, exact, rtol=1e-2, atol=1e-2)


class Counting(nn.Module):
    """Counts its evaluations in a buffer, in place or anew."""

    count: Tensor

    def __init__(self, in_place: bool):
        super().__init__()
        self.in_place = in_place
        self.register_buffer("count", torch.zeros(()))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        if self.in_place:
            self.count += 1
        else:
            self.count = self.count + 1
        return -x


@pytest.mark.parametrize("in_place", [True, False])
def test_buffers_that_a_field_changes(in_place: bool) -> None:
    counts, ends = [], []
    for compile in (False, "eager"):
        field = Counting(in_place)
        ends.append(solve(field, 0.0, 1.0, torch.ones(2, 1), **FEW, compile=compile).x)
        counts.append(field.count.item())
    assert counts[0] == counts[1]
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-13, atol=0)


def test_solves_while_another_thread_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch then says is_compiling to every thread, and traces none but the one."""
    monkeypatch.setattr(torch.compiler, "_is_compiling_flag", True)
    assert torch.compiler.is_compiling()
    found = solve(lambda t, x: -x, 0.0, 1.0, torch.ones(2, 1), **FEW).x
    np.testing.assert_allclose(found, np.exp(-1), rtol=1e-2)


def tripled(module: nn.Module, inputs: Any, output: Any) -> Any:
    return 3 * output


def test_hooks_that_a_module_gets_and_loses() -> None:
    layer = nn.Linear(1, 1)
    x = torch.ones(2, 1)

    def ends() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            plain, fast = (
                solve(field, 0.0, 1.0, x, **FEW, compile=way).x for way in (False, "eager")
            )
        return plain, fast

    def field(t: Tensor, x: Tensor) -> Tensor:
        return layer(x)

    torch.testing.assert_close(*ends())
    hook = layer.register_forward_hook(tripled)
    torch.testing.assert_close(*ends())
    hook.remove()
    torch.testing.assert_close(*ends())
