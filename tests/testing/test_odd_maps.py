"""Maps of odd kinds: what they do wrong is named for what it is, what they do right is not."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm

BOX = fm.testing.Box([-1.0, -1.0], [1.0, 1.0])


@pytest.mark.parametrize("hole", [float("inf"), float("-inf"), float("nan")])
def test_values_that_are_not_finite_are_named_so_and_no_more(
    spin: SimpleNamespace, hole: float
) -> None:
    """The map is deterministic and treats samples alone; where it ends is no number."""

    def holed(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return torch.where(x[:, :1] > 0.8, hole, spin.flow_map(s, t, x))

    report = spin.verify(holed)
    share = (report["finite values"].draw.x[:, 0] > 0.8).double().mean().item()
    assert report["finite values"].status == "failed"
    assert report["finite values"].failing == pytest.approx(share)
    for name in ("determinism", "batch consistency", "batch consistency under vmap"):
        assert report[name].status == "passed", name


@pytest.mark.parametrize(
    "pool", [torch.tensor([True, False]), torch.arange(3), torch.arange(3, dtype=torch.uint8)]
)
def test_conditions_may_be_labels(spin: SimpleNamespace, pool: Tensor) -> None:
    rates = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)

    def field(t: Tensor, x: Tensor, label: Any) -> Tensor:
        return -rates.to(x)[label["class"].long()][:, None] * x

    def decay(s: Tensor, t: Tensor, x: Tensor, label: Any) -> Tensor:
        rate = rates.to(x)[label["class"].long()]
        return x * torch.exp(rate * (s - t))[:, None]

    def writes(s: Tensor, t: Tensor, x: Tensor, label: Any) -> Tensor:
        y = decay(s, t, x, label)
        label["class"].zero_()
        return y

    conditions = {"class": pool, "none": None}
    assert spin.verify(decay, field, conditions=conditions).verdict == "flow map of the field"
    assert spin.verify(writes, field, conditions=conditions)["input not mutated"].worst > 1


def test_what_was_expected_does_not_change_the_verdict(spin: SimpleNamespace) -> None:
    report = spin.verify(spin.flow_map, expected_failures={"semigroup": "none", "tangent": "none"})
    assert not report.passed and report.verdict == "flow map of the field"
    honest = {"derivative honesty": "said to be a black box"}
    report = spin.verify(spin.flow_map, expected_failures=honest)
    assert report["lagrangian"].status == "passed", report["lagrangian"].reason


def test_derivatives_that_are_not_there_do_not_make_it_another_field(spin: SimpleNamespace) -> None:
    """The values are those of the field: what fails is what derivatives enter alone."""
    report = spin.verify(lambda s, t, x: spin.flow_map(s, t, x).detach())
    assert report["integral lagrangian"].status == "passed"
    assert report["lagrangian"].status == "failed"
    assert report.verdict == "inconclusive" and report.reason.startswith("derivative honesty")


def test_a_claim_about_a_flow_may_be_wrong_itself(spin: SimpleNamespace) -> None:
    claims: dict[str, Any] = {"conserved": {"height": lambda t, x: x[:, 1]}}
    report = spin.verify(spin.flow_map, **claims)
    assert not report.passed and report.verdict == "inconclusive"
    assert "a complete set, but" in report.reason and "conserves height" in report.reason
    report = spin.verify(spin.flow_map, None, **claims)
    assert report.verdict == "a flow" and "another field" not in report.reason


@pytest.mark.parametrize("seed", range(5))
def test_formulas_round_by_what_they_add_and_take_off(seed: int) -> None:
    """Near its equilibria the logistic flow, and near zero relaxation, is a small difference."""

    def logistic(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        growth = torch.exp(t - s)[:, None]
        return x * growth / (1 + x * (growth - 1))

    def relaxed(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return 1 + (x - 1) * torch.exp(s - t)[:, None]

    options: dict[str, Any] = {"times": (0.0, 5.0), "seed": seed, "shrink": False}
    unit = fm.testing.Box(0.0, 1.0)
    report = fm.testing.verify(logistic, lambda t, x: x * (1 - x), unit, **options)
    assert report.verdict == "flow map of the field", str(report)
    rest = fm.testing.Points(torch.zeros(1, 2))
    report = fm.testing.verify(relaxed, lambda t, x: 1 - x, rest, directions="forward", **options)
    assert report.passed, str(report)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_condition_may_be_forgotten(dtype: torch.dtype) -> None:
    """All relax to one, at rates of their own; and a short time at any rate leaves a state."""

    def relaxed(s: Tensor, t: Tensor, x: Tensor, rate: Tensor) -> Tensor:
        return (1 + (x - 1) * torch.exp(-rate * (t - s)[:, None])).to(x.dtype)

    def drops(s: Tensor, t: Tensor, x: Tensor, rate: Tensor) -> Tensor:
        return relaxed(s, t, x, torch.ones_like(rate))

    options: dict[str, Any] = {
        "conditions": fm.testing.Box(1.0, 2.0),
        "directions": "forward",
        "only": ["condition respected"],
        "dtype": dtype,
    }
    for latest in (1.0, 100.0):
        for flow, status in ((relaxed, "passed"), (drops, "failed")):
            report = fm.testing.verify(
                flow, lambda t, x, rate: rate * (1 - x), BOX, (0.0, latest), **options
            )
            assert report["condition respected"].status == status, (latest, flow)


@pytest.mark.parametrize("latest", [300.0, 1000.0])
def test_what_a_quadrature_does_not_see_is_left_open(latest: float) -> None:
    """A hundred turns within a span are more than its nodes can follow."""

    def rotated(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        cos, sin = (t - s).cos(), (t - s).sin()
        return torch.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], 1)

    report = fm.testing.verify(
        rotated, lambda t, x: torch.stack([-x[:, 1], x[:, 0]], 1), BOX, (0.0, latest), shrink=False
    )
    assert report["integral lagrangian"].status == "inconclusive"
    assert report.verdict == "flow map of the field", str(report)


@pytest.mark.parametrize("rate", [100.0, 1e3, 1e4, 1e6])
def test_a_stiff_flow_is_a_flow(rate: float) -> None:
    """Its layer is shorter than the steps of a rule, its Jacobian less than the least number."""

    def relaxed(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x * torch.exp(-rate * (t - s))[:, None]

    options: dict[str, Any] = {"directions": "forward", "shrink": False}
    report = fm.testing.verify(relaxed, lambda t, x: -rate * x, BOX, (0.0, 1.0), **options)
    assert report.verdict == "flow map of the field" and not report.failures, str(report)
    report = fm.testing.verify(relaxed, lambda t, x: -0.9 * rate * x, BOX, (0.0, 1.0), **options)
    assert report["tangent"].status == "failed", str(report)
    assert report.verdict != "flow map of the field", str(report)


def test_a_flow_that_flattens_is_not_one_that_underflows() -> None:
    def flattened(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0], torch.where(t > s, 0.0 * x[:, 1], x[:, 1])], 1)

    report = fm.testing.verify(
        flattened, lambda t, x: 0 * x, BOX, (0.0, 1.0), only=["liouville", "gronwall bound"]
    )
    assert report["liouville"].status == report["gronwall bound"].status == "failed", str(report)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(times=5), TypeError, "times must be"),
        (dict(conditions=5), TypeError, "conditions must be"),
        (dict(conditions=[1, 2]), TypeError, "conditions must be"),
        (dict(conditions={}), TypeError, "conditions must be"),
        (dict(conditions=torch.tensor(1.0)), ValueError, "conditions must have rows"),
        (dict(conditions=torch.zeros(0, 1)), ValueError, "conditions must have rows"),
        (dict(conditions=[torch.zeros(2), torch.zeros(3)]), ValueError, "conditions must have"),
        (dict(properties=["semigroup"]), TypeError, "properties must be"),
        (dict(properties=[fm.testing.properties.Identity]), TypeError, "properties must be"),
        (dict(properties=fm.testing.properties.Identity()), TypeError, "properties must be"),
        (dict(only="semigroup"), TypeError, "only must be names"),
        (dict(only=[]), TypeError, "only must be names"),
        (dict(conserved={"energy": 3}), TypeError, "conserved must map names"),
        (dict(symmetries=[torch.neg]), TypeError, "symmetries must map names"),
        (dict(log_density=3), TypeError, "log_density must be a function"),
        (dict(difference=3), TypeError, "difference must be a function"),
        (dict(expected_failures=["semigroup"]), TypeError, "expected_failures must map"),
        (dict(expected_failures={"semigroup": 3}), TypeError, "expected_failures must map"),
        (dict(event_shape=2), TypeError, "event_shape must be"),
        (dict(event_shape=(-1, -2)), ValueError, "event_shape must be"),
        (dict(dtype="float64"), TypeError, "dtype must be one of"),
        (dict(dtype=torch.int64), TypeError, "dtype must be one of"),
        (dict(seed=1.5), TypeError, "seed must be"),
        (dict(atol=-1.0), ValueError, "atol must be"),
        (dict(atol="x"), ValueError, "atol must be"),
    ],
)
def test_wrong_use_is_told_before_the_first_call(
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    refused: Callable[..., None],
) -> None:
    def called(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        raise AssertionError("the map was called")

    given = {"flow_map": called, "domain": BOX, "times": (0.0, 1.0), **options}
    refused(lambda: fm.testing.verify(**given), error, message)
