"""Callbacks that watch a metric: stop, slow down, or give up."""

from __future__ import annotations

import inspect
import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

from tenor.engine.trace import local
from tenor.errors import ArgumentError, user_line
from tenor.optim.lr_scheduler import LRScheduler
from tenor.optim.lr_scheduler import ReduceLROnPlateau as Plateau
from tenor.tensor.conversion import concrete, from_array
from tenor.tensor.modes import no_grad
from tenor.train.callback import Callback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = [
    "EarlyStopping", "LearningRateScheduler", "ReduceLROnPlateau", "TerminateOnNaN", "Watch",
]  # fmt: skip

RISING = ("acc", "auc", "precision", "recall", "f1", "r2", "fmeasure")
"""Parts of the names of metrics of which more is better."""


class Watch:
    """Tells whether a metric has become better.

    Args:
        monitor: Its name.
        mode: "min", "max", or "auto" by the name.
        min_delta: How much better counts.

    Attributes:
        best: The best value so far.
    """

    def __init__(self, monitor: str, mode: str = "auto", min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(
                "monitor: mode is min, max or auto.", came=repr(mode), fix="e.g. mode='min'"
            )
        self.monitor = monitor
        self.seen: bool | None = None  # not looked for yet
        self.rising = mode == "max" or (mode == "auto" and any(r in monitor for r in RISING))
        self.min_delta = abs(min_delta)
        self.reset()

    def reset(self, best: float | None = None) -> None:
        """Forget the best value, or set it."""
        self.best = best if best is not None else (-math.inf if self.rising else math.inf)

    def value(self, logs: Mapping[str, Any] | None) -> float | None:
        """Return the metric's value; None where there is no validation this epoch.

        Raises:
            ArgumentError: there is no such metric.
        """
        found = (logs or {}).get(self.monitor)
        self.seen = bool(self.seen) or found is not None
        validated = any(name.startswith("val_") for name in logs or ())
        if found is None and (validated or not self.monitor.startswith("val_")):
            raise ArgumentError(
                f"monitor: there must be a metric {self.monitor!r}.",
                came=", ".join(logs or ()) or "no metrics",
                fix="compile the model with it, or monitor another",
            )
        return None if found is None else float(found)

    def warn_unseen(self, who: str) -> None:
        """Warn that the metric was in no epoch's logs: nothing was validated on."""
        if self.seen is False:
            file, line = user_line() or ("<unknown>", 0)
            warnings.warn_explicit(
                f"{who}: monitors {self.monitor!r}, and there was no validation; pass "
                "validation_data= or validation_split= to fit, or monitor another metric",
                UserWarning,
                file,
                line,
            )

    def improved(self, value: float) -> bool:
        """Tell whether a value is better than the best; it is the best then."""
        better = self.better(value, self.best)
        if better:
            self.best = value
        return better

    def better(self, value: float, best: float) -> bool:
        """Tell whether a value is better than another by more than min_delta."""
        if self.rising:
            return value > best + self.min_delta
        return value < best - self.min_delta


def _tell(verbose: int, text: str) -> None:
    if verbose:
        sys.stdout.write(text + "\n")


class EarlyStopping(Callback):
    """Stop when a metric has stopped getting better.

    Args:
        monitor: The metric.
        min_delta: How much better counts.
        patience: Epochs without a better value that are borne.
        verbose: 1 says so.
        mode: "min", "max" or "auto".
        baseline: The value to be better than from the start.
        restore_best_weights: Whether to go back to the weights of the best epoch.
        start_from_epoch: Epochs before which nothing is watched.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        self.watch = Watch(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best_weights: dict[str, NDArray[Any]] | None = None

    @property
    def best(self) -> float:
        """The best value so far."""
        return self.watch.best

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin anew."""
        del logs
        self.watch.reset()
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look at the metric, and stop if it has not been better for too long."""
        value = self.watch.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights = weights_of(self.model)
            self.best_epoch = epoch
        self.wait += 1
        if self.watch.improved(value):
            if self.baseline is None or self.watch.better(value, self.baseline):
                self.wait = 0
            self.best_epoch = epoch
            if self.restore_best_weights:
                self.best_weights = weights_of(self.model)
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Go back to the best weights, if asked to."""
        del logs
        self.watch.warn_unseen("EarlyStopping")
        if self.stopped_epoch:
            _tell(self.verbose, f"epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            _tell(self.verbose, f"weights of epoch {self.best_epoch + 1} restored")
            restore(self.model, self.best_weights)


def _state(model: Any) -> dict[str, Any]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def weights_of(model: Any) -> dict[str, NDArray[Any]]:
    """Return a copy of a model's parameters and buffers; nothing is recorded."""
    return {name: concrete(value, "weights").copy() for name, value in _state(model).items()}


def restore(model: Any, weights: Mapping[str, NDArray[Any]]) -> None:
    """Give a model the parameters and buffers it had."""
    with no_grad():
        for name, value in _state(model).items():
            value.copy_(from_array(weights[name], value.dtype))
    local.flush()


class TerminateOnNaN(Callback):
    """Stop when the loss is NaN or infinite; looks at every batch."""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            _tell(1, f"batch {batch}: the loss is {loss}, training stops")
            self.model.stop_training = True


class LearningRateScheduler(Callback):
    """Set the learning rate by a function, or step one of `tn.optim.lr_scheduler`.

    Args:
        schedule: A function of the epoch (and the rate) that returns the new rate, set before each
            epoch; or a schedule, stepped after each epoch or batch.
        verbose: 1 says the rates.
        every: "epoch" or "batch": when a schedule is stepped.
        monitor: The metric that a schedule like `ReduceLROnPlateau` is stepped with.
    """

    def __init__(
        self,
        schedule: Callable[..., float] | LRScheduler,
        verbose: int = 0,
        *,
        every: str = "epoch",
        monitor: str = "val_loss",
    ) -> None:
        if every not in ("epoch", "batch"):
            raise ArgumentError(
                "LearningRateScheduler: every is epoch or batch.", came=repr(every), fix="choose"
            )
        self.schedule: Any = schedule
        self.takes = 2
        if not isinstance(schedule, LRScheduler):
            self.takes = min(2, len(inspect.signature(schedule).parameters))
        self.verbose = verbose
        self.every = every
        self.watch = Watch(monitor)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the rate."""
        del logs
        if isinstance(self.schedule, LRScheduler):
            return
        groups = self.model.optimizer.param_groups
        given = (epoch, float(groups[0]["lr"]))
        rate = self.schedule(*given[: self.takes])
        for group in groups:
            group["lr"] = float(rate)
        _tell(self.verbose, f"epoch {epoch + 1}: learning rate {float(rate):g}")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Step the schedule."""
        del batch
        if self.every == "batch" and isinstance(self.schedule, LRScheduler):
            self._step(logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note the rate, and step the schedule."""
        _note(self.model, logs)
        if self.every == "epoch" and isinstance(self.schedule, LRScheduler):
            self._step(logs)
            _tell(self.verbose, f"epoch {epoch + 1}: {self.schedule.get_last_lr()}")

    def _step(self, logs: Mapping[str, Any] | None) -> None:
        if not isinstance(self.schedule, Plateau):
            self.schedule.step()
            return
        value = self.watch.value(logs)
        if value is not None:
            self.schedule.step(value)


def _note(model: Any, logs: Any) -> None:
    """Write the learning rate into an epoch's logs."""
    if isinstance(logs, dict):
        logs["learning_rate"] = float(model.optimizer.param_groups[0]["lr"])


class ReduceLROnPlateau(Callback):
    """Lower the learning rate when a metric has stopped getting better.

    Args:
        monitor: The metric.
        factor: What the rate is multiplied by, below 1.
        patience: Epochs without a better value that are borne.
        verbose: 1 says so.
        mode: "min", "max" or "auto".
        min_delta: How much better counts.
        cooldown: Epochs after a change that do not count.
        min_lr: The lowest rate.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        if factor >= 1.0:
            raise ArgumentError(
                "ReduceLROnPlateau: factor is below 1.", came=str(factor), fix="e.g. 0.1"
            )
        self.watch = Watch(monitor, mode, min_delta)
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.wait = self.resting = 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin anew."""
        del logs
        self.watch.reset()
        self.wait = self.resting = 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look at the metric, and lower the rate if it has not been better for too long."""
        _note(self.model, logs)
        value = self.watch.value(logs)
        if value is None:
            return
        if self.resting:
            self.resting -= 1
            self.wait = 0
        if self.watch.improved(value):
            self.wait = 0
        elif not self.resting:
            self.wait += 1
            if self.wait >= self.patience:
                self._lower(epoch)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Warn if there was nothing to look at."""
        del logs
        self.watch.warn_unseen("ReduceLROnPlateau")

    def _lower(self, epoch: int) -> None:
        for group in self.model.optimizer.param_groups:
            if group["lr"] > self.min_lr:
                group["lr"] = max(float(group["lr"]) * self.factor, self.min_lr)
                _tell(self.verbose, f"epoch {epoch + 1}: learning rate {group['lr']:g}")
        self.resting = self.cooldown
        self.wait = 0
