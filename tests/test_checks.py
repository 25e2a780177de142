"""Clocks, conditions and the two levels of checking."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import flowmaps as fm
from flowmaps import _checks as checks

NAN = float("nan")


@given(time=st.floats(-1e300, 1e300))
def test_a_number_is_kept_to_the_last_bit(time: float) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.ones(2, 1, dtype=dtype)
        assert checks.as_time(time, x, "t") == time
        assert checks.as_clock(time, x).tolist() == [time, time]


@pytest.mark.parametrize(
    "time",
    [1, 1.0, np.float32(1), np.int64(1), np.ones(3), np.array(1.0)]
    + [torch.tensor(1.0), torch.tensor(1), torch.ones(3), torch.ones(3, dtype=torch.float16)],
    ids=str,
)
def test_times_of_any_real_kind_become_double_clocks(time: object) -> None:
    clock = checks.as_clock(time, torch.ones(3, 2, dtype=torch.float32))
    assert (clock.dtype, clock.shape, clock.tolist()) == (torch.float64, (3,), [1.0] * 3)


@pytest.mark.parametrize(
    ("time", "error", "message"),
    [
        ("1", TypeError, "t must be a number or a tensor"),
        (None, TypeError, "t must be a number or a tensor"),
        (True, TypeError, "t must be a number or a tensor"),
        (1j, TypeError, "t must be a number or a tensor"),
        ([1.0, 2.0, 3.0], TypeError, "t must be a number or a tensor"),
        (torch.ones(3, dtype=torch.complex64), TypeError, "t must be real"),
        (torch.ones(3, dtype=torch.bool), TypeError, "t must be real"),
        (NAN, ValueError, "t must be a finite time, got nan"),
        (math.inf, ValueError, "t must be a finite time, got inf"),
        (torch.ones(2), ValueError, r"t must have shape \(\) or \(3,\)"),
        (torch.ones(3, 1), ValueError, r"t must have shape \(\) or \(3,\)"),
        (torch.ones(3, device="meta"), ValueError, "t is on meta but the state is on cpu"),
    ],
)
def test_what_is_no_time_is_refused(time: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        checks.as_clock(time, torch.ones(3, 2))


def test_clocks_carry_derivatives() -> None:
    time = torch.tensor(1.0, dtype=torch.float32, requires_grad=True)
    checks.as_clock(time, torch.ones(3)).sum().backward()
    assert time.grad == 3
    tangent = torch.func.jvp(
        lambda t: checks.as_clock(t, torch.ones(3)), (torch.ones(()),), (torch.ones(()),)
    )[1]
    assert tangent.tolist() == [1.0] * 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_how_fields_see_time_and_how_it_meets_the_state(dtype: torch.dtype) -> None:
    x = torch.ones(3, 2, 4, dtype=dtype)
    seen = checks.time_like(checks.as_clock(0.1, x), x)
    assert seen.dtype == (dtype if dtype.itemsize > 2 else torch.float32)
    wide = checks.per_sample(seen, x)
    assert wide.dtype == dtype and wide.shape == (3, 1, 1)
    assert checks.per_sample(torch.ones(3), torch.ones(3)).shape == (3,)


def test_a_condition_is_any_tree_of_rows() -> None:
    x = torch.ones(3, 2)
    good = {"a": torch.ones(3), "b": [torch.zeros(3, 4, dtype=torch.long), None], "c": ()}
    assert checks.check_condition(good, x) is good
    assert checks.check_condition(None, x) is None
    for bad in (torch.ones(2), torch.tensor(1.0), {"a": [torch.ones(1, 3)]}):
        with pytest.raises(ValueError, match="condition must have one row for each of the 3"):
            checks.check_condition(bad, x)
    with pytest.raises(TypeError, match="a leaf of type float"):
        checks.check_condition({"a": 1.0}, x)
    with pytest.raises(ValueError, match="condition is on meta"):
        checks.check_condition(torch.ones(3, device="meta"), x)


# ---------------------------------------------------------------------------- levels of checking

FLOW = fm.maps.ExactFlowMap(lambda s, t, x, c=None: x + (t - s)[:, None])
BAD_STATE = torch.tensor([[1.0], [NAN], [2.0]])
BAD_TIME = torch.tensor([1.0, 2.0, NAN])


def test_values_are_checked_under_full_checking_alone() -> None:
    x = torch.ones(3, 1)
    for arguments, message in (
        ((0.0, 1.0, BAD_STATE), r"x holds values that are not finite in samples \[1\]"),
        ((BAD_TIME, 1.0, x), r"s holds values that are not finite in samples \[2\]"),
        ((0.0, BAD_TIME, x), r"t holds values that are not finite in samples \[2\]"),
        ((0.0, 1.0, x, BAD_STATE), r"condition holds .* in samples \[1\]"),
    ):
        FLOW(*arguments)
        with fm.checking("full"), pytest.raises(ValueError, match=message):
            FLOW(*arguments)
        with fm.checking("full"), fm.checking("static"):
            FLOW(*arguments)
    with fm.checking("full"):
        assert torch.equal(FLOW(0.0, 1.0, x, torch.ones(3, dtype=torch.long)), x + 1)


def test_full_checking_reaches_the_calculus_and_the_residuals() -> None:
    field = FLOW.velocity
    for call in (
        lambda x: fm.calculus.jacobian(FLOW, 0.0, 1.0, x),
        lambda x: fm.calculus.time_derivative(FLOW, 0.0, 1.0, x),
        lambda x: fm.calculus.divergence(lambda t, x: x, 0.0, x),
        lambda x: fm.residuals.lagrangian(FLOW, field, 0.0, 1.0, x),
        lambda x: fm.residuals.identity(FLOW, 0.0, x),
        lambda x: FLOW.velocity(0.0, x),
        lambda x: FLOW.between(0.0, 1.0)(x),
    ):
        call(BAD_STATE)
        with fm.checking("full"), pytest.raises(ValueError, match="not finite"):
            call(BAD_STATE)


def test_compiled_and_vmapped_calls_check_no_values() -> None:
    compiled = torch.compile(FLOW, backend="aot_eager", fullgraph=True)
    vmapped = torch.func.vmap(lambda t, x: FLOW(0.0, t, x[None])[0])
    with fm.checking("full"):
        assert compiled(0.0, BAD_TIME, BAD_STATE).isnan().flatten().tolist() == [False, True, True]
        assert vmapped(BAD_TIME, BAD_STATE).isnan().flatten().tolist() == [False, True, True]


def test_a_level_is_put_back() -> None:
    """After an error, and when one context is entered twice."""
    full = fm.checking("full")
    with full:
        with full:
            assert checks.checks_values()
        assert checks.checks_values()
    assert not checks.checks_values()
    with pytest.raises(ZeroDivisionError), fm.checking("full"):
        raise ZeroDivisionError
    assert not checks.checks_values()


def test_an_unknown_level_is_refused(refused: Callable[..., None]) -> None:
    refused(lambda: fm.checking("loud"), ValueError, 'must be "full" or "static"')


def test_long_lists_and_values_are_told_in_short() -> None:
    assert checks.shorten([1, 2]) == "[1, 2]"
    assert checks.shorten(list(range(100))) == "[0, 1, 2, 3, 4, 5, 6, 7, ... 100 in all]"
    assert checks.brief(torch.ones(1000, 2)) == "a tensor of shape (1000, 2)"
    assert len(checks.brief("x" * 10_000)) < 120
