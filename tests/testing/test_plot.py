"""Pictures of a verification: which properties, which points, how they are coloured."""

import matplotlib.image
import pytest
import torch

import flowmaps as fm

LINE = fm.testing.Box(-1.0, 1.0)


def chord(s, t, x):
    return x * (1 - (t - s)).reshape(-1, *[1] * (x.ndim - 1))


def verified(flow_map, domain=LINE, **options):
    options = {"points": 64, "shrink": False} | options
    return fm.testing.verify(flow_map, lambda t, x: -x, domain, (0.0, 1.0), **options)


@pytest.fixture(scope="module")
def failing():
    return verified(chord)


def test_the_failing_ones_are_drawn_with_their_counterexamples(failing, tmp_path):
    figure = failing.plot(tmp_path / "a.png")
    left = [axes for axes in figure.axes if axes.get_xlabel() == "$x$"]
    names = [axes.get_title().removesuffix(": failed") for axes in left]
    assert names == [one.name for one in failing.failures[:4]]
    assert matplotlib.image.imread(tmp_path / "a.png").std() > 0
    points, ring = left[0].collections
    example = failing[names[0]].counterexample.draw
    torch.testing.assert_close(
        torch.tensor(ring.get_offsets()[0].tolist()), torch.stack([example.x[0, 0], example.t[0]])
    )
    assert len(points.get_offsets()) == failing[names[0]].points


def test_the_worst_lie_on_top_and_colours_are_logarithms(failing):
    one = failing["lagrangian"]
    points = failing.plot(names=["lagrangian"]).axes[1].collections[0]
    colours = torch.as_tensor(points.get_array().data)
    torch.testing.assert_close(colours, one.ratio.log10().clamp(-4, 16).sort().values)


def test_a_map_that_passes_shows_the_worst_few():
    report = verified(
        lambda s, t, x: x * torch.exp(s - t)[:, None], fm.testing.Box([-1.0, -1.0], [1.0, 1.0])
    )
    axes = report.plot().axes
    first = max((one for one in report if one.ratio is not None), key=lambda one: one.worst)
    assert axes[0].get_title() == f"{first.name}: passed"
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == ("$x_1$", "$x_2$")


def test_residuals_that_are_infinite_are_drawn():
    report = verified(lambda s, t, x: torch.where(x > 0, x * torch.nan, x))
    assert report.plot(names=["finite values", "identity"]).axes


def test_what_cannot_be_drawn_is_refused(failing, refused):
    with pytest.raises(KeyError, match="no property 'nothing'"):
        failing.plot(names=["nothing"])
    refused(lambda: failing.plot(names=["call"]), ValueError, "call was not measured")
    refused(lambda: failing.plot(names="semigroup"), TypeError, "use \\['semigroup'\\]")
    silent = verified(lambda s, t, x: None)
    refused(silent.plot, ValueError, "nothing was measured")
