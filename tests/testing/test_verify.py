"""Verdicts: exact maps, maps of other fields, maps that are no flows, strangers that misbehave."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm

EXACT = (
    "linear_system",
    "harmonic_oscillator",
    "logistic_growth",
    "rotation",
    "scalar_separable",
    "gaussian_interpolant",
)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_flow_map_of_a_problem_is_that_of_its_field(name: str, dtype: torch.dtype) -> None:
    problem = fm.problems.get(name)
    report = fm.testing.verify(
        problem.flow_map(),
        problem.field,
        domain=problem.domain,
        times=problem.times,
        conditions=problem.parameter_domain if name == "harmonic_oscillator" else None,
        points=256,
        dtype=dtype,
    )
    assert report.passed, str(report)
    assert report.verdict == "flow map of the field", report.reason


def test_an_adaptive_solver_is_the_flow_map_of_its_field(spin: SimpleNamespace) -> None:
    report = spin.verify(fm.maps.SolverFlowMap(spin.field, rtol=1e-6, atol=1e-6), points=32)
    assert report.verdict == "flow map of the field", str(report)
    assert report.facts["budget"]["kind"] == "solver"


def test_without_a_field_the_verdict_is_a_flow(spin: SimpleNamespace) -> None:
    report = spin.verify(spin.flow_map, None)
    assert report.verdict == "a flow" and "no field" in report.reason
    assert report["lagrangian"].status == "not applicable"


def test_the_flow_of_another_field_is_a_flow(spin: SimpleNamespace) -> None:
    """A tenth of a percent off: the algebra holds, every equation with the field fails."""
    report = spin.verify(spin.flow_map, lambda t, x: 1.001 * spin.field(t, x))
    assert report.verdict == "a flow"
    assert {one.name for one in report.failures} >= {"lagrangian", "eulerian", "tangent"}
    assert report["integral lagrangian"].status == "failed"
    assert report["semigroup"].status == "passed"


def mistaken(error: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def flow(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        angle = (t - s) * (1 + (s + t) / 2)
        cos, sin = angle.cos(), angle.sin()
        y = torch.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], dim=1)
        return error(t - s, x, y)

    return flow


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (lambda h, x, y: y + 1e-6 * (h**2)[:, None], "semigroup"),
        (lambda h, x, y: y * (1 - 1e-6 * h)[:, None], "lagrangian"),
        (lambda h, x, y: y + 1e-9, "identity"),
        (lambda h, x, y: y.float().double(), "identity"),
        (lambda h, x, y: y.detach() + 0 * x, "derivative honesty"),
        (lambda h, x, y: torch.where((x[:, :1] > 0.8), y + 1e-4, y), "identity"),
        (lambda h, x, y: y + 1e-6 * torch.rand_like(y), "determinism"),
        (lambda h, x, y: y + 1e-6 * y.mean(0), "batch consistency"),
        (lambda h, x, y: torch.where(x[:, :1] > 0.9, torch.nan, y), "finite values"),
    ],
)
def test_a_mistake_is_found(spin: SimpleNamespace, error: Any, name: str) -> None:
    report = spin.verify(mistaken(error))
    assert report[name].status == "failed", str(report)
    assert report.verdict != "flow map of the field"
    with pytest.raises(fm.testing.NotAFlowMap, match=name):
        report.raise_for_failures()


def test_derivatives_that_only_claim_the_field_are_no_evidence(spin: SimpleNamespace) -> None:
    """The values are those of Euler's step, dX/dt is made to be b: differences of values tell."""

    class Claims(fm.maps.FlowMap):
        def _transport(self, s: Any, t: Any, x: Tensor, condition: Any) -> Tensor:
            slope = spin.field(s, x)
            y = x + (t - s).detach()[:, None] * slope
            return y + (t - t.detach())[:, None] * spin.field(t.detach(), y)

    report = spin.verify(Claims())
    assert report["derivative honesty"].status == "failed"
    assert report.verdict == "not a flow"


