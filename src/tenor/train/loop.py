"""The loop: epochs of batches, each batch one recorded and flushed step.

Plain Python from top to bottom: a breakpoint in `forward` stops there, an error shows the line.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.handle import Handle
from tenor.engine.trace import local
from tenor.errors import ArgumentError, ShapeError
from tenor.metrics import Mean
from tenor.tensor import where
from tenor.tensor.conversion import concrete
from tenor.tensor.modes import no_grad
from tenor.train.batches import mapped
from tenor.train.logs import Logs
from tenor.train.outputs import Losses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tenor.metrics import Metric
    from tenor.optim import Optimizer
    from tenor.tensor import Tensor
    from tenor.train.batches import Batch, Batches
    from tenor.train.callback import CallbackList
    from tenor.train.objective import Loss

__all__ = ["Setup", "evaluate", "fit", "learn", "predict", "test", "told"]


@dataclass
class Setup:
    """What `Model.compile` chose.

    Attributes:
        optimizer: Updates the parameters.
        loss: What is made small; None where the model's `training_step` says it.
        metrics: What is counted beside it.
        weighted: What is counted with the samples' weights.
        mean_loss: The mean of the loss over the samples seen.
        further: Means of what `training_step` returns beside the loss, and of outputs' losses.
        schedules: Learning-rate schedules, and when they are stepped.
    """

    optimizer: Optimizer | None
    loss: Loss | Losses | None
    metrics: list[Metric] = field(default_factory=list)
    weighted: list[Metric] = field(default_factory=list)
    mean_loss: Mean = field(default_factory=lambda: Mean("loss"))
    further: dict[str, Mean] = field(default_factory=dict)
    schedules: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)

    def all(self) -> list[Metric]:
        """Return every metric, the loss first."""
        return [self.mean_loss, *self.further.values(), *self.metrics, *self.weighted]

    def reset(self) -> None:
        """Forget all batches."""
        self.further.clear()  # training and validation may return different things
        for metric in self.all():
            metric.reset()

    def also(self, name: str, value: Any, size: int) -> None:
        """Count a value of a batch beside the loss."""
        mean = self.further.get(name)
        if mean is None:
            mean = self.further[name] = Mean(name)
        _counted(mean, value, size)


# -- one batch ----------------------------------------------------------------------------------
def learn(model: Any, setup: Setup, batch: Batch, index: int, table: Tensor | None) -> Tensor:
    """Take one training step; return the loss.

    Forward, loss, metrics, backward and update are recorded together and run as one plan.
    """
    local.flush()  # what callbacks left behind is no part of the step: each records the same
    loss = _loss(model, setup, batch, index, table, "training_step")
    loss.backward()
    assert setup.optimizer is not None
    setup.optimizer.step_and_clear()
    return loss


def test(model: Any, setup: Setup, batch: Batch, index: int) -> Tensor:
    """Count one batch without learning from it; return the loss."""
    local.flush()
    with no_grad():
        loss = _loss(model, setup, batch, index, None, "validation_step")
    local.flush()
    return loss


def _loss(
    model: Any, setup: Setup, batch: Batch, index: int, table: Tensor | None, hook: str
) -> Tensor:
    """Return a batch's loss, having counted it and its metrics."""
    step = getattr(model, hook, None) or getattr(model, "training_step", None)
    if step is not None:
        return _stepped(setup, step(_plain(batch), index), batch.size)
    preds = call(model, batch.x)
    weights = batch.weights
    if table is not None:
        chosen = _class_weights(table, batch)
        weights = chosen if weights is None else weights * chosen
    loss: Tensor = model.compute_loss(batch.x, batch.y, preds, weights)
    setup.mean_loss.update(loss.detach().expand(batch.size))
    if isinstance(setup.loss, Losses):
        for name, part in setup.loss.parts.items():
            setup.also(name, part.detach(), batch.size)
    if batch.y is not None:
        for metric in setup.metrics:
            metric.update(preds, batch.y)
        for metric in setup.weighted:
            metric.update(preds, batch.y, weights)
    return loss


