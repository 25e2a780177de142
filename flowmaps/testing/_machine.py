"""A map as a machine: it advances, rewinds, splits and restarts, and must end where one shot does.

Hypothesis makes up the runs and makes those that fail short and plain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import as_count
from flowmaps._typing import Count, Transport
from flowmaps.domains import Domain
from flowmaps.testing._arguments import check_map, check_options
from flowmaps.testing._budget import Budget, as_budget
from flowmaps.testing._hypothesis import (
    HealthCheck,
    Phase,
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
    settings,
    st,
)
from flowmaps.testing._interpolated import Interpolated
from flowmaps.testing._path import Gap, Path, Traveller
from flowmaps.testing._report import NotAFlowMap
from flowmaps.testing._space import space_of
from flowmaps.testing._subject import Misbehaviour, Subject
from flowmaps.testing._verify import _budget
from flowmaps.testing._view import View
from flowmaps.testing.strategies import numbers, states

__all__ = ["Tally", "flow_machine", "run_machine"]

_BATCH, _SAMPLE = 3, 64
"""Rows of a run; of one whose verdict is about a quantile of them."""
_SEEDS = st.integers(0, 2**16)


@dataclass
class Tally:
    """What the runs of a machine have compared.

    Args:
        compared: rows that were compared with one shot.
        left_out: rows that were not, because the errors that may have gathered are as large as the
            states, or because a learned map was called outside of its domain.
    """

    compared: int = 0
    left_out: int = 0


class _Machine(RuleBasedStateMachine):
    """The present paths of a run; the rules are added by ``flow_machine``."""

    traveller: Traveller
    tally: Tally

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[Path] = []
        self.gaps: list[Gap | None] = []

    def begin(self, part: float, seed: int, x: Tensor | None) -> None:
        """Start from states x, or from as many as a sample has."""
        space = self.traveller.view.space
        low, high = space.window
        time = low + part * (high - low)
        sample = space.draw(_SAMPLE if x is None else len(x), seed, start=time)
        if x is None or isinstance(space.domain, Interpolated):  # states of that very time
            x = sample.x
        self.paths = [self.traveller.begin(time, x.to(space.device), sample.condition)]
        self.gaps = [None]

    def move(self, which: int, part: float, later: bool, restart: bool = False) -> None:
        """Take a path a part of the way to the last time it may go to, or the first one."""
        which %= len(self.paths)
        path = self.paths[which]
        now = path.times[0] if restart else path.times[-1]
        # within a span of the start, for the one shot, and of the present, for this call
        spans = zip(self._reach(path.times[0]), self._reach(now), strict=True)
        (low, lowest), (high, highest) = spans
        low, high = max(low, lowest), min(high, highest)
        time = min(max(now + part * ((high if later else low) - now), low), high)
        try:
            after = self.traveller.restart(path, time) if restart else self.traveller.go(path, time)
            gap = self.traveller.gap(after)
        except Misbehaviour as error:
            route = _route(path.times if restart is False else path.times[:1], time)
            raise NotAFlowMap(f"on the way {route}: {error}") from error
        self.paths[which], self.gaps[which] = after, gap
        self.tally.compared += int(gap.counted.sum())
        self.tally.left_out += int((~gap.counted).sum())
        self._judge()

    def divide(self, which: int, at: int) -> None:
        """Let the rows of a path go on separately."""
        many = [k for k, path in enumerate(self.paths) if len(path.state) > 1]
        k = many[which % len(many)]
        path, gap = self.paths[k], self.gaps[k]
        at = 1 + at % (len(path.state) - 1)
        for rows in (slice(at, None), slice(None, at)):
            self.paths.insert(k + 1, path.take(rows))
            self.gaps.insert(k + 1, gap and Gap(*(part[rows] for part in gap)))
        del self.paths[k], self.gaps[k]

    def _reach(self, start: float) -> tuple[float, float]:
        """Return the first and the last time that one shot from a start may go to."""
        (low, high), allowed = self.traveller.view.space.window, self.traveller.view.space.allowed
        first = max(low, start - allowed.max_span) if allowed.backward else start
        last = min(high, start + allowed.max_span) if allowed.forward else start
        return first, last

    def _judge(self) -> None:
        """Raise if more rows are off than the budget's quantile lets be."""
        outside = sum(int(gap.outside.sum()) for gap in self.gaps if gap is not None)
        rows = sum(len(path.state) for path in self.paths)
        if outside > (1 - self.traveller.budget.quantile) * rows + 1e-9:
            raise NotAFlowMap(_message(self.paths, self.gaps, outside, rows))


