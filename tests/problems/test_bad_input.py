"""Problems refuse parameters, states and times that cannot be meant."""

from collections.abc import Callable

import pytest
import torch

import flowmaps as fm

problems = fm.problems

NAN = float("nan")
X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]], dtype=torch.float64)
OSCILLATOR = problems.HarmonicOscillator()

CASES = {
    "name": (lambda: problems.get("magic"), ValueError, "known are linear_system,"),
    "argument": (lambda: problems.get("lorenz63", magic=1), TypeError, "'magic'"),
    "NaN": (lambda: problems.HarmonicOscillator(NAN), ValueError, r"at \['frequency'\]"),
    "text": (lambda: problems.HarmonicOscillator("a"), TypeError, "parameters .* must be numbers"),
    "matrix": (lambda: problems.LinearSystem([[1.0, 2.0]]), ValueError, "square"),
    "covariance": (
        lambda: problems.GaussianInterpolant([1.0], [[-1.0]]),
        ValueError,
        "positive definite",
    ),
    "state": (lambda: OSCILLATOR.field(0.0, X[:, :1]), ValueError, r"\(batch, 2\)"),
    "state as list": (lambda: OSCILLATOR.field(0.0, [1.0]), TypeError, "as_tensor"),
    "time": (lambda: OSCILLATOR.field(torch.ones(4), X), ValueError, r"\(3,\)"),
    "condition": (lambda: OSCILLATOR.field(0.0, X, X), ValueError, r"\(3, 1\)"),
    "condition as number": (lambda: OSCILLATOR.field(0.0, X, 1.0), TypeError, "n_parameters"),
    "NaN in a reference": (
        lambda: OSCILLATOR.reference(0.0, 1.0, X * NAN),
        ValueError,
        "x holds values",
    ),
    "reference beyond": (
        lambda: problems.LogisticGrowth().reference(0.0, 5.0, torch.tensor([[-3.0]])),
        RuntimeError,
        "Does the solution exist that long",
        fm.errors.SolveError,
    ),
    "times": (
        lambda: OSCILLATOR.reference_along(0.0, torch.ones(2, 2), X),
        ValueError,
        r"\(n_times, 3\)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*CASES[name])
