"""The one training loop."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from flowmaps.errors import TrainingError, UntrainedTimes
from flowmaps.maps import FlowMap
from flowmaps.objectives import Draw, Loss, Objective
from flowmaps.training._archive import Archive
from flowmaps.training._budget import affordable_steps
from flowmaps.training._checkpoints import Checkpoint
from flowmaps.training._compiling import compiled
from flowmaps.training._ema import Average
from flowmaps.training._history import NotFinite, Recorder
from flowmaps.training._optimizers import make_optimizer
from flowmaps.training._progress import ProgressBar
from flowmaps.training._schedules import learning_rate_factor, named_schedule
from flowmaps.training._seeds import step_generator, step_seed
from flowmaps.training._settings import Settings
from flowmaps.training._state import TrainingState

__all__ = ["Loop", "StepReport"]

_OVERTIME = 1.5
"""A run with a budget of time is cut short beyond this many budgets."""


@dataclass(frozen=True)
class StepReport:
    """What a callback is told after a step.

    Args:
        step: number of the step, from 0.
        steps: how many there will be.
        loss: on the step's draw, before its update; tensors on the device.
        learning_rate: of the step.
        learned: the map in training, with its live weights.
    """

    step: int
    steps: int
    loss: Loss
    learning_rate: float
    learned: FlowMap


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
        parameters = [*learned.parameters(), *objective.parameters()]
        self.device = parameters[0].device if parameters else torch.device("cpu")
        self.schedule = named_schedule(settings.schedule)
        self.update = make_optimizer(settings.optimizer, parameters, settings.learning_rate)
        self.average = Average(learned, settings.ema or 0.0)
        objective.to(self.device)
        self.state = TrainingState(learned, objective, self.update, self.average)
        saved = learned.state_dict(keep_vars=True).values()
        self.running = [part for part in saved if not isinstance(part, nn.Parameter)]
        """What evaluation itself may change, such as the statistics of a norm."""
        self.evaluate = compiled(lambda draw: objective(learned, draw), settings.compile)
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

    def choose_steps(self) -> int:
        """Turn the budget of time into steps, by trial steps that leave no trace."""
        settings = self.settings
        if settings.seconds is not None:
            before, mode = self.state.capture(), self.learned.training
            self.learned.train()  # so that the trial steps cost what the others will
            self.steps = 1_000_000

            def trial(progress: float) -> None:
                loss, _ = self._descend(round(progress * self.steps), self._draw_at(progress))
                loss.total.item()  # waits for the device

            try:
                steps = affordable_steps(settings.seconds, self.seconds, trial)
            finally:
                self.state.restore(before)
                self.learned.train(mode)
            self.steps = min(steps, settings.steps or steps)
        self.recorder = self._new_recorder()
        return self.steps

    def resume(self, steps: int, checkpoint: Checkpoint | None) -> None:
        """Go on from a checkpoint of a run of so many steps; None starts it."""
        self.steps = steps
        self.recorder = self._new_recorder()
        if checkpoint is None:
            return
        saved = checkpoint.state
        self.state.restore(saved["state"])
        self.step, self.before = checkpoint.step, saved["seconds"]
        troubles = saved["troubles"]
        self.troubles = Troubles(
            set(troubles["skipped"]), troubles["rollbacks"], troubles["slowdown"]
        )
        self.recorder.first, self.cut_short = saved["first_loss"], saved["cut_short"]
        self.kept, self.events = Kept(self.step, saved["state"]), saved["events"]
        self.archive.write(self.events)
        for record in self.archive.records():
            self.recorder.history.add(record)

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
            self._keep(now=True)
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
        boundary = self.step % self.settings.keep_every == 0 or self.step == self.steps
        bad = self.recorder.read() if self.recorder.full or boundary else None
        if bad is not None and self._goes_back_for(bad):
            return
        self._write_records()
        if bad is None and report is not None and self.callback is not None:
            self.callback(report)
        # Amid skipped steps nothing is kept: what is wrong with the weights may lie before them.
        if self.step == self.steps or (boundary and step not in self.troubles.skipped):
            self._keep()

    def _train(self, step: int) -> StepReport | None:
        """Draw and go down the gradient; None if what was read at once is not finite."""
        draw = self._draw_at(step / self.steps, step)
        if step == 0:
            self.objective.check(draw)
        if step == 0 or draw.s.device.type == "cpu":  # elsewhere it would synchronise
            _require_times(self.learned, draw)
        loss, rate = self._descend(step, draw, checked=self.recorder.window == 1)
        return StepReport(step, self.steps, loss, rate, self.learned)

    def _draw_at(self, progress: float, step: int = 0) -> Draw:
        generator = step_generator(self.settings.seed, step)
        return self.objective.draw(
            self.source, batch=self.settings.batch, generator=generator, progress=progress
        ).to(self.device)

    def _descend(self, step: int, draw: Draw, checked: bool = False) -> tuple[Loss, float]:
        """Make one update; with ``checked``, only if loss and gradient are finite."""
        rate = self._rate(step)
        running = [buffer.clone() for buffer in self.running] if checked else []
        torch.manual_seed(step_seed(self.settings.seed, step, stream=1))  # dropout's masks
        loss = self.evaluate(draw)
        norm = _gradient(self.update, loss.total, self.settings.clip)
        self.recorder.add(step, loss.total, norm, loss.parts, rate, self.seconds)
        if checked and not bool(torch.isfinite(loss.total) & torch.isfinite(norm)):
            for buffer, before in zip(self.running, running, strict=True):
                buffer.copy_(before)
            return loss, rate
        for group in self.update.param_groups:
            group["lr"] = rate
        self.update.step()
        self.average.update()
        return loss, rate

    def _rate(self, step: int) -> float:
        warmup = self.settings.warmup
        if self.settings.seconds is not None:  # the run may be shorter than was thought
            warmup = min(warmup, self.steps // 2)
        factor = learning_rate_factor(self.schedule, step, self.steps, warmup)
        return self.troubles.slowdown * self.settings.learning_rate * factor

    def _write_records(self) -> None:
        if self.recorder.fresh:
            self.archive.write(self.recorder.fresh)
            self.recorder.fresh = []

    # ------------------------------------------------------------------------ keeping, going back

    def _keep(self, now: bool = False) -> None:
        """Keep the state as it is, unless the loss has exploded since the last time."""
        ratio = self.recorder.explosion()
        if ratio > self.settings.guard.explosion:
            self._roll_back(
                f"the median loss of steps {self.kept.step} to {self.step - 1} is {ratio:.1e} "
                "times the first loss"
            )
            return
        budget = self.settings.seconds
        late = budget is not None and self.seconds > _OVERTIME * budget
        self.cut_short |= late and self.step < self.steps
        self.recorder.recent.clear()
        self.kept = Kept(self.step, self.state.capture())
        self.events.clear()
        self._checkpoint(now or self.cut_short)

    def _checkpoint(self, now: bool) -> None:
        troubles = self.troubles
        self.archive.checkpoint(
            self.kept.step,
            {
                "state": self.kept.state,
                "seconds": self.seconds,
                "troubles": {
                    "skipped": sorted(troubles.skipped),
                    "rollbacks": troubles.rollbacks,
                    "slowdown": troubles.slowdown,
                },
                "first_loss": self.recorder.first,
                "cut_short": self.cut_short,
                "events": self.events,
            },
            now,
        )

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
            with suppress(OSError):  # what stopped the run is the news
                self._checkpoint(now=True)


def _gradient(update: torch.optim.Optimizer, total: Tensor, clip: float | None) -> Tensor:
    """Fill in the gradient, clipped, and return its norm before clipping."""
    update.zero_grad(set_to_none=True)
    total.backward()
    trained = [p for group in update.param_groups for p in group["params"]]
    return nn.utils.clip_grad_norm_(trained, float("inf") if clip is None else clip)


def _require_times(learned: FlowMap, draw: Draw) -> None:
    """Raise UntrainedTimes if the map would answer NaN at the times of a draw."""
    try:
        learned.times.require(draw.s, draw.t)
    except UntrainedTimes as error:
        raise UntrainedTimes(
            f"{error} of the draw; give the map times=TimeSet(...) that hold those of the "
            "objective and its source, or limit the objective's times"
        ) from None
