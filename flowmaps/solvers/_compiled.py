"""The search compiled: many attempts as one loop outside Python, for inference.

What is compiled is kept for the last fields, so that solving again costs no compilation.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._transforms import own_code
from flowmaps._typing import Mask
from flowmaps.solvers._adaptive import Advance, Burst
from flowmaps.solvers._bind import BoundField, Detached
from flowmaps.solvers._loop import looping
from flowmaps.solvers._march import March, advance
from flowmaps.solvers._problem import Problem

__all__ = ["compiled_search"]

_KEPT = 64
_cache: OrderedDict[Hashable, tuple[Advance, Burst]] = OrderedDict()


def compiled_search(
    problem: Problem, key: Hashable, backend: str, keep: bool = False
) -> tuple[Advance, Burst]:
    """Return an attempt and a burst of attempts, compiled by a backend of torch.

    Args:
        problem: one like those to be solved.
        key: of the field as the user gave it and of the kind of state and condition.
        backend: of ``torch.compile``.
        keep: whether an attempt returns its interpolant.
    """
    method = type(problem.method), repr(problem.method)
    key = (key, method, problem.controller, problem.max_steps, backend, keep)
    if key not in _cache:
        _cache[key] = _attempt(problem, backend, keep), _burst(problem, backend)
    _cache.move_to_end(key)
    while len(_cache) > _KEPT:
        _cache.popitem(last=False)
    return _cache[key]


def _attempt(problem: Problem, backend: str, keep: bool) -> Advance:
    rebuild = _rebuild(problem)

    def attempt(constants: list[Tensor], march: March) -> tuple[March, Mask, Tensor | None]:
        return advance(rebuild(constants), march, keep)

    run = torch.compile(own_code(attempt), fullgraph=True, backend=backend)
    return lambda problem, march: run(*_growing(_constants(problem), march))


def _burst(problem: Problem, backend: str) -> Burst:
    """Return attempts in a row, on while more samples run than are enough.

    What torch compiles is one attempt, for its guards and its shapes; what the backend makes of it
    is the loop, which has the same inputs and outputs.
    """
    rebuild = _rebuild(problem)

    def attempt(
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
        return (*advance(rebuild(constants), March(*state))[0], enough + 0)

    run = torch.compile(own_code(attempt), fullgraph=True, backend=looping(backend))

    def call(problem: Problem, march: March, enough: int) -> March:
        constants, march = _growing(_constants(problem), march)
        return March(*run(constants, torch.tensor(enough), *march)[:-1])

    return call


def _growing(constants: list[Tensor], march: March) -> tuple[list[Tensor], March]:
    """Let one compilation serve all sizes of a batch: it shrinks as samples finish."""
    if len(march.code) > 1:
        for part in (*constants, *march):
            if part.ndim and part.shape[0] == len(march.code):
                torch._dynamo.maybe_mark_dynamic(part, 0)
    return constants, march


def _constants(problem: Problem) -> list[Tensor]:
    """Return the tensors of a problem; the order is that which ``_rebuild`` knows."""
    field = problem.field.undetached
    assert field.bounds is not None
    leaves = [leaf for leaf in pytree.tree_leaves(field.condition) if leaf is not None]
    return [problem.s, problem.t, problem.rtol, problem.atol, *field.bounds, *leaves]


def _rebuild(problem: Problem) -> Callable[[list[Tensor]], Problem]:
    """Return the way back from tensors to a problem like this one."""
    field = problem.field.undetached.field
    leaves, structure = pytree.tree_flatten(problem.field.undetached.condition)
    present = [leaf is not None for leaf in leaves]
    method, controller = problem.method, problem.controller
    max_steps, modulus = problem.max_steps, problem.modulus

    def rebuild(constants: list[Tensor]) -> Problem:
        s, t, rtol, atol, first, last, *rest = constants
        given = iter(rest)
        filled = [next(given) if there else None for there in present]
        condition = pytree.tree_unflatten(filled, structure)
        bound = Detached(BoundField(field, condition, bounds=(first, last)))
        return Problem(bound, method, controller, s, t, rtol, atol, max_steps, modulus=modulus)

    return rebuild