def flow_machine(
    flow_map: Transport,
    domain: Domain,
    times: tuple[float, float] | None = None,
    conditions: Any = None,
    budget: Budget | float | None = None,
    directions: str | None = None,
    *,
    batch: Count = _BATCH,
    event_shape: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    difference: Any = None,
    atol: float = 0.0,
) -> type[RuleBasedStateMachine]:
    """Return a state machine of Hypothesis that finds out whether a map composes as flows do.

    States start in the domain and then advance, rewind, split (some rows go on separately) and
    restart (one shot from the start). After every call they must be where one shot takes them, and
    at their start when back at its time. What they may be off by is gathered on the way: every call
    adds its budget, and amplifies what there was by its derivative, which is measured by
    differences of values. Use it as ``TestMap = flow_machine(...).TestCase``, or by
    ``run_machine``.

    That shows that a map is a flow, not of which field: for that there is ``verify``.

    Args:
        flow_map, domain, times, conditions, budget, event_shape, dtype, device, difference, atol:
            as for ``verify``. With a budget of a quantile below one the runs are of 64 states of a
            sample, and that part of them must be within the budget.
        directions: "both", "forward" or "backward"; by default those of a FlowMap's own times.
        batch: most states of a run.

    Returns:
        A RuleBasedStateMachine; failures are ``NotAFlowMap`` and name the path of times.

    Raises:
        TypeError, ValueError: for arguments that cannot be meant.

    Source:
        MacIver, Hatfield-Dodds and others (2019), Hypothesis, JOSS 4(43), 1891: stateful testing.

    Example:
        >>> import torch, flowmaps as fm
        >>> decay = lambda s, t, x: x * torch.exp(s - t)[:, None]
        >>> box = fm.testing.Box([-1.0], [1.0])
        >>> TestDecay = fm.testing.flow_machine(decay, box, times=(0.0, 1.0)).TestCase
        >>> TestDecay().runTest()
    """
    space = space_of(flow_map, domain, times, conditions, directions, event_shape, dtype, device)
    check_map("flow_map", flow_map)
    check_options((), None, {}, {"difference": difference}, None, 0, atol)
    allowance = _budget(flow_map) if budget is None else as_budget(budget)
    apart = torch.sub if difference is None else difference
    view = View(Subject(flow_map, space.allowed), None, space, "none", apart)
    forward, backward = space.allowed.forward, space.allowed.backward
    start = numbers(0.0 if forward else 0.5, 1.0 if backward else 0.5)
    most = as_count(batch, "batch")
    drawn = states(domain, (1, most), space.event, dtype) if allowance.quantile == 1 else st.none()
    which, part = st.integers(0, most - 1), numbers(0.0, 1.0)

    class FlowMachine(_Machine):
        traveller, tally = Traveller(view, allowance, atol), Tally()

        @initialize(part=start, seed=_SEEDS, x=drawn)
        def begins(self, part: float, seed: int, x: Tensor | None) -> None:
            self.begin(part, seed, x)

        @rule(
            which=which,
            part=part,
            forwards=st.booleans() if forward and backward else st.just(forward),
        )
        def restart(self, which: int, part: float, forwards: bool) -> None:
            self.move(which, part, forwards, restart=True)

        @precondition(lambda self: any(len(path.state) > 1 for path in self.paths))
        @rule(which=which, at=st.integers(0, most))
        def split(self, which: int, at: int) -> None:
            self.divide(which, at)

        if forward:

            @rule(which=which, part=part)
            def advance(self, which: int, part: float) -> None:
                self.move(which, part, later=True)

        if backward:

            @rule(which=which, part=part)
            def rewind(self, which: int, part: float) -> None:
                self.move(which, part, later=False)

    FlowMachine.TestCase.settings = _settings(30, 12)
    return FlowMachine


