"""The search compiled: many attempts as one loop outside Python, for inference.

What is compiled is kept for the last fields while they live, so that solving again costs no
compilation. Fields, methods and controllers are arguments of the compiled functions: torch watches
for all that was read of them, and what is kept holds none of them.
"""

import warnings
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._transforms import own_code
from flowmaps._typing import Field, Mask
from flowmaps.solvers._adaptive import Advance, Burst
from flowmaps.solvers._bind import BoundField, Detached
from flowmaps.solvers._controllers import Controller
from flowmaps.solvers._loop import looping
from flowmaps.solvers._march import March, advance
from flowmaps.solvers._march_cache import MarchCache
from flowmaps.solvers._method import Stepper
from flowmaps.solvers._problem import Problem

__all__ = ["Compilation", "compiled_search"]

_cache = MarchCache(64)
_TOO_MANY = (
    "what the field, method or controller holds had more values than torch compiles for "
    "(torch._dynamo.config.recompile_limit); with others the march now runs without compilation. "
    "Pass what changes as condition=, or hold it in a tensor"
)


class Compilation(NamedTuple):
    """What a march is compiled for, beside its method and controller, and by what."""

    field: Callable[..., Any]
    """As the user gave it."""
    kind: Hashable
    """Of state and condition."""
    backend: str
    """Of ``torch.compile``."""


class Parts(NamedTuple):
    """The parts of a problem that are no tensors, and may hold some."""

    field: Field
    method: Stepper
    controller: Controller


def compiled_search(
    problem: Problem, compilation: Compilation, keep: bool = False
) -> tuple[Advance, Burst]:
    """Return an attempt and a burst of attempts, compiled; for problems like this one.

    With ``keep`` an attempt returns its interpolant.
    """
    field, kind, backend = compilation
    owners = field, problem.method, problem.controller
    kind = kind, problem.max_steps, backend, keep
    return _cache.value(
        owners, kind, lambda: (_attempt(problem, backend, keep), _burst(problem, backend))
    )


def _attempt(problem: Problem, backend: str, keep: bool) -> Advance:
    rebuild = _rebuild(problem)

    def attempt(
        parts: Parts, constants: list[Tensor], march: March
    ) -> tuple[March, Mask, Tensor | None]:
        return advance(rebuild(parts, constants), march, keep)

    run = _compiled(attempt, backend)
    return lambda problem, march: run(_parts(problem), *_growing(_constants(problem), march))


def _burst(problem: Problem, backend: str) -> Burst:
    """Return attempts in a row, on while more samples run than are enough.

    What torch compiles is one attempt, for its guards and its shapes; what the backend makes of it
    is the loop, which has the same inputs and outputs.
    """
    rebuild = _rebuild(problem)

    def attempt(
        parts: Parts,
        constants: list[Tensor],
        enough: Tensor,
        elapsed: Tensor,
        x: Tensor,
        first: Tensor,
        h: Tensor,
        previous: Tensor,
        earlier: Tensor,
        rejected: Tensor,
        code: Tensor,
        attempts: Tensor,
        accepted: Tensor,
    ) -> tuple[Tensor, ...]:
        state = elapsed, x, first, h, previous, earlier, rejected, code, attempts, accepted
        return (*advance(rebuild(parts, constants), March(*state))[0], enough + 0)

    run = _compiled(attempt, looping(backend))

    def call(problem: Problem, march: March, enough: int) -> March:
        constants, march = _growing(_constants(problem), march)
        return March(*run(_parts(problem), constants, torch.tensor(enough), *march)[:-1])

    return call


def _compiled(function: Callable[..., Any], backend: Any) -> Callable[..., Any]:
    """Return a function compiled, for as many kinds of arguments as torch allows.

    It runs as it is, with one warning, where one more would have to be compiled.
    """
    from torch._dynamo.exc import FailOnRecompileLimitHit

    compiled, full = torch.compile(own_code(function), fullgraph=True, backend=backend), False

    def run(*arguments: Any) -> Any:
        nonlocal full
        if not full:
            try:
                # Else torch does not see hooks that a module gets or loses later.
                with torch._dynamo.config.patch(skip_nnmodule_hook_guards=False):
                    return compiled(*arguments)
            except FailOnRecompileLimitHit:
                full = True
                warnings.warn(_TOO_MANY, stacklevel=2)
        with torch.compiler.set_stance("eager_on_recompile"):
            return compiled(*arguments)

    return run


def _growing(constants: list[Tensor], march: March) -> tuple[list[Tensor], March]:
    """Let one compilation serve all sizes of a batch, which shrinks as samples finish.

    No other size varies: torch would take those that differ between problems to do so.
    """
    dynamo, size = torch._dynamo, len(march.code)
    for part in (*constants, *march):
        if size > 1 and part.ndim and part.shape[0] == size:
            dynamo.maybe_mark_dynamic(part, 0)
        for axis in range(1, part.ndim):
            dynamo.mark_static(part, axis)
    return constants, march


def _parts(problem: Problem) -> Parts:
    return Parts(problem.field.undetached.field, problem.method, problem.controller)


def _constants(problem: Problem) -> list[Tensor]:
    """Return the tensors of a problem; the order is that which ``_rebuild`` knows."""
    field = problem.field.undetached
    assert field.bounds is not None
    leaves = [leaf for leaf in pytree.tree_leaves(field.condition) if leaf is not None]
    return [problem.s, problem.t, problem.rtol, problem.atol, *field.bounds, *leaves]


def _rebuild(problem: Problem) -> Callable[[Parts, list[Tensor]], Problem]:
    """Return the way back from parts and tensors to a problem like this one."""
    leaves, structure = pytree.tree_flatten(problem.field.undetached.condition)
    present = [leaf is not None for leaf in leaves]
    max_steps, modulus = problem.max_steps, problem.modulus

    def rebuild(parts: Parts, constants: list[Tensor]) -> Problem:
        s, t, rtol, atol, first, last, *rest = constants
        given = iter(rest)
        filled = [next(given) if there else None for there in present]
        condition = pytree.tree_unflatten(filled, structure)
        bound = Detached(BoundField(parts.field, condition, bounds=(first, last)))
        bounds = rtol, atol, max_steps
        return Problem(bound, parts.method, parts.controller, s, t, *bounds, modulus=modulus)

    return rebuild
