"""CSVLogger: the logs of every epoch as a table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenor.train.callback import Callback

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["CSVLogger"]


class CSVLogger(Callback):
    """Write a line of epoch and metrics after every epoch.

    Args:
        filename: The file.
        separator: What stands between columns.
        append: Whether to go on at the end of a file that exists.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        self.path = Path(filename)
        self.separator = separator
        self.append = append
        self.keys: list[str] | None = None
        self.file: Any = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Open the file."""
        del logs
        self.keys = None
        if self.append and self.path.exists() and self.path.stat().st_size:
            with self.path.open(newline="") as file:
                self.keys = next(csv.reader(file, delimiter=self.separator))[1:]
        self.file = self.path.open("a" if self.append else "w", newline="")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write the epoch's line; the first epoch decides the columns."""
        logs = logs or {}
        writer = csv.writer(self.file, delimiter=self.separator)
        if self.keys is None:
            self.keys = list(logs)
            writer.writerow(["epoch", *self.keys])
        writer.writerow([epoch, *[logs.get(key, "NA") for key in self.keys]])
        self.file.flush()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Close the file."""
        del logs
        self._close()

    def on_exception(self, error: BaseException) -> None:
        """Close the file."""
        del error
        self._close()

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None