def _class_weights(table: Tensor, batch: Batch) -> Tensor:
    """Return the weight of each sample's class; classes the table does not name weigh 1.

    Raises:
        ShapeError: there is not one class for each sample.
    """
    labels = batch.y
    if isinstance(labels, Handle) and len(labels.shape_tuple) == 2 and labels.shape_tuple[1] > 1:
        labels = labels.argmax(1)  # type: ignore[attr-defined]
    if not isinstance(labels, Handle) or labels.numel() != batch.size:  # type: ignore[attr-defined]
        shape = labels.shape_tuple if isinstance(labels, Handle) else type(labels).__name__
        raise ShapeError(
            "fit: class_weight needs one class for each sample.",
            came=f"targets {shape} for {batch.size} samples",
            fix="pass sample_weight, or a loss with a weight of its own",
        )
    labels = labels.long().reshape(-1)  # type: ignore[attr-defined]
    known = labels < table.numel()
    return where(known, table[where(known, labels, 0)], 1.0)  # type: ignore[no-any-return]


def _plain(batch: Batch) -> Any:
    """Return a batch as a loader would give it, without what it has not."""
    if batch.y is None:
        return batch.x
    return (batch.x, batch.y) if batch.weights is None else tuple(batch)


def _stepped(setup: Setup, answer: Any, size: int) -> Tensor:
    """Count what the model's own step returned: the loss, or a dict that holds it."""
    values = dict(answer) if isinstance(answer, dict) else {"loss": answer}
    if not isinstance(values.get("loss"), Handle):
        raise ArgumentError(
            "training_step: must return the loss, or a dict with the key 'loss'.",
            came=f"{type(answer).__name__}",
            fix="return loss",
        )
    for name, value in values.items():
        shown = value.detach() if isinstance(value, Handle) else value  # type: ignore[attr-defined]
        if name == "loss":
            _counted(setup.mean_loss, shown, size)
        else:
            setup.also(name, shown, size)
    loss: Tensor = values["loss"]
    return loss


def _counted(mean: Mean, value: Any, size: int) -> None:
    """Count a value of a batch as often as the batch has samples."""
    if isinstance(value, Handle) and not value.shape_tuple:
        value = value.expand(size)  # type: ignore[attr-defined]
    elif not isinstance(value, Handle):
        value = np.full(size, float(value))
    mean.update(value)


def call(model: Any, x: Any) -> Any:
    """Call the model: a tuple is several arguments, a dict arguments by name."""
    if isinstance(x, dict):
        return model(**x)
    return model(*x) if isinstance(x, tuple) else model(x)


# -- epochs -------------------------------------------------------------------------------------
@contextlib.contextmanager
def modes_kept(model: Any) -> Iterator[None]:
    """Give every module the mode back it had, however the block ends."""
    before = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


@contextlib.contextmanager
def told(callbacks: CallbackList) -> Iterator[None]:
    """Tell the callbacks of an error that ends the block."""
    try:
        yield
    except BaseException as error:
        callbacks.call("on_exception", error)
        raise


@dataclass(frozen=True)
class Plan:
    """What a call of `fit` is to do.

    Attributes:
        batches: To learn from.
        callbacks: Told of every moment.
        epochs: The epoch before which it ends.
        first: The epoch it begins with.
        validation: To be evaluated on after epochs.
        every: Epochs between validations, or the epochs, counted from 1, that have one.
        table: The weight of each class.

    Raises:
        ArgumentError: `every` is not made of whole numbers from 1.
    """

    batches: Batches
    callbacks: CallbackList
    epochs: int
    first: int = 0
    validation: Batches | None = None
    every: int | Sequence[int] = 1
    table: Tensor | None = None

    def __post_init__(self) -> None:
        given = self.every if isinstance(self.every, Iterable) else [self.every]
        if not all(hasattr(n, "__index__") and n >= 1 for n in given):
            raise ArgumentError(
                "fit: validation_freq is a number of epochs, or the epochs, counted from 1.",
                came=f"validation_freq={self.every!r}",
                fix="pass whole numbers from 1; without validation_data there is no validation",
            )

    def validates(self, epoch: int) -> bool:
        """Tell whether there is a validation after an epoch, counted from 0."""
        if self.validation is None:
            return False
        if isinstance(self.every, Iterable):
            return epoch + 1 in self.every
        return (epoch + 1) % operator.index(self.every) == 0


