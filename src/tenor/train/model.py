"""Model: a module with Keras' compile, fit, evaluate, predict and summary."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor import export as exporting
from tenor import save as saving
from tenor.engine.handle import Handle
from tenor.errors import ArgumentError
from tenor.ir import dtype as dt
from tenor.nn.module import Module
from tenor.tensor.conversion import from_array
from tenor.train.batches import Batch, Batches, batches_of, cut, mapped, unpacked
from tenor.train.callback import Callback, CallbackList, History
from tenor.train.logs import Logs, read
from tenor.train.loop import (
    Plan,
    Setup,
    call,
    evaluate,
    fit,
    learn,
    modes_kept,
    predict,
    test,
    told,
)
from tenor.train.objective import configured, like, optimizer_of
from tenor.train.outputs import losses_of, metrics_of
from tenor.train.progress import ProgressBar
from tenor.train.summary import Summary, summarize
from tenor.train.watching import LearningRateScheduler

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from tenor.ir.dtype import DType
    from tenor.tensor import Tensor

__all__ = ["Model"]


class Model(Module):
    """A module that can be trained, evaluated and asked with a call.

    Wrap a module, or subclass and define `forward`. The loop is plain Python over the same
    modules, optimizers and losses you would use yourself, and the two can be mixed at any step.
    A subclass may define `training_step(batch, index)` (and `validation_step`), which returns the
    loss or a dict that holds it, and `configure_optimizers()`.

    Args:
        module: What is trained; left out in a subclass.

    Attributes:
        stop_training: Set it to end `fit` after the batch in work.
        history: What the last `fit` returned.
        batch: The batch in work during `fit`.

    Example:
        >>> import tenor as tn
        >>> model = tn.Model(tn.nn.Linear(2, 1))
        >>> model.compile("sgd", "mse")
        >>> x = tn.randn(64, 2)
        >>> history = model.fit(x, x.sum(1), epochs=2, verbose=0)
        >>> len(history.history["loss"])
        2
    """

    setup: Setup | None = None
    stop_training: bool = False
    history: History | None = None
    batch: Batch | None = None
    seen: Any = None
    aimed: Any = None

    def __init__(self, module: Module | None = None) -> None:
        super().__init__()
        if module is not None:
            self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the wrapped module; subclasses define their own."""
        inner = self._modules.get("module")
        if inner is None:
            return super().forward(*args, **kwargs)
        return inner(*args, **kwargs)

    @property
    def network(self) -> Module:
        """The wrapped module; the model itself in a subclass with a `forward` of its own."""
        inner = self._modules.get("module")
        return self if inner is None or type(self).forward is not Model.forward else inner

    # -- what to aim at -------------------------------------------------------------------------
    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        metrics: Any = None,
        *,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
    ) -> None:
        """Choose what training makes small, how, and what is counted beside it.

        Args:
            optimizer: A name ("adam", "adamw", "sgd", "rmsprop"), an optimizer, or a function of
                the parameters that makes one.
            loss: A name of `tn.train.LOSSES`, a loss module, or a function of predictions and
                targets. PyTorch's names take logits, Keras' names probabilities. A dict or list
                of them is one for each output.
            metrics: Names of `tn.metrics.NAMES`, metrics, or functions of predictions and targets;
                a dict of them, or a list of lists, is for outputs.
            loss_weights: What the outputs' losses are multiplied by, a dict or list.
            weighted_metrics: The same as metrics, counted with the samples' weights.
            run_eagerly: Taken and not needed: a step is plain Python, and a breakpoint stops there.
            steps_per_execution: Taken and not needed.
            jit_compile: Taken and not needed.

        Raises:
            ArgumentError: there is nothing of such a name.
        """
        del run_eagerly, steps_per_execution, jit_compile
        aim = losses_of(loss, loss_weights)
        chosen = [metrics_of(given, aim) for given in (metrics, weighted_metrics)]
        names = [m.name for many in chosen for m in many]
        if len(set(names)) < len(names) or "loss" in names:
            raise ArgumentError(
                "compile: every metric must have a name of its own.",
                came=", ".join(names),
                fix="pass Metric(name=...)",
            )
        parameters = list(self.parameters())
        maker = optimizer_of(optimizer, parameters) if parameters else None
        self.setup = Setup(maker, aim, chosen[0], chosen[1])

    @property
    def optimizer(self) -> Any:
        """The optimizer that `compile` chose."""
        return self._ready("optimizer").optimizer

    @property
    def metrics_names(self) -> list[str]:
        """What `evaluate` returns, in order."""
        return [metric.name for metric in self._ready("metrics_names").all()]

    def reset_metrics(self) -> None:
        """Forget the batches counted so far."""
        self._ready("reset_metrics").reset()

    def _ready(self, what: str, learning: bool = False) -> Setup:
        schedules: list[Any] = []
        if self.setup is None:
            configure = getattr(self, "configure_optimizers", None)
            if configure is None:
                raise ArgumentError(
                    f"{what}: the model must be compiled first.",
                    came="a model that is not",
                    fix='call model.compile("adam", loss, metrics=["accuracy"])',
                )
            optimizer, schedules = configured(configure())
            self.compile(optimizer)
        assert self.setup is not None
        self.setup.schedules += schedules
        if learning and self.setup.optimizer is None:
            raise ArgumentError(
                f"{what}: there must be parameters to train.",
                came="a model without parameters",
                fix="assign layers to attributes of the module in __init__",
            )
        return self.setup

    def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """Return the loss of a batch; override it to add terms of your own.

        Raises:
            ArgumentError: there is no loss, or there are no targets.
        """
        del x
        setup = self._ready("compute_loss")
        if setup.loss is None or y is None:
            missing = "loss" if setup.loss is None else "targets"
            raise ArgumentError(
                f"fit: there must be {missing}.",
                came="none",
                fix="pass loss= to compile()" if setup.loss is None else "pass y",
            )
        return setup.loss(y_pred, y, sample_weight)

    # -- training -------------------------------------------------------------------------------
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Any] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> History:
        """Train for a number of epochs; return their logs.

        Args:
            x: Inputs: arrays or tensors, a tuple (arguments of `forward`) or dict (by name) of
                them; or a DataLoader, Dataset or iterable of (x, y) or (x, y, weights).
            y: Targets, where x is inputs alone.
            batch_size: Samples a step, where x is arrays; 32 by default. The last may be smaller.
            epochs: The epoch to stop before.
            verbose: 0 silent, 1 or "auto" a progress bar, 2 a line an epoch.
            callbacks: Callbacks, called in their order.
            validation_split: The share of the samples, from the end, to validate on instead.
            validation_data: (x, y), (x, y, weights), or a loader.
            shuffle: Whether arrays are visited in random order; `tn.manual_seed` decides which.
            class_weight: How much samples of each class count.
            sample_weight: How much each sample counts.
            initial_epoch: The epoch to begin with, where training goes on.
            steps_per_epoch: Batches an epoch, if not all.
            validation_steps: Batches of a validation, if not all.
            validation_batch_size: As batch_size, for validation.
            validation_freq: Epochs from one validation to the next, or the epochs, counted from 1,
                after which there is one.

        Raises:
            ArgumentError: the model is not compiled, or arguments exclude one another.
            ShapeError: arrays differ in length.
        """
        setup = self._ready("fit", learning=True)
        if validation_split:
            (x, y, sample_weight), validation_data = cut(x, y, sample_weight, validation_split)
        batches = self._batches(x, y, sample_weight, batch_size, shuffle, steps_per_epoch)
        validation = None
        if validation_data is not None:
            size = validation_batch_size or batch_size
            validation = self._validation(validation_data, size, validation_steps)
        history = History()
        steppers = [LearningRateScheduler(s, **when) for s, when in setup.schedules]
        calls = self._callbacks(
            [*steppers, *_several(callbacks), history], verbose, epochs=epochs, steps=batches.steps
        )
        plan = Plan(
            batches, calls, epochs, initial_epoch, validation, validation_freq,
            None if class_weight is None else _table(class_weight),
        )  # fmt: skip
        self.history = history
        fit(self, setup, plan)
        return history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = 0,
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[Any] | Callback | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss and metrics over data: [loss, metrics...], or the loss alone.

        Args:
            x: As for `fit`.
            y: Targets, where x is inputs alone.
            batch_size: Samples at once; 32 by default.
            verbose: 0 silent, 1 a progress bar, 2 a line.
            sample_weight: How much each sample counts.
            steps: Batches, if not all.
            callbacks: Callbacks, called in their order.
            return_dict: Whether to return a dict by name instead.
        """
        setup = self._ready("evaluate")
        batches = self._batches(x, y, sample_weight, batch_size, False, steps)
        calls = self._callbacks(_several(callbacks), verbose, steps=batches.steps, epochs=1)
        with told(calls):
            logs = dict(evaluate(self, setup, batches, calls))
        if return_dict:
            return logs
        values = list(logs.values())
        return values if len(values) > 1 else values[0]

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = 0,
        steps: int | None = None,
        callbacks: Sequence[Any] | Callback | None = None,
    ) -> Any:
        """Return what the model gives for data, as arrays, in evaluation mode.

        Args:
            x: Inputs, as for `fit`; of a loader's batches, the inputs.
            batch_size: Samples at once; 32 by default.
            verbose: 0 silent, 1 a progress bar.
            steps: Batches, if not all.
            callbacks: Callbacks, called in their order.
        """
        batches = self._batches(x, None, None, batch_size, False, steps)
        calls = self._callbacks(_several(callbacks), verbose, steps=batches.steps, epochs=1)
        return predict(self, batches, calls)

    # -- one batch ------------------------------------------------------------------------------
    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Take one step; return the loss and metrics of all batches since `reset_metrics`."""
        setup = self._ready("train_on_batch", learning=True)
        table = None if class_weight is None else _table(class_weight)
        batch = self._one(x, y, sample_weight)
        with modes_kept(self):
            self.train()
            learn(self, setup, batch, 0, table)
        return _answer(setup, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Count one batch; return the loss and metrics of all batches since `reset_metrics`."""
        setup = self._ready("test_on_batch")
        with modes_kept(self):
            self.eval()
            test(self, setup, self._one(x, y, sample_weight), 0)
        return _answer(setup, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Return what the model gives for one batch, as arrays."""
        whole = Batches(lambda: [self._one(x, None, None)], 1)
        return predict(self, whole, CallbackList())

    def _one(self, x: Any, y: Any, weights: Any) -> Batch:
        (batch,) = batches_of(x, y, weights, batch_size=sys.maxsize, dtype=self._float())
        self._note(batch)
        return batch

    # -- data -----------------------------------------------------------------------------------
    def _float(self) -> DType:
        """Return the dtype of the first floating parameter."""
        for p in self.parameters():
            if p.is_floating_point():
                return p.dtype
        return dt.default_float

    def _batches(
        self, x: Any, y: Any, weights: Any, size: int | None, shuffle: bool, steps: int | None
    ) -> Batches:
        dtype = self._float()
        batches = batches_of(
            x, y, weights, batch_size=size, shuffle=shuffle, steps=steps, dtype=dtype
        )
        make = batches.make

        def noted() -> Any:
            for part in make():
                batch = unpacked(part)
                batch = Batch(*[mapped(nest, partial(_as, dtype=dtype)) for nest in batch])
                self._note(batch)
                yield batch

        batches.make = noted
        return batches

    def _note(self, batch: Batch) -> None:
        """Keep what inputs and targets look like, for `summary`, `save` and `export`."""
        object.__setattr__(self, "seen", batch.x)
        if batch.y is not None:
            object.__setattr__(self, "aimed", batch.y)

    def _validation(self, data: Any, size: int | None, steps: int | None) -> Batches:
        if isinstance(data, (tuple, list)):
            if not 2 <= len(data) <= 3:
                raise ArgumentError(
                    "fit: validation_data is (x, y), (x, y, sample_weight) or a loader.",
                    came=f"{len(data)} parts",
                    fix="nest several inputs: ((a, b), y)",
                )
            x, y, weights = (*data, None)[:3]
            return self._batches(x, y, weights, size, False, steps)
        return self._batches(data, None, None, size, False, steps)

    def _callbacks(self, chosen: list[Any], verbose: int | str, **params: Any) -> CallbackList:
        level = 1 if verbose == "auto" else int(verbose)
        if level and not any(isinstance(c, ProgressBar) for c in chosen):
            chosen.append(ProgressBar(lines=level == 2))
        return CallbackList(chosen, self, verbose=level, **params)

    # -- looking at it, keeping it --------------------------------------------------------------
    def summary(self, input: Any = None, *, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print each layer with its output's shape and its number of parameters.

        Args:
            input: A shape (batch first), a tensor or array, or a tuple or dict of them; by default
                what the model was given last.
            print_fn: Gets the text; by default it is written to standard output.
        """
        text = self.summarize(input).text()
        if print_fn is None:
            sys.stdout.write(text + "\n")
        else:
            print_fn(text)

    def summarize(self, input: Any = None) -> Summary:
        """Return what `summary` prints, as rows and totals."""
        given = self.seen if input is None else _example(input, self._float())
        if given is None:
            return summarize(self.network)
        with modes_kept(self):
            self.eval()
            return summarize(self.network, lambda: call(self, given), Batch(given).size)

    def save_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Save parameters and buffers as a `.safetensors` file, whole or not at all.

        Raises:
            SaveError: it could not be written; the old file stands.
        """
        saving.save(self.network.state_dict(), filepath)

    def load_weights(self, filepath: str | os.PathLike[str], strict: bool = True) -> None:
        """Load parameters and buffers from a `.safetensors` file.

        Args:
            filepath: The file.
            strict: Whether missing or unexpected names are an error.

        Raises:
            FormatError: the file is damaged.
            ArgumentError: it holds other names.
            ShapeError: a shape differs; nothing has been changed.
        """
        state: Any = saving.load(filepath)
        if not isinstance(state, dict):
            raise ArgumentError(
                "load_weights: loads weights alone.",
                came=f"{filepath}: a whole model",
                fix="use tn.load(path), which gives the model back",
            )
        self.network.load_state_dict(state, strict=strict)

    def save(self, filepath: str | os.PathLike[str], **options: Any) -> None:
        """Save the whole model as a `.tnr` file, or its weights as a `.safetensors` file.

        Args:
            filepath: The file; its suffix decides.
            options: As for `tn.save`; example_inputs is by default what the model was given last.
        """
        if str(filepath).endswith(".tnr") and self.seen is not None:
            options.setdefault("example_inputs", self.seen)
        saving.save(self.network, filepath, **options)

    def export(self, path: str | os.PathLike[str], to: str, **options: Any) -> Any:
        """Write the model as files that run without Tenor; see `tn.export`.

        Args:
            path: The folder or file.
            to: "web", "edge", "onnx" or "tflite".
            options: As for `tn.export`; example_inputs is by default what the model was given
                last. With train=True, the loss and the optimizer are those of `compile`, and
                targets are by default like those it was trained on last.
        """
        if self.seen is not None:
            options.setdefault("example_inputs", self.seen)
        setup = self.setup
        if options.get("train") and setup is not None and setup.optimizer is not None:
            several = isinstance(self.aimed, (tuple, list))
            options.setdefault("loss", partial(_together, setup.loss) if several else setup.loss)
            trained = list(self.network.parameters())
            options.setdefault("optimizer", partial(like, setup.optimizer, trained))
            if self.aimed is not None:
                options.setdefault("targets", tuple(self.aimed) if several else self.aimed)
        return exporting.export(self.network, path, to, **options)

    def export_web(self, folder: str | os.PathLike[str], **options: Any) -> Any:
        """Write a folder that runs the model in a browser; see `tn.export`."""
        return self.export(folder, "web", **options)


def _together(loss: Any, preds: Any, *targets: Any) -> Any:
    """Call a loss that takes several targets as one tuple."""
    return loss(preds, targets)


def _several(callbacks: Any) -> list[Any]:
    """Return callbacks, or the only one, as a list."""
    return [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())


def _as(value: Tensor, dtype: DType) -> Tensor:
    """Return a floating tensor in a dtype, and any other as it is."""
    return value.to(dtype) if value.is_floating_point() else value


def _table(weights: Mapping[int, float]) -> Tensor:
    """Return the weight of each class up to the largest that is named; the others weigh 1.

    Raises:
        ArgumentError: no class is named, or one below 0.
    """
    if not weights or min(int(c) for c in weights) < 0:
        raise ArgumentError(
            "fit: class_weight gives weights to one or more classes, counted from 0.",
            came=f"class_weight={dict(weights)}",
            fix="name classes from 0, or leave class_weight out",
        )
    table = np.ones(max(int(c) for c in weights) + 1, np.float32)
    for c, weight in weights.items():
        table[int(c)] = weight
    return from_array(table)


def _answer(setup: Setup, as_dict: bool) -> Any:
    if as_dict:
        return dict(Logs(setup.all()))
    values = [read(metric) for metric in setup.all()]
    return values if len(values) > 1 else values[0]


def _example(input: Any, dtype: DType) -> Any:
    """Return a shape as zeros, and anything else as tensors."""
    if isinstance(input, dict):
        return {name: _example(part, dtype) for name, part in input.items()}
    if isinstance(input, (tuple, list)):
        if all(isinstance(n, (int, np.integer)) or n is None for n in input):
            return from_array(np.zeros([1 if n is None else n for n in input], np.float32), dtype)
        return tuple(_example(part, dtype) for part in input)
    return input if isinstance(input, Handle) else from_array(np.asarray(input))
