"""Callbacks: what is done beside training, at the moments Keras names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Callback", "CallbackList", "History", "LambdaCallback"]

Logs = "Mapping[str, float]"


class Callback:
    """Base of the callbacks: override the moments you want.

    The logs of a batch are worked out when they are looked at; a callback that does not look
    costs nothing.

    Attributes:
        model: The model that is trained.
        params: epochs, steps and verbose.
    """

    model: Any = None
    params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        """Take the model that will be trained."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Take epochs, steps and verbose."""
        self.params = params

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """After the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Before an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """After an epoch and its validation; logs hold the metrics, validation's as val_*."""

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Before a training step, counted from 0 in each epoch."""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """After a training step; logs hold the metrics of the epoch so far."""

    def on_test_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Before an evaluation, also that at the end of an epoch."""

    def on_test_end(self, logs: Mapping[str, float] | None = None) -> None:
        """After an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Before a batch is evaluated."""

    def on_test_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """After a batch is evaluated."""

    def on_predict_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Before predictions."""

    def on_predict_end(self, logs: Mapping[str, float] | None = None) -> None:
        """After predictions."""

    def on_predict_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Before a batch is predicted."""

    def on_predict_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """After a batch is predicted; logs hold the outputs."""

    def on_exception(self, error: BaseException) -> None:
        """When training, evaluation or prediction is broken off; the error goes on after this."""


MOMENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class CallbackList:
    """Several callbacks as one, called in their order.

    Args:
        callbacks: The callbacks, or a CallbackList, which is kept as it is.
        model: The model that is trained.
        params: epochs, steps and verbose.

    Raises:
        ArgumentError: something is no callback.
    """

    def __init__(self, callbacks: Iterable[Any] = (), model: Any = None, **params: Any) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise ArgumentError(
                    "callbacks: each must be a Callback.",
                    came=repr(callback),
                    fix="wrap functions in LambdaCallback(on_epoch_end=...)",
                )
            callback.set_model(model)
            callback.set_params(params)
        # Only who overrides a moment is called at it.
        self.at = {
            name: [
                getattr(c, name)
                for c in self.callbacks
                if getattr(type(c), name) is not getattr(Callback, name) or name in vars(c)
            ]
            for name in MOMENTS
        }

    def call(self, moment: str, *args: Any) -> None:
        """Call everyone who waits for a moment, such as on_epoch_end."""
        for function in self.at[moment]:
            function(*args)

    def __iter__(self) -> Any:
        return iter(self.callbacks)

    def __len__(self) -> int:
        return len(self.callbacks)


class LambdaCallback(Callback):
    """Functions as a callback.

    Args:
        functions: Functions by moment, with the arguments of `Callback`'s methods.

    Raises:
        ArgumentError: there is no such moment.

    Example:
        >>> import tenor as tn
        >>> seen = tn.train.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch))
    """

    def __init__(self, **functions: Callable[..., Any]) -> None:
        for name, function in functions.items():
            if name not in MOMENTS:
                raise ArgumentError(
                    "LambdaCallback: there must be such a moment.",
                    came=name,
                    fix=f"one of {', '.join(MOMENTS)}",
                )
            setattr(self, name, function)


class History(Callback):
    """The logs of every epoch; `fit` returns it.

    Attributes:
        history: For each metric its values, one an epoch.
        epoch: The epochs, counted from 0.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Begin anew."""
        del logs
        self.history, self.epoch = {}, []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Write the epoch down."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        return f"History(epochs={len(self.epoch)}, metrics={list(self.history)})"
