"""The one training loop."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flowmaps.errors import CheckpointError, TrainingError
from flowmaps.maps import FlowMap
from flowmaps.objectives import Draw, Loss, Objective
from flowmaps.objectives._learned import require_times
from flowmaps.training._archive import Archive
from flowmaps.training._budget import affordable_steps
from flowmaps.training._checkpoints import Checkpoint
from flowmaps.training._descent import Descent
from flowmaps.training._history import NotFinite, Recorder
from flowmaps.training._progress import ProgressBar
from flowmaps.training._report import StepReport, StopTraining, kept_modes
from flowmaps.training._schedules import learning_rate_factor, named_schedule
from flowmaps.training._seeds import step_generator
from flowmaps.training._settings import Settings

__all__ = ["Loop"]

_OVERTIME = 1.5
"""A run with a budget of time is cut short beyond this many budgets."""


@dataclass
class Kept:
    """The state that a run goes back to: of a step, before its update."""

    step: int
    state: dict[str, Any]


@dataclass
class Troubles:
    """What went wrong so far, and what it led to."""

    skipped: set[int] = field(default_factory=set)
    rollbacks: int = 0
    slowdown: float = 1.0

    def in_a_row(self, step: int) -> int:
        """Return how many steps up to this one were skipped without a break."""
        count = 0
        while step - count in self.skipped:
            count += 1
        return count


class Loop:
    """A run: its parts, and the steps over them.

    Args:
        learned, objective, source: as in ``fit``.
        settings: of the run.
        archive: where it writes.
        log_every: steps between records.
        callback: called with a ``StepReport`` after every step.
    """

    def __init__(
        self,
        learned: FlowMap,
        objective: Objective,
        source: Any,
        settings: Settings,
        archive: Archive,
        log_every: int,
        callback: Callable[[StepReport], object] | None,
    ):
        self.learned, self.objective, self.source = learned, objective, source
        self.settings, self.archive, self.callback = settings, archive, callback
        self.schedule = named_schedule(settings.schedule)
        self.descent = Descent(learned, objective, settings)
        self.state, self.device = self.descent.state, self.descent.device
        self.troubles, self.step, self.steps = Troubles(), 0, settings.steps or 0
        self.log_every, self.cut_short = log_every, False
        self.start, self.before = time.perf_counter(), 0.0
        self.recorder = self._new_recorder()
        self.kept = Kept(0, {})
        self.events: list[dict[str, Any]] = []
        """What happened since the kept state."""

    @property
    def seconds(self) -> float:
        """Time since the run began, breaks left out."""
        return self.before + time.perf_counter() - self.start

    # ------------------------------------------------------------------------ before the steps

    def first_draw(self) -> Draw:
        """Return the draw of step 0, once map, objective and schedule can do with it."""
        if self.steps:
            self._factor(self.settings.warmup)  # the first step that the schedule is asked for
        draw = self._draw_at(0.0)
        self.objective.check(draw, self.learned)
        for progress in (0.5, 1.0):  # pre-training and growing spans draw other times at first
            later = self._draw_at(progress)
            self.objective.check(later)
            require_times(self.learned, later)
        return draw

    def choose_steps(self) -> int:
        """Turn the budget of time into steps, by trial steps that leave no trace."""
        settings = self.settings
        if settings.seconds is not None:
            before, self.steps = self.state.capture(), 1_000_000

            def trial(progress: float) -> None:
                loss, _ = self._descend(round(progress * self.steps), self._draw_at(progress))
                loss.total.item()  # waits for the device

            with kept_modes(self.learned):
                self.learned.train()  # so that the trial steps cost what the others will
                try:
                    steps = affordable_steps(settings.seconds, self.seconds, trial, settings.steps)
                finally:
                    self.state.restore(before)
            self.steps = min(steps, settings.steps or steps)
        self.recorder = self._new_recorder()
        return self.steps

    def resume(self, steps: int, checkpoint: Checkpoint | None) -> None:
        """Go on from a checkpoint of a run of so many steps; None starts it.

        Raises:
            CheckpointError: if the checkpoint is whole, but not one of such a run.
        """
        self.steps = steps
        self.recorder = self._new_recorder()
        if checkpoint is None:
            return
        try:
            self._take_up(checkpoint)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise CheckpointError(
                f"{checkpoint.path} is not a checkpoint of this run ({error}); put one back from "
                "a copy, or start the run anew with overwrite=True (--overwrite)"
            ) from error
        self.archive.write(self.events)
        for record in self.archive.records():
            self.recorder.history.add(record)

    def _take_up(self, checkpoint: Checkpoint) -> None:
        saved = checkpoint.state
        found = saved["troubles"]
        troubles = Troubles(
            set(found["skipped"]), int(found["rollbacks"]), float(found["slowdown"])
        )
        seconds, cut, events = float(saved["seconds"]), saved["cut_short"], list(saved["events"])
        first = None if saved["first_loss"] is None else float(saved["first_loss"])
        if checkpoint.step > self.steps:
            raise ValueError(f"it is of step {checkpoint.step} of {self.steps}")
        self.state.restore(saved["state"])
        self.step, self.before, self.troubles = checkpoint.step, seconds, troubles
        self.recorder.first, self.cut_short = first, bool(cut)
        self.kept, self.events = Kept(self.step, saved["state"]), events

    def _new_recorder(self) -> Recorder:
        window = 1 if self.device.type == "cpu" else 32
        return Recorder(window, self.log_every, self.steps - 1)

    # ------------------------------------------------------------------------ the steps

    def run(self, bar: ProgressBar) -> None:
        """Make the steps that are left.

        Raises:
            TrainingError: when the guard gives up; the map is left with its last good weights.
        """
        self.learned.train()
        self.objective.train()
        try:
            if not self.kept.state:
                self._keep()
            while self.step < self.steps and not self.cut_short:
                self._make_step()
                bar.update(self.step, self.recorder.history)
            self._checkpoint(now=True)
        except BaseException:
            self._leave_last_good()
            raise
        finally:
            self.learned.eval()
            self.objective.eval()

    def _make_step(self) -> None:
        step, report = self.step, None
        if step not in self.troubles.skipped:
            report = self._train(step)
        self.step += 1
        self.cut_short = self.step < self.steps and self._is_late()
        boundary = self.step % self.settings.keep_every == 0 or self._is_over
        if self.recorder.full or boundary:
            bad = self.recorder.read()
            if bad is not None and self._goes_back_for(bad):
                return
            report = report if bad is None else None
        self._write_records()
        if report is not None and self._is_stopped_by(report):
            self.cut_short = self.step < self.steps
            bad = self.recorder.read()
            if bad is not None and self._goes_back_for(bad):
                return
        # Amid skipped steps nothing is kept: what is wrong with the weights may lie before them.
        if self._is_over or (boundary and step not in self.troubles.skipped):
            self._keep()

    @property
    def _is_over(self) -> bool:
        return self.step == self.steps or self.cut_short

    def _is_late(self) -> bool:
        budget = self.settings.seconds
        return budget is not None and self.seconds > _OVERTIME * budget

    def _is_stopped_by(self, report: StepReport) -> bool:
        """Call the callback; tell whether it ends the run."""
        if self.callback is None:
            return False
        with kept_modes(self.learned, self.objective):
            try:
                self.callback(report)
            except StopTraining:
                return True
        return False

    def _train(self, step: int) -> StepReport:
        """Draw and go down the gradient."""
        draw = self._draw_at(step / self.steps, step)
        if draw.s.device.type == "cpu":  # elsewhere it would synchronise
            require_times(self.learned, draw)
        loss, rate = self._descend(step, draw, checked=self.recorder.window == 1)
        return StepReport(step, self.steps, loss, rate, self.learned, self.descent.average)

    def _draw_at(self, progress: float, step: int = 0) -> Draw:
        generator = step_generator(self.settings.seed, step)
        return self.objective.draw(
            self.source, batch=self.settings.batch, generator=generator, progress=progress
        ).to(self.device)

    def _descend(self, step: int, draw: Draw, checked: bool = False) -> tuple[Loss, float]:
        """Make one update; with ``checked``, only if loss and gradient are finite."""
        factor = self._factor(step)
        rate = factor * self.settings.learning_rate
        running = self.descent.running() if checked else {}
        loss, norm = self.descent.loss_and_gradient(step, draw)
        self.recorder.add(step, loss.total, norm, loss.parts, rate, self.seconds)
        if checked and not bool(loss.total.isfinite() & norm.isfinite()):
            self.descent.put_back(running)
        else:
            self.descent.advance(factor, step / self.steps)
        return loss, rate

    def _factor(self, step: int) -> float:
        """Return the step's learning rate in units of the peak."""
        warmup = self.settings.warmup
        if self.settings.seconds is not None:  # the run may be shorter than was thought
            warmup = min(warmup, self.steps // 2)
        return self.troubles.slowdown * learning_rate_factor(
            self.schedule, step, self.steps, warmup
        )

    def _write_records(self) -> None:
        if self.recorder.fresh:
            self.archive.write(self.recorder.fresh)
            self.recorder.fresh = []

    # ------------------------------------------------------------------------ keeping, going back

    def _keep(self) -> None:
        """Keep the state as it is, unless it is unsound."""
        if why := self._what_is_wrong():
            self._roll_back(why)
            return
        self.recorder.recent.clear()
        self.kept = Kept(self.step, self.state.capture())
        self.events.clear()
        self._checkpoint(now=self.cut_short)

    def _what_is_wrong(self) -> str | None:
        """Say why the weights of now are not to be kept; None if nothing is wrong with them."""
        exploded = self.recorder.explosion(self.settings.guard.explosion)
        if exploded is not None:
            return f"the median loss of steps {self.kept.step} to {self.step - 1} is {exploded}"
        if not self.descent.is_finite():
            return f"the weights after step {self.step - 1} are not finite"
        row = self.troubles.in_a_row(self.step - 1)
        last = self.step - 1 - row
        if row and last >= 0:
            # No later step will tell whether the skipped draws were bad, or the weights are.
            draw = self._draw_at(last / self.steps, last)
            if not self.descent.still_answers(last, draw):
                return f"the loss of step {last} is not finite any more after step {self.step - 1}"
        return None

    def _checkpoint(self, now: bool) -> None:
        self.archive.checkpoint(self.kept.step, self.as_saved(self.kept.state), now)

    def as_saved(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return a state as a checkpoint holds it, with what the run needs beside it."""
        troubles = self.troubles
        return {
            "state": state,
            "seconds": self.seconds,
            "troubles": {
                "skipped": sorted(troubles.skipped),
                "rollbacks": troubles.rollbacks,
                "slowdown": troubles.slowdown,
            },
            "first_loss": self.recorder.first,
            "cut_short": self.cut_short,
            "events": self.events,
        }

    def _goes_back_for(self, bad: NotFinite) -> bool:
        """Skip a step that is not finite, or roll back if too many were skipped in a row.

        Returns:
            Whether the run went back to its kept state.
        """
        self.troubles.skipped.add(bad.step)
        if self.troubles.in_a_row(bad.step) > self.settings.guard.skips:
            self._roll_back(bad.what)
            return True
        self._tell({"event": "skipped", "at_step": bad.step, "why": bad.what})
        if self.recorder.window == 1:  # found before its update
            return False
        self._return_to_kept()
        return True

    def _tell(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.archive.write([event])

    def _roll_back(self, why: str) -> None:
        guard, troubles = self.settings.guard, self.troubles
        if troubles.rollbacks >= guard.rollbacks:
            raise TrainingError(self._obituary(why))
        troubles.rollbacks += 1
        troubles.slowdown *= guard.slowdown
        troubles.skipped = {step for step in troubles.skipped if step < self.kept.step}
        event = {"event": "rolled back", "at_step": self.step, "to_step": self.kept.step}
        self._tell(event | {"why": why, "slowdown": troubles.slowdown})
        self._return_to_kept()

    def _return_to_kept(self) -> None:
        self.state.restore(self.kept.state)
        self.step = self.kept.step
        self.recorder.restart(self.step)
        self.archive.cut(self.step)
        self.archive.write(self.events)

    def _obituary(self, why: str) -> str:
        troubles = self.troubles
        self._leave_last_good()
        return (
            f"training stopped: {why}, after {troubles.rollbacks} roll-backs and "
            f"{len(troubles.skipped)} skipped steps; {self.archive.whereabouts(self.kept.step)}; "
            "lower learning_rate, lengthen warmup or set clip, and check that data and field are "
            "finite"
        )

    def _leave_last_good(self) -> None:
        """Leave the last kept weights in the map, and on the disk."""
        if self.kept.state:
            self.state.restore(self.kept.state)
            with suppress(Exception):  # what stopped the run is the news
                self._checkpoint(now=True)