def test_a_black_box_of_numpy_is_verified_by_values(spin: SimpleNamespace) -> None:
    def black_box(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        parts = (torch.from_numpy(a.numpy().copy()) for a in (s, t, x))
        return spin.flow_map(*parts)

    for derivatives in ("differences", "none"):
        report = spin.verify(black_box, derivatives=derivatives)
        assert report.verdict == "flow map of the field", str(report)
    report = spin.verify(black_box)
    assert report["derivative honesty"].status == "failed"
    assert 'derivatives="differences"' in report["derivative honesty"].reason
    assert report["integral lagrangian"].status == "passed"


@pytest.mark.parametrize(
    ("stranger", "words"),
    [
        (lambda s, t, x: x[:, :1], "shape"),
        (lambda s, t, x: x.float(), "dtype"),
        (lambda s, t, x: x.numpy(), "torch.Tensor"),
        (lambda s, t, x: x @ torch.ones(3, 3), "RuntimeError"),
        (lambda s, t: s, "TypeError"),
        (lambda s, t, x: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_stranger_that_cannot_be_called_gets_a_finding(
    spin: SimpleNamespace, stranger: Any, words: str
) -> None:
    report = spin.verify(stranger)
    assert report.verdict == "not a flow"
    assert report["call"].status == "failed" and words in report["call"].reason


def test_a_map_that_writes_into_its_argument_is_found(spin: SimpleNamespace) -> None:
    def writes(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        y = spin.flow_map(s, t, x)
        with torch.no_grad():
            x.mul_(0.5)
        return y

    report = spin.verify(writes, derivatives="none")
    assert [one.name for one in report.failures] == ["input not mutated"]


def test_a_dropped_condition_is_found(spin: SimpleNamespace) -> None:
    rate = fm.testing.Box(0.5, 2.0)

    def field(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        return -condition * x

    def decay(s: Tensor, t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        return x * torch.exp(-condition[:, 0] * (t - s))[:, None]

    def drops(s: Tensor, t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        return x * torch.exp(s - t)[:, None]

    assert spin.verify(decay, field, conditions=rate).verdict == "flow map of the field"
    pool = torch.rand(50, 1) + 0.5
    assert spin.verify(decay, field, conditions=pool).passed
    draws = lambda n, generator: torch.rand(n, 1, generator=generator) + 0.5  # noqa: E731
    assert spin.verify(decay, field, conditions=draws).passed
    assert spin.verify(drops, field, conditions=rate)["condition respected"].status == "failed"


def test_what_the_user_knows_is_checked(spin: SimpleNamespace) -> None:
    facts = {
        "conserved": {"radius": lambda t, x: x.square().sum(1)},
        "symmetries": {"reflection": lambda x: -x},
        "symplectic": True,
        "log_density": lambda t, x: -x.square().sum(1) / 2,
    }
    report = spin.verify(spin.flow_map, **facts)
    assert report.passed, str(report)
    names = "conserves radius", "commutes with reflection", "symplecticity"
    assert all(report[name].status == "passed" for name in names)
    shrinking = mistaken(lambda h, x, y: y * (1 - 0.01 * h)[:, None])
    report = spin.verify(shrinking, None, **facts)
    assert {one.name for one in report.failures} >= {
        "conserves radius",
        "symplecticity",
        "push-forward of the density",
    }


def test_angles_are_compared_on_the_circle(spin: SimpleNamespace) -> None:
    def wrapped(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return torch.remainder(x + (t - s)[:, None] * 5, 2 * math.pi)

    def difference(a: Tensor, b: Tensor) -> Tensor:
        return torch.remainder(a - b + math.pi, 2 * math.pi) - math.pi

    circle = fm.testing.Box(0.0, 2 * math.pi)
    options = dict(domain=circle, derivatives="none", difference=difference)
    field = lambda t, x: 0 * x + 5  # noqa: E731
    for derivatives in ("none", "differences", "forward"):
        # with enough points some wrap between the values that are differenced
        how = {**options, "derivatives": derivatives, "points": 2048, "times": (0.0, 2.0)}
        report = spin.verify(wrapped, field, **how)
        assert report.verdict == "flow map of the field", str(report)
    plain = spin.verify(wrapped, field, **{**options, "difference": None})
    assert plain["integral lagrangian"].status == "failed"


def test_expected_failures_are_named_with_their_reason(spin: SimpleNamespace) -> None:
    shifted = mistaken(lambda h, x, y: y + 1e-9)
    broken = [one.name for one in spin.verify(shifted).failures]
    report = spin.verify(shifted, expected_failures=dict.fromkeys(broken, "known bias"))
    assert report.passed and report["identity"].status == "expected failure"
    assert report["identity"].reason == "known bias"
    report = spin.verify(spin.flow_map, expected_failures={"identity": "none"})
    assert not report.passed and "passed, but" in report["identity"].reason


def test_points_reached_outside_the_domain_leave_their_sets_open() -> None:
    box = fm.testing.Box(-1.0, 1.0)
    growth = lambda s, t, x: x * torch.exp(t - s)[:, None]  # noqa: E731
    report = fm.testing.verify(growth, lambda t, x: x, box, (0.0, 1.0), points=256)
    one = report["tangent where it arrives"]
    assert one.status == "inconclusive" and 0.1 < one.outside < 0.5
    assert report.verdict == "flow map of the field"  # by another set


def test_half_precision_checks_values_alone(spin: SimpleNamespace) -> None:
    def coarse(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return spin.flow_map(s, t, x.float()).to(x.dtype)

    report = spin.verify(coarse, None, dtype=torch.bfloat16)
    assert report["lagrangian"].status == "not applicable"
    assert report["semigroup"].status == "passed", str(report)


def test_a_longer_time_measures_at_more_points(spin: SimpleNamespace) -> None:
    report = spin.verify(spin.flow_map, seconds=0.01, points=4096)
    assert report.passed and 64 <= report["semigroup"].points < 4096


def test_the_same_seed_gives_the_same_report(spin: SimpleNamespace) -> None:
    first, second = (spin.verify(spin.flow_map, seed=3) for _ in range(2))
    assert [one.quantiles for one in first] == [one.quantiles for one in second]
    other = spin.verify(spin.flow_map, seed=4)
    assert first["semigroup"].quantiles != other["semigroup"].quantiles


FINE: dict[str, Any] = dict(domain=fm.testing.Box(-1.0, 1.0), times=(0.0, 1.0))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(domain=None), TypeError, "domain must be a domain"),
        (dict(times=None), ValueError, "times must be"),
        (dict(times=(1.0, 0.0)), ValueError, "earliest < latest"),
        (dict(times=(0.0,)), TypeError, "times must be"),
        (dict(derivatives="backward"), ValueError, "derivatives must be"),
        (dict(directions="up"), ValueError, "directions must be"),
        (dict(seconds=0), ValueError, "seconds must be"),
        (dict(budget="much"), TypeError, "budget must be"),
        (dict(budget=-1.0), ValueError, "budget"),
        (dict(only=["nothing"]), ValueError, "only names"),
        (dict(expected_failures={"x": "y"}), ValueError, "expected_failures names"),
        (dict(event_shape=(2, 2)), ValueError, "event_shape"),
        (dict(field=3), TypeError, "field must be a callable"),
        (dict(flow_map=3), TypeError, "flow_map must be a callable"),
        (dict(field=lambda t, x: x.mean(0).expand_as(x)), ValueError, "every sample alone"),
    ],
)
def test_wrong_use_is_refused(
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    refused: Callable[..., None],
) -> None:
    given = {"flow_map": lambda s, t, x: x, "field": lambda t, x: 0 * x, **FINE, **options}
    refused(lambda: fm.testing.verify(**given), error, message)


def test_a_learned_map_needs_a_declared_accuracy(refused: Callable[..., None]) -> None:
    learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
    refused(lambda: fm.testing.verify(learned, **FINE), ValueError, "needs budget=")
    steps = fm.maps.SolverFlowMap(lambda t, x: -x, method=fm.solvers.RK4(), steps=4)
    refused(lambda: fm.testing.verify(steps, **FINE), ValueError, "needs budget=")
    field = lambda t, x: -x  # noqa: E731
    report = fm.testing.verify(steps, field, **FINE, budget=1e-3, points=256)
    assert report.verdict == "flow map of the field", str(report)
