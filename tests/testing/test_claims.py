"""What a user says of a flow besides its field, and maps that are unusual in how they are made."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import flowmaps as fm

BOX, TIMES = fm.testing.Box([-1.0, -1.0], [1.0, 1.0]), (0.0, 1.0)


def _decay(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp(s - t).reshape(-1, *[1] * (x.ndim - 1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda t, x: x, r"shape \(\d+,\), got"),
        (lambda t, x: x.square().sum(), "must return one number for each"),
        (lambda t, x: x[:, 5], "raised IndexError"),
    ],
)
@pytest.mark.parametrize("claim", ["conserved", "log_density"])
def test_a_claim_of_another_shape_is_an_error_that_says_so(
    wrong: Callable[..., Tensor], message: str, claim: str
) -> None:
    options = {"conserved": {"conserved": {"it": wrong}}, "log_density": {"log_density": wrong}}
    with pytest.raises(ValueError, match=message):
        fm.testing.verify(_decay, None, BOX, TIMES, points=16, **options[claim])


def test_an_infinite_invariant_somewhere_hides_no_failure() -> None:
    def energy(t: Tensor, x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0.9, math.inf, x.square().sum(1))

    report = fm.testing.verify(
        _decay, None, BOX, TIMES, points=256, conserved={"energy": energy}, shrink=False
    )
    assert report["conserves energy"].status == "failed"


def test_states_without_an_axis_are_verified() -> None:
    report = fm.testing.verify(
        _decay, lambda t, x: -x, fm.testing.Box(-1.0, 1.0), TIMES, event_shape=(), points=64
    )
    assert report.verdict == "flow map of the field", str(report)


@pytest.mark.parametrize("length", [1e2, 1e4, 1e6])
def test_single_precision_may_lose_a_long_rotation(length: float) -> None:
    """The angle is known to 1e-7 of itself, which is many turns in the end."""

    def rotation(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        angle = t - s
        c, n = torch.cos(angle), torch.sin(angle)
        return torch.stack([c * x[:, 0] - n * x[:, 1], n * x[:, 0] + c * x[:, 1]], dim=1)

    report = fm.testing.verify(rotation, None, BOX, (0.0, length), points=512)
    assert report.passed, str(report)
    assert report.verdict == "a flow"
    if length == 1e6:
        assert report["dtype consistency"].status == "inconclusive"


def test_a_map_that_differentiates_is_called_where_it_can() -> None:
    """By autograd.grad, which needs a graph: as Hamiltonian networks do."""

    def by_gradient(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        start = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(0.5 * start.square().sum(), start, create_graph=True)
        return _decay(s, t, gradient)

    report = fm.testing.verify(
        by_gradient, lambda t, x: -x, BOX, TIMES, derivatives="none", points=64
    )
    assert report.verdict == "flow map of the field", str(report)


def test_a_map_that_raises_where_an_equation_asks_is_no_flow_of_another_field() -> None:
    asked: list[int] = []

    def exhausted(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        asked.append(len(x))
        if len(x) > 4096:
            raise MemoryError("too many")
        return _decay(s, t, x)

    report = fm.testing.verify(exhausted, lambda t, x: -x, BOX, TIMES, derivatives="none")
    assert report["integral lagrangian"].status == "failed"
    assert "MemoryError" in report["integral lagrangian"].reason
    assert report.verdict == "not a flow" and max(asked) > 4096


def test_code_of_a_counterexample_runs_with_conditions_of_any_kind() -> None:
    def wrong(s: Tensor, t: Tensor, x: Tensor, condition: dict) -> Tensor:
        rate, shift = condition["rate"], condition["rest"][0]
        return x * (1 + rate * (s - t)[:, None]) + 0 * shift

    conditions = {"rate": torch.tensor([[1.0], [2.0]]), "rest": (torch.tensor([1, 2]).view(2, 1),)}
    report = fm.testing.verify(wrong, None, BOX, TIMES, conditions, points=32)
    example = report["semigroup"].counterexample
    assert example is not None
    names: dict = {"flow_map": wrong}
    exec(example.code(), names)
    assert names["residual"].abs().max().item() == pytest.approx(example.value, rel=1e-6)


@pytest.mark.parametrize("seed", [22, 46, 70])
def test_forward_mode_in_single_precision_may_lose_a_contraction(seed: int) -> None:
    """DX is a difference of terms of size 1, and 2e-4 at worst: its logarithm has few digits."""
    problem = fm.problems.LogisticGrowth()
    report = fm.testing.verify(
        problem.flow_map(),
        problem.field,
        problem.domain,
        problem.times,
        problem.parameter_domain,
        only=["liouville", "gronwall bound"],
        dtype=torch.float32,
        seed=seed,
    )
    assert report.passed, str(report)
