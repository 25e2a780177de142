"""Guidance and condition dropout: closed forms, one call, conditions of every form."""

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.testing import assert_close

import flowmaps as fm

fields = fm.fields
numbers = st.floats(-3.0, 5.0).map(lambda a: round(a, 3))
MEANS = torch.tensor([-2.0, 0.5, 3.0, 0.0], dtype=torch.float64)  # the last one says "none"


def spread(t: Tensor) -> Tensor:
    """Variance of (1 - t) x0 + t x1 for data N(m, 1/4)."""
    return (1 - t) ** 2 + t**2 / 4


def gaussian(t: Tensor, x: Tensor, label: Tensor) -> Tensor:
    """Velocity towards N(MEANS[label], 1/4), wide N(0, 1/4) for the last label."""
    t, mean = t[:, None], MEANS.to(x)[label][:, None]
    return mean + (t / 4 - (1 - t)) / spread(t) * (x - t * mean)


class Counted(nn.Module):
    """The same, with a count of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        self.calls += 1
        return self.gain * gaussian(t, x, label)


def drawn(batch: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    return torch.rand(batch), torch.randn(batch, 2), torch.arange(batch) % 3


@given(numbers)
def test_guided_gaussians_have_a_mean_moved_by_the_scale(scale: float) -> None:
    """All classes share one covariance: the guided field is that of mean a m."""
    t, x, label = drawn()
    mean, time = scale * MEANS[label][:, None], t[:, None]
    expected = mean + (time / 4 - (1 - time)) / spread(time) * (x - time * mean)
    assert_close(fields.guided(gaussian, scale, 3)(t, x, label), expected)
    given_scale = {"label": label, "guidance": torch.full((5,), scale)}
    assert_close(fields.guided(gaussian, None, 3)(t, x, given_scale), expected)


def test_the_guided_flow_carries_base_to_the_moved_law() -> None:
    x, label = torch.randn(4, 2), torch.tensor([0, 1, 2, 0])
    flow = fm.maps.SolverFlowMap(fields.guided(gaussian, 2.0, 3), rtol=1e-9, atol=1e-9)
    assert_close(flow(0.0, 1.0, x, label), 2 * MEANS[label][:, None] + x / 2, rtol=0, atol=1e-7)


def test_the_network_is_called_once() -> None:
    network = Counted()
    field = fields.guided(network, 1.5, 3)
    field(*drawn())
    assert network.calls == 1 and list(field.parameters()) == [network.gain]


def test_every_sample_has_its_own_scale() -> None:
    t, x, label = drawn()
    scales = torch.linspace(-1.0, 3.0, 5)
    found = fields.guided(gaussian, None, 3)(t, x, {"label": label, "guidance": scales})
    for row, scale in enumerate(scales.tolist()):
        one = slice(row, row + 1)
        assert_close(found[one], fields.guided(gaussian, scale, 3)(t[one], x[one], label[one]))


def test_outside_its_interval_guidance_is_the_field() -> None:
    t = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    _, x, label = drawn()
    free, guided = gaussian(t, x, label), fields.guided(gaussian, 3.0, 3)(t, x, label)
    inside = torch.tensor([False, True, True, True, False])[:, None]
    found = fields.guided(gaussian, 3.0, 3, interval=(0.25, 0.75))(t, x, label)
    assert_close(found, torch.where(inside, guided, free))
    weak = fields.autoguided(gaussian, lambda t, x, label: 0 * x, 3.0, interval=(0.25, 0.75))
    assert_close(weak(t, x, label), torch.where(inside, 3.0, 1.0) * free)


@given(numbers)
def test_autoguidance_extrapolates_from_the_weak_field(scale: float) -> None:
    t, x, label = drawn()
    weak = fields.autoguided(gaussian, lambda t, x, label: gaussian(t, x, 0 * label), scale)
    expected = (1 - scale) * gaussian(t, x, 0 * label) + scale * gaussian(t, x, label)
    assert_close(weak(t, x, label), expected)


def test_a_condition_may_be_a_pytree() -> None:
    def field(t: Tensor, x: Tensor, c: dict[str, Any]) -> Tensor:
        label, (code, kept) = c["label"], c["more"]
        return label[:, None] * x + code * kept

    t, x, label = drawn()
    condition = {"label": label, "more": (torch.randn(5, 2), torch.randn(5, 1))}
    code = torch.tensor([2.0, 7.0])
    empty = {"label": 9, "more": (code, None)}
    none = 9 * x + code * condition["more"][1]
    found = fields.guided(field, 0.0, empty)(t, x, condition)
    assert_close(found, none)
    scaled = {**condition, "guidance": torch.full((5, 1), 1.0)}
    assert_close(fields.guided(field, None, empty)(t, x, scaled), field(t, x, condition))


def test_guidance_under_transforms_and_compiled() -> None:
    t, x, label = drawn()
    field = fields.guided(gaussian, 2.0, torch.tensor(3), interval=(0.2, 0.9))
    slope = torch.func.jvp(lambda x: field(t, x, label), (x,), (torch.ones_like(x),))[1]
    step = 1e-6
    expected = (field(t, x + step, label) - field(t, x - step, label)) / (2 * step)
    assert_close(slope, expected, rtol=1e-6, atol=1e-7)
    compiled = torch.compile(field, fullgraph=True, backend="aot_eager")
    assert_close(compiled(t, x, label), field(t, x, label))
    mapped = torch.func.vmap(lambda x: field(t, x, label))(torch.stack([x, 2 * x]))
    assert_close(mapped[1], field(t, 2 * x, label))
    assert field(t[:0], x[:0], label[:0]).shape == (0, 2)
    assert field(t.float(), x.float(), label).dtype == torch.float32


def test_guided_fields_are_saved(tmp_path: Path) -> None:
    x, label = torch.rand(3, 2), torch.tensor([0, 1, 2])
    for k, empty in enumerate((3, torch.tensor(3))):
        guided = fields.guided(Counted(), 2.0, empty, (0.1, 0.8))
        flow = fm.maps.SolverFlowMap(fields.autoguided(guided, guided, 2.0))
        again = fm.load(fm.save(flow, tmp_path / str(k)), field=Counted())
        assert torch.equal(again(0.0, 0.5, x, label), flow(0.0, 0.5, x, label))


# ---------------------------------------------------------------------------- dropout


@given(st.lists(st.booleans(), max_size=6))
def test_forgotten_rows_and_no_others_are_replaced(rows: list[bool]) -> None:
    drop = torch.tensor(rows, dtype=torch.bool)
    label, code = torch.arange(len(rows)), torch.randn(len(rows), 3)
    found = fields.forgotten((label, None, code), drop, (-1, None, torch.tensor([0.0, 1.0, 2.0])))
    assert found[0].tolist() == [-1 if gone else row for row, gone in enumerate(rows)]
    assert found[0].dtype == label.dtype and found[1] is None
    for row, gone in enumerate(rows):
        assert found[2][row].tolist() == ([0.0, 1.0, 2.0] if gone else code[row].tolist())


def test_forgetting_is_compiled_and_mapped() -> None:
    label, drop = torch.arange(4), torch.tensor([True, False, False, True])

    def forget(label: Tensor, drop: Tensor) -> Tensor:
        return fields.forgotten({"label": label}, drop, {"label": -1})["label"]

    compiled = torch.compile(forget, fullgraph=True, backend="aot_eager")
    assert compiled(label, drop).tolist() == [-1, 1, 2, -1]
    both = torch.func.vmap(forget)(torch.stack([label, label]), torch.stack([drop, ~drop]))
    assert both.tolist() == [[-1, 1, 2, -1], [0, -1, -1, 3]]


# ---------------------------------------------------------------------------- bad input

ANY: Any = "three"
T, X, LABEL = torch.zeros(2), torch.zeros(2, 1), torch.tensor([0, 1])
BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no field": (lambda: fields.guided(ANY, 1.0, 0), TypeError, "a field is a callable"),
    "no weak field": (lambda: fields.autoguided(gaussian, ANY, 1.0), TypeError, "a field is"),
    "scale": (lambda: fields.guided(gaussian, ANY, 0), TypeError, "scale of guidance"),
    "infinite": (lambda: fields.autoguided(gaussian, gaussian, float("inf")), ValueError, "finite"),
    "no empty": (lambda: fields.guided(gaussian, 1.0, {"a": None}), ValueError, 'says "none"'),
    "a word": (lambda: fields.guided(gaussian, 1.0, ANY), TypeError, "a leaf of empty"),
    "interval": (lambda: fields.guided(gaussian, 1.0, 0, ANY), TypeError, "two times"),
    "backward": (lambda: fields.guided(gaussian, 1.0, 0, (1, 0)), ValueError, "t0 <= t1"),
    "no condition": (lambda: fields.guided(gaussian, 1.0, 0)(T, X), ValueError, "needs a cond"),
    "no scale": (lambda: fields.guided(gaussian, None, 0)(T, X, LABEL), ValueError, "must be a di"),
    "scales": (
        lambda: fields.guided(gaussian, None, 0)(T, X, {"a": LABEL, "guidance": T[:1]}),
        ValueError,
        "one scale for every sample",
    ),
    "too many": (
        lambda: fields.guided(gaussian, None, 0)(T, X, {"a": T, "b": T, "guidance": T}),
        ValueError,
        "one entry",
    ),
    "drop": (lambda: fields.forgotten(LABEL, LABEL, 0), TypeError, "truth values"),
    "rows": (lambda: fields.forgotten(LABEL, torch.ones(3).bool(), 0), ValueError, "one row"),
    "a fraction": (lambda: fields.forgotten(LABEL, LABEL > 0, 0.5), TypeError, "whole number"),
    "form": (lambda: fields.forgotten(LABEL, LABEL > 0, {"a": 1}), ValueError, "single leaf"),
    "shape": (
        lambda: fields.forgotten(X, LABEL > 0, torch.zeros(2)),
        ValueError,
        "does not broadcast",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str, refused: Any) -> None:
    refused(*BAD[name])
