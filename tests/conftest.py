"""Makes torch strict for every test: float64, fixed seeds, types and shapes checked at run time.

Doctests of ``flowmaps/`` see none of the fixtures here: they run as users do, in float32.

``FLOWMAPS_TYPECHECK=0`` switches the run-time checks off.
"""

import functools
import inspect
import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args

import hypothesis
import jaxtyping
import numpy as np
import pytest
import torch
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeCallHintViolation, BeartypeDecorHintException

ROOT = Path(__file__).resolve().parent.parent
LINKS = (ROOT / "solvers", ROOT / "theory")

hypothesis.settings.register_profile(
    "flowmaps",
    derandomize=True,  # the same examples in every run
    deadline=None,  # tests assert, benchmarks measure
    max_examples=25,
    print_blob=True,
)
hypothesis.settings.load_profile("flowmaps")


# ---------------------------------------------------------------------------- fixtures


@pytest.fixture(autouse=True)
def strict_torch() -> Iterator[None]:
    """float64 by default and the same random numbers in every test, whatever ran before."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def default_dtype(request: pytest.FixtureRequest, strict_torch: None) -> torch.dtype:
    """Runs a test once under each default dtype."""
    torch.set_default_dtype(request.param)
    return request.param


@pytest.fixture(scope="session")
def refused() -> Callable[..., None]:
    """``refused(act, error, message)``: act is refused by the error, in one clear sentence or two.

    The error is none of ``fm.errors`` unless its class there is given as the fourth argument.
    """
    return _refused


def _refused(
    act: Callable[[], object], error: type[Exception], message: str, named: type | None = None
) -> None:
    with pytest.raises(error, match=message) as caught:
        act()
    import flowmaps as fm  # not before the checks below are installed

    assert type(caught.value) is (named or error)
    assert isinstance(caught.value, fm.errors.FlowMapError) == (named is not None)
    text = str(caught.value)
    assert "\n" not in text and 15 < len(text) < 550


# ---------------------------------------------------------------------------- the whole session


class _WholeSession:
    """Hooks for all that is collected: those of a conftest reach no further than its own folder."""

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Leave out the links at the root, so that ``pytest .`` collects every module once."""
        return True if collection_path in LINKS else None

    def pytest_exception_interact(self) -> None:
        """Close forward mode, which a failed compilation leaves open, or every later jvp fails."""
        with suppress(RuntimeError):
            torch._C._exit_dual_level(level=0)  # pyright: ignore[reportAttributeAccessIssue]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_WholeSession())


# ---------------------------------------------------------------------------- run-time checks

_jaxtyped = jaxtyping.jaxtyped
_SAME_AXES = _jaxtyped("context")  # within which axes of one name have one length
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do for a float


def _checked(function: Callable) -> Callable:
    """Check a function's annotations at every call, but for two cases.

    While a call is compiled it is traced bare: Dynamo cannot follow the checker. And a call that
    breaks its annotations is handed to the bare function, whose own error, the one that users see,
    goes before the checker's.
    """
    hints = {name: _resolved(hint, function) for name, hint in function.__annotations__.items()}
    function.__annotations__ = hints
    try:
        typed = _beartype(function)
    except BeartypeDecorHintException:  # a protocol, say, that no instance check can be made for
        return function
    has_axes = any(map(_has_axes, hints.values()))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        try:
            if not has_axes:
                return typed(*args, **kwargs)
            with _SAME_AXES:
                return typed(*args, **kwargs)
        except BeartypeCallHintViolation:
            function(*args, **kwargs)
            _jaxtyped(function, typechecker=_beartype)(*args, **kwargs)  # slow, but names the axes
            raise

    return call


def _resolved(hint: Any, function: Callable) -> Any:
    """Evaluate an annotation that is text; names for type checkers alone may stand for anything."""
    try:
        return eval(hint, function.__globals__) if isinstance(hint, str) else hint
    except Exception:
        return Any


def _has_axes(hint: Any) -> bool:
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_has_axes, hint if isinstance(hint, list) else get_args(hint)))


def _decorate(definition: Any) -> Any:
    """Check a function, or the constructor of a dataclass; leave anything else as it is."""
    if torch.compiler.is_compiling():
        return definition
    if inspect.isclass(definition):
        made = vars(definition).get("__init__")
        if is_dataclass(definition) and made is not None and not hasattr(made, "__wrapped__"):
            definition.__init__ = _checked(made)
        return definition
    # A function inside a function would be decorated anew at every call of the outer one.
    return definition if "<locals>" in definition.__qualname__ else _checked(definition)


def _install_checks() -> None:
    """Have every module of flowmaps that is imported from now on checked at run time."""
    # The hook writes `@jaxtyping.jaxtyped(typechecker=...)` above every definition.
    jaxtyping.jaxtyped = lambda *, typechecker: _decorate
    jaxtyping.install_import_hook("flowmaps", None)


if os.environ.get("FLOWMAPS_TYPECHECK", "1") != "0":
    _install_checks()
