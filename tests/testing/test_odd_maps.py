"""Maps of odd kinds: what they do wrong is named for what it is, what they do right is not."""

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
