"""A progress bar with loss and throughput, silent where nobody watches."""

import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from flowmaps.training._history import History

__all__ = ["ProgressBar"]


class ProgressBar:
    """Context manager that shows step, loss, steps per second and time left on a terminal.

    Args:
        steps: how many there will be.
        shown: whether to show anything; without a terminal nothing is shown either way.
        label: text before the bar.
    """

    def __init__(self, steps: int, shown: bool = True, label: str = "training"):
        self.steps, self.label = steps, label
        self.shown = shown and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> "ProgressBar":
        if self.shown:
            self._bar = self._stack.enter_context(_rich_bar())
            self._task = self._bar.add_task(self.label, total=self.steps, loss="", speed="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def update(self, done: int, history: History) -> None:
        """Show that ``done`` steps are done, with the last loss read and the pace so far."""
        if self._bar is None or not history.loss:
            return
        pace = done / max(history.seconds[-1], 1e-9)
        numbers = {"loss": f"loss {history.loss[-1]:.3e}", "speed": f"{pace:.1f} steps/s"}
        self._bar.update(self._task, completed=done, **numbers)


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
