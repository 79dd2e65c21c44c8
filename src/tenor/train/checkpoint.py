"""ModelCheckpoint: weights kept on disk as training goes on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError
from tenor.train.callback import Callback
from tenor.train.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ModelCheckpoint"]


class ModelCheckpoint(Callback):
    """Save the model after epochs or batches; a file is replaced whole or not at all.

    Args:
        filepath: A `.safetensors` file for weights, or a `.tnr` file for the whole model; may
            hold {epoch}, {batch} (both counted from 1) and metrics, e.g.
            "w-{epoch:02d}-{val_loss:.2f}.tnr".
        monitor: The metric that says which is best.
        verbose: 1 says so.
        save_best_only: Save only when the metric is the best so far.
        save_weights_only: Refuse a `.tnr` file.
        mode: "min", "max" or "auto".
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: The value to be better than from the start.

    Raises:
        ArgumentError: the path has another suffix.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        self.filepath = os.fspath(filepath)
        suffix = Path(self.filepath).suffix
        if suffix != ".safetensors" and (suffix != ".tnr" or save_weights_only):
            raise ArgumentError(
                "ModelCheckpoint: weights go to .safetensors, whole models to .tnr.",
                came=f"{self.filepath!r}, save_weights_only={save_weights_only}",
                fix="change the suffix",
            )
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ArgumentError(
                "ModelCheckpoint: save_freq is epoch or a number of batches.",
                came=repr(save_freq),
                fix="e.g. save_freq='epoch'",
            )
        self.watch = Watch(monitor, mode)
        if initial_value_threshold is not None:
            self.watch.reset(initial_value_threshold)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_freq = save_freq
        self.epoch = 0
        self.batches = self.batch = 0
        self.last_path: str | None = None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note the epoch."""
        del logs
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Save, if it is the batch for it."""
        self.batch = batch
        if isinstance(self.save_freq, int):
            self.batches += 1
            if self.batches % self.save_freq == 0:
                self._save(logs or {})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Save, if it is the epoch for it."""
        self.epoch = epoch
        if self.save_freq == "epoch":
            self._save(logs or {})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Warn if there was nothing to tell the best by."""
        del logs
        if self.save_best_only:
            self.watch.warn_unseen("ModelCheckpoint")

    def _save(self, logs: Mapping[str, Any]) -> None:
        if self.save_best_only:
            value = self.watch.value(logs)
            if value is None or not self.watch.improved(value):
                return
        path = self._path(logs)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.model.save(path)
        self.last_path = path
        if self.verbose:
            sys.stdout.write(f"epoch {self.epoch + 1}: saved {path}\n")

    def _path(self, logs: Mapping[str, Any]) -> str:
        try:
            return self.filepath.format(epoch=self.epoch + 1, batch=self.batch + 1, **logs)
        except KeyError as missing:
            raise ArgumentError(
                "ModelCheckpoint: the path may hold {epoch}, {batch} and metrics.",
                came=f"{missing} in {self.filepath!r}",
                fix=f"one of epoch, batch, {', '.join(logs)}",
            ) from None