def run_machine(
    flow_map: Transport,
    domain: Domain,
    times: tuple[float, float] | None = None,
    conditions: Any = None,
    budget: Budget | float | None = None,
    directions: str | None = None,
    *,
    runs: Count = 30,
    steps: Count = 12,
    shrink: bool = True,
    **options: Any,
) -> Tally:
    """Run a map as a state machine; return what was compared, raise if it is no flow.

    Args:
        flow_map, domain, times, conditions, budget, directions, options: of ``flow_machine``.
        runs: how many.
        steps: most calls of one run.
        shrink: whether to look for a shorter run once one fails, which takes some seconds.

    Raises:
        NotAFlowMap: if a run does not end where one shot does; with the shortest such run.
        ValueError: if nothing could be compared; and for arguments that cannot be meant.
        TypeError: for these.

    Example:
        >>> import torch, flowmaps as fm
        >>> chord = lambda s, t, x: x * (1 + t - s)[:, None]
        >>> box = fm.testing.Box([-1.0], [1.0])
        >>> fm.testing.run_machine(chord, box, times=(0.0, 1.0))
        Traceback (most recent call last):
            ...
        flowmaps.testing._report.NotAFlowMap: states that went ...
    """
    machine = flow_machine(flow_map, domain, times, conditions, budget, directions, **options)
    try:
        chosen = _settings(as_count(runs, "runs"), as_count(steps, "steps"), shrink)
        run_state_machine_as_test(machine, settings=chosen)
    except ExceptionGroup as group:  # failures that do not happen every time
        found = group.subgroup(NotAFlowMap)
        if found is None:
            raise
        raise NotAFlowMap(f"{_first(found)}; and not so in every run of the same calls") from group
    assert issubclass(machine, _Machine)
    if machine.tally.compared == 0:
        raise ValueError(
            "nothing could be compared: the errors that may gather in one call are as large as the "
            f"states; a smaller budget than {machine.traveller.budget} tells something"
        )
    return machine.tally


def _settings(runs: int, steps: int, shrink: bool = True) -> settings:
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    return settings(
        max_examples=runs,
        stateful_step_count=1 + steps,  # Hypothesis counts the start as a step
        deadline=None,
        database=None,
        derandomize=True,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
    )


def _first(group: BaseExceptionGroup) -> BaseException:
    """Return the first exception of a group and its groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _route(times: Sequence[float], *further: float) -> str:
    return " -> ".join(f"{time:.6g}" for time in (*times, *further))


def _message(paths: Sequence[Path], gaps: Sequence[Gap | None], outside: int, rows: int) -> str:
    """Return what happened to the row that is furthest off."""
    excess = [
        (
            float(torch.where(gap.outside, gap.distance / gap.allowed.clamp_min(1e-300), 0.0)[row]),
            k,
            row,
        )
        for k, gap in enumerate(gaps)
        if gap is not None
        for row in range(len(gap.distance))
    ]
    ratio, k, row = max(excess)
    path, gap = paths[k], gaps[k]
    assert gap is not None
    first, last = path.times[0], path.times[-1]
    apart = gap.distance[row].item()
    how = "one of the two is not finite"
    if apart < float("inf"):
        how = f"{apart:.3g} apart, {ratio:.3g} times what may be"
    where = f"where one shot X_{{{first:.6g},{last:.6g}}} takes them"
    if last == first:
        where = "back at their start"
    text = f"states that went {_route(path.times)} are not {where}: {how}"
    if outside > 1 or rows > 1:
        text += f", {outside} of {rows} rows off"
    if path.start[row].numel() <= 16:
        told = {"start": path.start, "by this way": path.state}
        told |= {} if last == first else {"in one shot": gap.one_shot}
        text += "; " + ", ".join(f"{name} {x[row].tolist()}" for name, x in told.items())
    return text
