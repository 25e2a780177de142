"""Draws: reproducible, of fixed shapes, with exact counts and the laws they claim."""

import copy
import itertools
import math
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.utils import _pytree as pytree

import flowmaps as fm

LAWS = {
    "diagonal": fm.objectives.Diagonal(),
    "sorted": fm.objectives.SortedPair(),
    "limited": fm.objectives.SortedPair(fm.objectives.GrowingSpan(0.2, 0.5)),
    "from start": fm.objectives.FromStart(),
    "mixed": fm.objectives.Mixed(0.75),
    "nested": fm.objectives.Mixed(0.5, fm.objectives.Mixed(0.5)),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs(n: int = 40) -> fm.objectives.Pairs:
    return fm.objectives.Pairs(None, torch.randn(n, 2, 3), condition={"label": torch.arange(n)})


def box() -> fm.objectives.Domain:
    square = fm.domains.Box([-1.0, -2.0], [1.0, 2.0])
    return fm.objectives.Domain(square, (1.0, 3.0), condition=fm.domains.Box([0.0], [1.0]))


OBJECTIVES = {
    "flow matching": (lambda: fm.objectives.flow_matching(), pairs),
    "lsd": (lambda: fm.objectives.lsd(), pairs),
    "lagrangian residual": (lambda: fm.objectives.lagrangian_residual(lambda t, x, c: x), box),
}


# ---------------------------------------------------------------------------- laws of times


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("n", [0, 4, 7, 64])
def test_times_are_ordered_inside_and_counted(name: str, n: int) -> None:
    law = LAWS[name]
    for progress in (0.0, 0.4, 1.0):
        s, t = law.sample(n, (-1.0, 2.0), seeded(n), progress)
        assert s.shape == t.shape == (n,) and s.dtype == t.dtype == torch.float64
        assert bool((s <= t).all() and (s >= -1).all() and (t <= 2).all())
        count = law.diagonal(n)
        assert torch.equal(s[:count], t[:count])
        assert bool((s[count:] < t[count:]).all())


def test_the_share_of_the_diagonal_is_exact() -> None:
    counts = [fm.objectives.Mixed(0.75).diagonal(n) for n in (4, 100, 256, 1001)]
    assert counts == [3, 75, 192, 751]
    assert LAWS["nested"].diagonal(8) == 6


@given(share=st.floats(0, 1), n=st.integers(2, 300))
def test_both_laws_of_a_mixture_have_rows_in_every_batch(share: float, n: int) -> None:
    count = fm.objectives.Mixed(share).diagonal(n)
    assert count == n * share if share in (0, 1) else 1 <= count <= n - 1
    assert abs(count - share * n) <= 1


@pytest.mark.parametrize("name", ["lsd", "esd", "psd_m", "psd_u"])
def test_self_distillation_has_both_terms_in_every_batch(name: str) -> None:
    objective, learned = getattr(fm.objectives, name)(), fm.maps.Identity()
    for n in range(2, 8):
        loss = objective.loss(learned, None, torch.randn(n, 2))
        assert list(loss.parts) == [term.name for term in objective.terms]
    with pytest.raises(ValueError, match="two rows at least, got 1; give a larger batch"):
        objective.loss(learned, None, torch.randn(1, 2))
    pretrained = getattr(fm.objectives, name)(pretrain=0.5)
    draw = pretrained.draw(pairs(), batch=1, progress=0.2)
    assert draw.diagonal == 1


def test_a_draw_is_that_of_the_end_of_training_unless_told_otherwise() -> None:
    objective = fm.objectives.lsd(pretrain=0.5, limit=fm.objectives.GrowingSpan(0.1))
    data = pairs()
    draws = [
        objective.draw(data, batch=64, generator=seeded(0), **settings)
        for settings in ({}, {"progress": 1.0}, {"progress": 0.6}, {"progress": 0.4})
    ]
    assert torch.equal(draws[0].t, draws[1].t) and not torch.equal(draws[0].t, draws[2].t)
    assert [draw.diagonal for draw in draws] == [48, 48, 48, 64]
    spans = [(draw.t - draw.s).max().item() for draw in draws]
    assert spans[0] > 0.5 > spans[2] > spans[3] == 0.0
    x1 = torch.randn(64, 2)
    parts = [objective.loss(fm.maps.Identity(), None, x1, progress=p).parts for p in (0.0, 1.0)]
    assert [len(part) for part in parts] == [1, 2]
    assert len(objective.loss(fm.maps.Identity(), None, x1).parts) == 2


@pytest.mark.parametrize("progress", [-0.1, 1.1, math.nan, math.inf, "half", True])
def test_progress_is_a_fraction(progress: Any) -> None:
    with pytest.raises(ValueError, match=r"progress must be a fraction of training in \[0, 1\]"):
        fm.objectives.lsd().draw(pairs(), batch=4, progress=progress)


def test_a_sorted_pair_has_the_law_of_two_sorted_uniforms() -> None:
    s, t = fm.objectives.SortedPair().sample(200_000, (0.0, 1.0), seeded(0))
    law = {
        "E s": (s, 1 / 3),
        "E t": (t, 2 / 3),
        "E s^2": (s**2, 1 / 6),
        "E st": (s * t, 1 / 4),
        "E t^2": (t**2, 1 / 2),
    }
    for name, (values, expected) in law.items():
        error = (values.mean() - expected).abs() / (values.std() / math.sqrt(len(values)))
        assert error < 4, name


def test_a_limited_pair_is_a_sorted_pair_given_its_span() -> None:
    limit = 0.3
    s, t = fm.objectives.SortedPair(lambda progress: limit).sample(100_000, (0.0, 1.0), seeded(0))
    assert (t - s).max() <= limit
    u, v = torch.rand(2_000_000, 2, generator=seeded(1)).sort(1).values.unbind(1)
    kept = v - u <= limit
    for ours, theirs in ((s, u[kept]), (t - s, (v - u)[kept]), (s * t, (u * v)[kept])):
        spread = (ours.var() / len(ours) + theirs.var() / len(theirs)).sqrt()
        assert (ours.mean() - theirs.mean()).abs() < 4 * spread


def test_spans_grow_with_progress() -> None:
    limit = fm.objectives.GrowingSpan(0.1, 0.5)
    assert [limit(p) for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([0.1, 0.55, 1.0, 1.0])
    for law in (fm.objectives.FromStart(limit), fm.objectives.SortedPair(limit)):
        longest = [
            torch.sub(*reversed(law.sample(5000, (0.0, 2.0), seeded(0), p))).max()
            for p in (0.0, 0.25, 1.0)
        ]
        assert 0.19 < longest[0] <= 0.2 and 1.0 < longest[1] <= 1.1 and 1.8 < longest[2] <= 2.0


# ---------------------------------------------------------------------------- draws


@pytest.mark.parametrize("name", OBJECTIVES)
def test_equal_generators_give_equal_draws_of_one_shape(name: str) -> None:
    make, source = OBJECTIVES[name]
    objective, data = make(), source()
    draws = [
        objective.draw(data, batch=16, generator=seeded(k), progress=p)
        for k, p in ((1, 0.0), (1, 0.0), (2, 1.0))
    ]
    first, again, other = (pytree.tree_flatten(draw) for draw in draws)
    assert first[1] == again[1] == other[1]
    assert all(torch.equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    assert all(a.shape == b.shape for a, b in zip(first[0], other[0], strict=True))
    assert not torch.equal(draws[0].points, draws[2].points)
    assert len(draws[0]) == 16 and draws[0].diagonal == objective.times.diagonal(16)


def test_points_and_velocities_lie_on_the_interpolant() -> None:
    x1 = torch.randn(40, 2, 3)
    data = fm.objectives.Pairs(None, x1, condition=torch.arange(40))
    draw = fm.objectives.lsd().draw(data, batch=100, generator=seeded(0))
    s, x0, row = draw.s[:, None, None], draw.noise, draw.condition
    assert x0 is not None and draw.velocity is not None
    torch.testing.assert_close(draw.points, (1 - s) * x0 + s * x1[row])
    torch.testing.assert_close(draw.velocity, x1[row] - x0)
    assert len(row.unique()) > 30


def test_without_a_batch_every_pair_comes_once() -> None:
    x0, x1 = torch.randn(10, 2), torch.randn(10, 2)
    draw = fm.objectives.flow_matching().draw(fm.objectives.Pairs(x0, x1))
    assert draw.noise is not None and torch.equal(draw.noise, x0)
    torch.testing.assert_close(draw.velocity, x1 - x0)


def test_coupled_pairs_stay_coupled() -> None:
    x0 = torch.randn(10, 2)
    a, b, condition = fm.objectives.Pairs(x0, 2 * x0, {"c": 3 * x0}).sample(50, seeded(0))
    assert torch.equal(2 * a, b) and torch.equal(3 * a, condition["c"])


def test_a_domain_gives_points_times_and_conditions(default_dtype: torch.dtype) -> None:
    draw = fm.objectives.lagrangian_residual(lambda t, x, c: x).draw(box(), batch=30)
    assert draw.points.shape == (30, 2) and draw.condition.shape == (30, 1)
    assert draw.points.dtype == draw.condition.dtype == default_dtype
    assert bool((draw.s >= 1).all() and (draw.t <= 3).all())
    single = fm.objectives.Domain(fm.domains.Box([0.0], [1.0]), (0.0, 1.0), dtype=torch.float32)
    assert single.sample(3)[0].dtype == torch.float32


@pytest.mark.parametrize("name", OBJECTIVES)
def test_draws_are_made_on_the_cpu_whatever_the_default_device(name: str) -> None:
    """Where the generator is: with an accelerator as torch's default a draw would be refused."""
    make, source = OBJECTIVES[name]
    objective, data = make(), source()
    expected = objective.draw(data, batch=4, generator=seeded(0))
    with torch.device("meta"):
        draw = objective.draw(data, batch=4, generator=seeded(0))
    pairs_of_leaves = zip(pytree.tree_leaves(draw), pytree.tree_leaves(expected), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs_of_leaves)


def test_a_draw_is_a_pytree_of_tensors() -> None:
    draw = fm.objectives.lsd().draw(pairs(), batch=8)
    leaves, structure = pytree.tree_flatten(draw)
    assert all(isinstance(leaf, torch.Tensor) for leaf in leaves) and len(leaves) == 6
    again = pytree.tree_unflatten(leaves, structure)
    assert again.u is None and again.diagonal == 6 and again.condition.keys() == {"label"}
    paths = [pytree.keystr(path) for path, _ in pytree.tree_leaves_with_path(draw)]
    assert ".points" in paths and ".condition['label']" in paths
    assert copy.copy(draw).to("cpu").points is draw.points


def test_slices_keep_the_diagonal_first_and_counted() -> None:
    draw = fm.objectives.lsd().draw(pairs(), batch=13)
    assert draw.diagonal == 10
    parts = [slice(i, None, ranks) for ranks in (1, 2, 3, 5) for i in range(ranks)]
    for rows in itertools.chain(parts, [slice(0, 3), slice(9, 11), slice(11, None), slice(5, 5)]):
        part = draw[rows]
        assert torch.equal(part.condition["label"], draw.condition["label"][rows])
        assert part.diagonal == (part.s == part.t).sum()
        assert torch.equal(part.s[: part.diagonal], part.t[: part.diagonal])


def test_conditions_may_hold_none() -> None:
    """A leaf None is kept by slices, devices, losses and compiled losses alike."""
    condition = {"a": torch.randn(8, 1), "b": None}

    class Seeing(torch.nn.Module):
        def forward(self, s: Any, t: Any, x: Any, condition: Any) -> Any:
            return x * condition["a"] + t[:, None]

    learned = fm.maps.NeuralFlowMap(Seeing())
    objective = fm.objectives.lsd()
    draw = objective.draw(fm.objectives.Pairs(None, torch.randn(8, 2), condition))
    assert draw[2:4].to("cpu").condition["b"] is None
    assert torch.equal(draw[2:4].condition["a"], draw.condition["a"][2:4])
    both = objective(learned, draw).per_sample
    halves = [objective(learned, part).per_sample for part in (draw[:4], draw[4:])]
    torch.testing.assert_close(torch.cat(halves), both)


def filled(**changed: Any) -> fm.objectives.Draw:
    parts = {"s": torch.zeros(4), "t": torch.ones(4), "points": torch.zeros(4, 2)}
    parts |= {"velocity": torch.zeros(4, 2), "diagonal": 1}
    return fm.objectives.Draw(**(parts | changed))


BAD_PARTS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "t": ({"t": torch.ones(3)}, ValueError, r"t must have shape \(4,\), .* got \(3,\)"),
    "s": ({"s": torch.zeros(4, 1)}, ValueError, "s must have shape"),
    "a number": ({"s": 0.0}, TypeError, "s must be a tensor of real numbers, got 0.0"),
    "u": ({"u": torch.ones(())}, ValueError, "u must have shape"),
    "velocity": ({"velocity": torch.zeros(2)}, ValueError, "velocity must have shape"),
    "images": ({"images": torch.zeros(4, 3)}, ValueError, "images must have shape"),
    "whole noise": ({"noise": torch.zeros(4, 2).long()}, TypeError, "real numbers, got torch.int"),
    "points": ({"points": torch.zeros(4, 2).long()}, TypeError, "points must have a real"),
    "condition": ({"condition": torch.zeros(3)}, ValueError, "condition must have one row"),
    "diagonal": ({"diagonal": 9}, ValueError, "at most the 4 rows, got 9"),
    "negative": ({"diagonal": -1}, ValueError, "diagonal must be a whole number of at least 0"),
}


@pytest.mark.parametrize("case", BAD_PARTS)
def test_parts_that_do_not_fit_are_refused(case: str) -> None:
    changed, error, message = BAD_PARTS[case]
    with pytest.raises(error, match=message):
        filled(**changed)


def test_rows_are_slices_and_a_loss_needs_some() -> None:
    draw, row = filled(), 0
    with pytest.raises(TypeError, match=r"a slice such as draw\[0:1\], got 0"):
        draw[row]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="the draw has no rows"):
        fm.objectives.flow_matching()(fm.maps.Identity(), draw[:0])


def test_trees_of_placeholders_are_let_through() -> None:
    leaves, structure = pytree.tree_flatten(filled())
    axes = pytree.tree_unflatten([0] * len(leaves), structure)
    one = torch.func.vmap(lambda row: row.points.sum() + row.t, in_dims=(axes,))(filled())
    assert one.tolist() == [1.0] * 4
