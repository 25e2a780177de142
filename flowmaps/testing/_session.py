"""One verification as it goes: what is missing, what was measured, what it says."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from flowmaps.errors import FlowMapError
from flowmaps.testing._budget import Budget, Measured, measure
from flowmaps.testing._counterexample import Counterexample, is_plain, screened, simplest
from flowmaps.testing._draws import Draw
from flowmaps.testing._property import Property
from flowmaps.testing._report import LEVELS, PropertyReport
from flowmaps.testing._subject import Misbehaviour, WrongClaim, described
from flowmaps.testing._view import View, evaluate
from flowmaps.testing.properties import Reached

__all__ = ["Session"]

_PATIENCE, _IN_ALL, _LEAST = 2.0, 8.0, 1.0
"""Seconds for the search of one simpler counterexample, of all of them, and of one after that."""
_EXAMPLES = 20
_SAMPLE = 256
"""Points that tell typical sizes."""


@dataclass
class Session:
    """One verification as it goes from property to property."""

    view: View
    draw: Draw
    budget: Budget
    atol: float
    seconds: float | None
    shrink: bool
    honest: bool = True
    searched: float = 0.0
    plain: list[Draw] = field(default_factory=list)

    def run(self, measured: Sequence[Property]) -> list[PropertyReport]:
        """Measure all properties."""
        graph, wrong = self._first_call()
        with torch.set_grad_enabled(graph):
            return self._all(measured) if wrong is None else self._none(measured, wrong)

    def _none(self, measured: Sequence[Property], wrong: str) -> list[PropertyReport]:
        first = PropertyReport("call", "conduct", "failed", wrong, points=2)
        rest = [
            PropertyReport(one.name, one.kind, "not applicable", "the map cannot be called")
            for one in measured
        ]
        return [first, *rest]

    def _all(self, measured: Sequence[Property]) -> list[PropertyReport]:
        with suppress(Misbehaviour, FlowMapError):  # a finding of every property, if it happens
            self.view = self.view.with_typical(self.draw.take(slice(0, _SAMPLE)))
        end = None if self.seconds is None else time.monotonic() + self.seconds
        found = [PropertyReport("call", "conduct", "passed", points=2)]
        for k, one in enumerate(measured):
            left = None if end is None else (end - time.monotonic()) / (len(measured) - k)
            found.append(replace(self._measured(one, left), by_derivatives=_differentiates(one)))
            if one.name == "derivative honesty" and found[-1].status in ("failed", "inconclusive"):
                self.honest = False
        return found

    def _first_call(self) -> tuple[bool, str | None]:
        """Return whether map or field differentiate, and what is wrong with two samples' values."""
        s, _, t, x, _, condition = self.draw.take(slice(0, 2))
        wrong = None
        for graph in (False, True):
            try:
                with torch.set_grad_enabled(graph):
                    self.view.map(s, t, x, condition)
                    if self.view.field is not None:
                        evaluate(self.view.field, s, x, condition)
                return graph, None
            except Exception as error:
                wrong = wrong or described(error)
        return False, wrong

    def _missing(self, one: Property) -> str | None:
        """Return what a property needs and there is not."""
        view = self.view
        there = {
            "field": (view.field is not None, "needs the field"),
            "condition": (self.draw.condition is not None, "there are no conditions"),
            "backward": (
                view.space.allowed.forward and view.space.allowed.backward,
                "needs both directions of time",
            ),
            "derivatives": (view.derivatives != "none", "takes derivatives"),
            "forward derivatives": (view.derivatives == "forward", "takes derivatives"),
        }
        for name in sorted(one.requires):
            fine, reason = there[name]
            if not fine:
                return reason
        return one.missing(view)

    def _measured(self, one: Property, seconds: float | None) -> PropertyReport:
        missing = self._missing(one)
        if missing is not None:
            return PropertyReport(one.name, one.kind, "not applicable", missing)
        start = time.monotonic()
        rows = self.draw.take(slice(0, max(4, len(self.draw.x) // one.cost)))
        try:
            draw, got = self._in_time(one, rows, seconds)
            report = self._judged(one, draw, got)
        except Exception as error:
            report = _raised(one, error)
        return replace(report, seconds=time.monotonic() - start)

    def _in_time(self, one: Property, draw: Draw, seconds: float | None) -> tuple[Draw, Measured]:
        """Measure at all points, or at as many as there is time for, twice as many every time."""
        if seconds is None:
            return draw, measure(one, self.view, draw, self.budget, self.atol)
        parts, done, start, n = [], 0, time.monotonic(), min(64, len(draw.x))
        while done < len(draw.x):
            part = draw.take(slice(done, done + n))
            parts.append(measure(one, self.view, part, self.budget, self.atol))
            done += len(part.x)
            spent = time.monotonic() - start
            if spent * 3 > seconds:
                break
            n = done
        joined = Measured(*(torch.cat(a) for a in zip(*parts, strict=True)))
        return draw.take(slice(0, done)), joined

    def _judged(self, one: Property, draw: Draw, got: Measured) -> PropertyReport:
        ratio, level = got.ratio, self.budget.quantile
        worst, decides = float(ratio.max()), float(torch.quantile(ratio, level))
        outside = 0.0
        if isinstance(one, Reached):
            outside = float(one.outside(self.view, draw).double().mean())
        failing = float((ratio > 1).double().mean())
        status, reason, example = "passed", "", None
        if not decides <= 1:
            status = "failed"
            reason = f"at {failing:.1%} of the points more than allowed, {worst:.3g} times at worst"
            example = self._example(one, draw, got)
        elif float(got.blind.double().mean()) > 1 - min(level, 0.95):
            status, reason = "inconclusive", "what is allowed is as large as what is compared"
        elif outside > 0:
            status = "inconclusive"
            reason = f"{outside:.1%} of the points reached are outside the declared domain"
        unfounded = _differentiates(one) and not self.honest and one.kind != "derivatives"
        if status == "passed" and unfounded:
            status, reason = "inconclusive", "the map's derivatives are not those of its values"
        finite = got.value.clamp_max(torch.finfo(torch.float64).max)
        return PropertyReport(
            name=one.name,
            kind=one.kind,
            status=status,
            reason=reason,
            points=len(draw.x),
            worst=worst,
            quantiles={q: float(torch.quantile(finite, q)) for q in LEVELS},
            failing=failing,
            outside=outside,
            counterexample=example,
            draw=draw,
            value=got.value,
            ratio=ratio,
        )

    def _example(self, one: Property, draw: Draw, sample: Measured) -> Counterexample:
        """Return the worst point, or a simpler one at which the property still fails."""
        k = int(sample.ratio.argmax())
        worst, at, simple = draw.take([k]), sample.take([k]), self.shrink and one.alone
        start, alone = time.monotonic(), list[Measured]()
        left = max(_LEAST, _IN_ALL - self.searched)
        end = start + min(_PATIENCE, left, self.seconds or _IN_ALL)

        def failing(points: Draw) -> Tensor:
            none = torch.zeros(len(points.x), dtype=torch.bool, device=points.x.device)
            if time.monotonic() > end:
                return none
            try:
                got = measure(one, self.view, points, self.budget, self.atol)
            except Exception:
                return none
            if len(none) == 1 and bool(got.ratio > 1):
                alone.append(got)
            return got.ratio > 1

        known = next((each for each in self.plain if simple and bool(failing(each))), None)
        simple = simple and (known is not None or bool(failing(worst)))
        if known is not None:
            worst, at = known, alone[-1]
        elif simple:
            admits = self.view.space.admits
            found = screened(worst, failing, admits)
            if found is worst:
                fails, fits = (lambda a: bool(failing(a))), (lambda a: bool(admits(a)))
                found = simplest(worst, fails, fits, examples=_EXAMPLES)
                alone.append(measure(one, self.view, found, self.budget, self.atol))
            worst, at = found, alone[-1]
            self.searched += time.monotonic() - start
            self.plain += [worst] if is_plain(worst) else []
        names = "s, t, x" if draw.condition is None else "s, t, x, condition"
        return Counterexample(worst, float(at.ratio), float(at.value), one.code(names), simple)


def _differentiates(one: Property) -> bool:
    return bool({"derivatives", "forward derivatives"} & one.requires)


def _raised(one: Property, error: Exception) -> PropertyReport:
    """Return what an error inside a property says: of the map, or of what it does not pass."""
    if isinstance(error, WrongClaim):
        raise error
    excuse, text = one.excused(error), described(error)
    if excuse is not None:
        return PropertyReport(one.name, one.kind, "not applicable", excuse)
    if one.kind == "derivatives":
        cure = 'choose derivatives="differences" or "none"'
        return PropertyReport(one.name, one.kind, "failed", f"no forward mode: {text}; {cure}")
    if _differentiates(one):
        return PropertyReport(one.name, one.kind, "inconclusive", f"no forward mode: {text}")
    if isinstance(error, FlowMapError):
        return PropertyReport(one.name, one.kind, "inconclusive", text)
    if isinstance(error, Misbehaviour):
        return PropertyReport(one.name, "conduct", "failed", text)
    raise error
