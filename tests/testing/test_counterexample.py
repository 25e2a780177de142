"""Counterexamples are simple, lie in the domain, fail, and their code runs."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm


def off(size: float) -> Any:
    def flow(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x * (1 + (s - t))[:, None] + size * x

    return flow


@pytest.mark.parametrize("seed", range(5))
def test_numbers_of_a_counterexample_are_plain(spin: SimpleNamespace, seed: int) -> None:
    """Euler's step is wrong nearly everywhere: zeros, ones and halves show it."""
    report = spin.verify(off(0.0), lambda t, x: -x, shrink=True, seed=seed, only=["semigroup"])
    example = report["semigroup"].counterexample
    numbers = torch.cat([*(a for a in example.draw[:3]), example.draw.x.flatten()])
    assert set(numbers.abs().tolist()) <= {0.0, 0.5, 1.0}
    assert example.simplified and example.ratio > 1


def test_its_code_shows_the_residual(spin: SimpleNamespace) -> None:
    flow_map, field = off(1e-3), spin.field
    report = spin.verify(flow_map, field, shrink=True)
    for name in ("identity", "semigroup", "inverse", "lagrangian", "eulerian", "tangent"):
        example = report[name].counterexample
        space: dict[str, Any] = {"flow_map": flow_map, "field": field}
        exec(example.code(), space)
        assert space["residual"].abs().max().item() == pytest.approx(example.value), name
    for one in report.failures:  # calls of the map itself too, which takes times (batch,)
        exec(one.counterexample.code(), {"flow_map": flow_map, "field": field})
    assert report["batch consistency"].status == "passed"
    assert "report" not in "".join(one.counterexample.code() for one in report.failures)


def test_a_counterexample_lies_where_the_sample_does() -> None:
    """Wrong beyond a radius and late alone, so that most plain numbers do not show it."""

    def flow(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        bad = (x.norm(dim=1) > 0.8) & (s > 0.7) & (t > s)
        return torch.where(bad[:, None], x + 1e-3, x)

    ball = fm.testing.Ball([0.0, 0.0], 1.0)
    report = fm.testing.verify(
        flow, None, ball, (0.0, 1.0), directions="forward", only=["identity", "semigroup"]
    )
    example = report["semigroup"].counterexample
    assert example.draw.x.norm() <= 1 and 0.7 < example.draw.u.item() <= example.draw.t.item() <= 1


def test_large_states_are_not_printed() -> None:
    box = fm.testing.Box(torch.full((108,), -1.0), torch.ones(108))
    report = fm.testing.verify(
        lambda s, t, x: x + 1e-3, None, box, (0.0, 1.0), event_shape=(3, 6, 6), only=["identity"]
    )
    example = report["identity"].counterexample
    assert example.draw.x.shape == (1, 3, 6, 6) and len(example.code()) < 500


def test_a_report_is_read_back_from_json(spin: SimpleNamespace, tmp_path: Any) -> None:
    report = spin.verify(off(float("nan")), lambda t, x: -x, shrink=True)
    text = report.to_json(tmp_path / "report.json")
    told = json.loads((tmp_path / "report.json").read_text())
    assert json.loads(text) == told
    assert (told["format"], told["version"]) == ("flowmaps.verification", 1)
    assert told["verdict"] == report.verdict == "not a flow"
    assert {one["name"] for one in told["properties"]} == {one.name for one in report}
    page = report.to_markdown()
    assert all(one.name in page for one in report) and "```python" in page
    with pytest.raises(KeyError, match="no property 'nothing'"):
        report["nothing"]