def fit(model: Any, setup: Setup, plan: Plan) -> None:
    """Train for epochs; leave the modules' modes as they were, also after an error."""
    calls = plan.callbacks
    assert setup.optimizer is not None
    model.stop_training = False
    setup.optimizer.zero_grad()
    logs: dict[str, Any] = {}
    with modes_kept(model), told(calls):
        try:
            calls.call("on_train_begin", {})
            for epoch in range(plan.first, plan.epochs):
                logs = _epoch(model, setup, plan, epoch)
                if model.stop_training:
                    break
            calls.call("on_train_end", logs)
        finally:
            model.batch = None
            setup.optimizer.zero_grad()


def _epoch(model: Any, setup: Setup, plan: Plan, epoch: int) -> dict[str, Any]:
    calls = plan.callbacks
    model.train()
    setup.reset()
    calls.call("on_epoch_begin", epoch, {})
    index = -1
    for index, batch in enumerate(plan.batches):
        model.batch = batch
        calls.call("on_train_batch_begin", index, {})
        learn(model, setup, batch, index, plan.table)
        calls.call("on_train_batch_end", index, Logs(setup.all()))
        if model.stop_training:
            break
    if index < 0:
        raise ArgumentError(
            "fit: an epoch must have a batch.",
            came="data that gave none",
            fix="check the data's length; a generator can be read only once",
        )
    logs = dict(Logs(setup.all()))
    if plan.validation is not None and plan.validates(epoch):
        found = evaluate(model, setup, plan.validation, calls)
        logs.update({f"val_{name}": value for name, value in found.items()})
    calls.call("on_epoch_end", epoch, logs)
    return logs


def evaluate(model: Any, setup: Setup, batches: Batches, calls: CallbackList) -> Mapping[str, Any]:
    """Return the loss and metrics over all batches, in evaluation mode."""
    with modes_kept(model):
        model.eval()
        setup.reset()
        calls.call("on_test_begin", {})
        index = -1
        for index, batch in enumerate(batches):
            calls.call("on_test_batch_begin", index, {})
            test(model, setup, batch, index)
            calls.call("on_test_batch_end", index, Logs(setup.all()))
        if index < 0:
            raise ArgumentError(
                "evaluate: there must be a batch.",
                came="data that gave none",
                fix="check the data's length; a generator can be read only once",
            )
        logs = dict(Logs(setup.all()))
        calls.call("on_test_end", logs)
    return logs


def predict(model: Any, batches: Batches, calls: CallbackList) -> Any:
    """Return what the model gives for all batches, as arrays, in evaluation mode."""
    found = []
    with modes_kept(model), told(calls):
        model.eval()
        calls.call("on_predict_begin", {})
        for index, batch in enumerate(batches):
            calls.call("on_predict_batch_begin", index, {})
            with no_grad():
                outputs = mapped(_tuples(call(model, batch.x)), _read)
            found.append(outputs)
            calls.call("on_predict_batch_end", index, {"outputs": outputs})
        calls.call("on_predict_end", {})
    if not found:
        raise ArgumentError("predict: there must be a batch.", came="none", fix="check the data")
    return _joined(found)


def _tuples(outputs: Any) -> Any:
    return tuple(outputs) if isinstance(outputs, list) else outputs


def _read(output: Tensor) -> Any:
    return concrete(output, "predict()").copy()


def _joined(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, dict):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        return tuple(_joined(list(part)) for part in zip(*parts, strict=True))
    return np.concatenate([np.atleast_1d(part) for part in parts])
