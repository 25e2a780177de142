"""Mutants: what they say of themselves is true, and verification finds them."""

import pytest
import torch

import flowmaps as fm

EVERY = fm.testing.mutants.every()
LOCAL = [one for one in EVERY if 0 < one.share < 1 and one.name not in ("noisy at 1 %", "raises")]
SAMPLE = 6
"""One in so many is verified in every run of the suite, the others in slow ones."""


def test_there_are_many_over_many_problems():
    assert len(EVERY) >= 40
    assert len({one.problem for one in EVERY}) >= 6
    assert len(set(fm.testing.mutants.names())) == len(EVERY)
    assert {0.01, 0.05} <= {one.share for one in EVERY}


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="no mutant 'none'"):
        fm.testing.mutants.get("none")


@pytest.mark.parametrize("mutant", LOCAL, ids=lambda one: one.name)
def test_shares_are_the_measures_of_the_bad_sets(mutant):
    truth, n = mutant.truth, 40_000
    space = fm.testing.Space(
        truth.domain,
        truth.times,
        fm.maps.TimeSet(),
        truth.conditions,
        (truth.problem.dim,),
        torch.float64,
        torch.device("cpu"),
    )
    draw = space.draw(n, seed=1)
    extra = () if draw.condition is None else (draw.condition,)
    y = mutant.flow_map()(draw.s, draw.t, draw.x.clone(), *extra)
    exact = truth(draw.s, draw.t, draw.x, *extra)
    wrong = ~((y - exact).abs() <= 1e-12 * exact.abs().amax(1, keepdim=True)).all(1)
    spread = (mutant.share / n) ** 0.5
    assert abs(wrong.double().mean().item() - mutant.share) < 5 * spread


@pytest.mark.parametrize(
    "mutant",
    [
        # all of them are the benchmark's
        pytest.param(one, id=one.name)
        for one in EVERY[::SAMPLE]
    ],
)
def test_is_found(mutant):
    points = 2048 if mutant.name in ("wrong at row 1000", "whole chunks") else 512
    if mutant.name == "whole chunks":
        points = 4096  # its fault is one of batches of 50 and more: of 64 points, one in 64
    report = mutant.verify(points=points, shrink=False)
    failed = {one.name for one in report.failures}
    assert failed and report.verdict != "flow map of the field"
    assert set(mutant.seen_by) <= failed
    with pytest.raises(fm.testing.NotAFlowMap):
        report.raise_for_failures()


@pytest.mark.parametrize("name", fm.problems.names())
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_exact_maps_are_not_flagged(name, dtype):
    problem = fm.problems.get(name)
    if not isinstance(problem, fm.problems.ExactProblem):
        pytest.skip("has no closed form")
    report = fm.testing.verify(
        problem.flow_map(), problem.field, problem.domain, problem.times, dtype=dtype, points=512
    )
    report.raise_for_failures()
    assert report.verdict == "flow map of the field"
    assert report["batch consistency under vmap"].status == "passed"


def test_a_map_that_changes_its_times_spoils_no_other_finding():
    report = fm.testing.mutants.get("changes the times").verify(points=128, shrink=False)
    assert [one.name for one in report.failures] == ["input not mutated"]


def test_reverse_mode_is_measured_by_more_than_a_quadratic_form():
    report = fm.testing.mutants.get("transposed Jacobian backwards").verify(points=128)
    assert report["modes agree"].status == "failed"


def test_a_counterexample_fails_alone_and_is_simple():
    report = fm.testing.mutants.get("contraction").verify(points=256)
    found = report["lagrangian"].counterexample
    assert found.simplified and found.ratio > 1
    assert set(found.draw.x.flatten().tolist()) <= {-1.0, 0.0, 1.0}
