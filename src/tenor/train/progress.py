"""ProgressBar: where training stands, as a bar in a terminal and as lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

from tenor.train.callback import Callback

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ProgressBar"]

EVERY = 0.1
"""Seconds between two drawings; the metrics are read no oftener."""


class ProgressBar(Callback):
    """Show the epoch, the batches done, the time, and the metrics so far.

    In a terminal one line is drawn over and over, without a thread and without taking the
    terminal over: prints and the debugger work as ever. Elsewhere there is a line an epoch.

    Args:
        file: Where to write; standard output by default.
        lines: A line an epoch in a terminal too.
    """

    def __init__(self, file: Any = None, *, lines: bool = False) -> None:
        self.file = file
        self.lines = lines
        self.epoch = 0
        self.begun = 0.0
        self.drawn = 0.0
        self.training = False
        self.console: Any = None

    # -- moments ----------------------------------------------------------------------------------
    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Find out whether there is a terminal."""
        del logs
        self.training = True
        self._open()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Begin a line."""
        del logs
        self.epoch = epoch
        self._start()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Draw the line again, if the last drawing is old."""
        self._tick(batch + 1, logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Finish the line."""
        del epoch
        self._finish(logs or {})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Let the terminal go."""
        del logs
        self.training = False

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin a line, where it is not the validation of an epoch."""
        del logs
        if not self.training:
            self._open()
            self._start()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Draw the line again."""
        if not self.training:
            self._tick(batch + 1, logs)

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Finish the line."""
        if not self.training:
            self._finish(logs or {})

    def on_predict_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin a line."""
        del logs
        self._open()
        self._start()

    def on_predict_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Draw the line again."""
        del logs
        self._tick(batch + 1, {})

    def on_predict_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Finish the line."""
        del logs
        self._finish({})

    def on_exception(self, error: BaseException) -> None:
        """Leave the line, so that the error begins on one of its own."""
        del error
        if self.console is not None:
            self._write("\n")
        self.training = False

    # -- drawing ----------------------------------------------------------------------------------
    def _open(self) -> None:
        out = self.file or sys.stdout
        self.console = None
        if self.lines or not getattr(out, "isatty", lambda: False)():
            return
        with contextlib.suppress(ImportError):
            from rich.console import Console  # noqa: PLC0415 - only where a bar is drawn

            self.console = Console(file=out)

    def _start(self) -> None:
        self.begun = self.drawn = time.perf_counter()

    def _tick(self, done: int, logs: Mapping[str, Any] | None) -> None:
        now = time.perf_counter()
        if self.console is not None and now - self.drawn >= EVERY:
            self.drawn = now
            self._draw(done, _numbers(logs or {}), "\r")

    def _finish(self, logs: Mapping[str, Any]) -> None:
        steps = self.params.get("steps")
        if self.console is not None:
            self._draw(steps, _numbers(logs), "\n")
            return
        took = time.perf_counter() - self.begun
        self._write("  ".join([self._head(), f"{took:.1f} s", *_numbers(logs)]).strip() + "\n")

    def _head(self) -> str:
        epochs = self.params.get("epochs", 1)
        return f"epoch {self.epoch + 1}/{epochs}" if self.training else ""

    def _draw(self, done: int | None, numbers: list[str], end: str) -> None:
        from rich.progress_bar import ProgressBar as Bar  # noqa: PLC0415 - as the console
        from rich.table import Table  # noqa: PLC0415

        steps = self.params.get("steps")
        grid = Table.grid(padding=(0, 1))
        count = f"{done}/{steps}" if steps else f"{done if done is not None else ''}"
        bar: Any = Bar(total=steps, completed=done or 0, width=24) if steps else ""
        took = f"{time.perf_counter() - self.begun:.1f} s"
        grid.add_row(self._head(), bar, count, took, *numbers)
        for column in grid.columns:
            column.no_wrap = True
        with self.console.capture() as captured:
            self.console.print(grid, no_wrap=True, crop=True)
        line = captured.get().split("\n")[0]
        self._write(f"\r\x1b[2K{line}{end}")

    def _write(self, text: str) -> None:
        out = self.file or sys.stdout
        out.write(text)
        out.flush()


def _numbers(logs: Mapping[str, Any]) -> list[str]:
    """Return metrics as text; those of several numbers are left out."""
    return [
        f"{name}: {_short(value)}"
        for name, value in logs.items()
        if isinstance(value, (int, float))
    ]


def _short(value: float) -> str:
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3e}"
