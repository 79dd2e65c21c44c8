"""What training aims at: losses and optimizers by name, and losses over weighted samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tenor.engine.handle import Handle
from tenor.errors import ArgumentError
from tenor.nn import functional as F
from tenor.nn.module import Module
from tenor.optim import SGD, Adam, AdamW, Optimizer, RMSprop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tenor.tensor import Tensor

__all__ = ["LOSSES", "OPTIMIZERS", "Loss", "configured", "like", "loss_of", "optimizer_of"]

OPTIMIZERS: Final[dict[str, Callable[[Any], Optimizer]]] = {
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "sgd": lambda params: SGD(params, lr=0.01),
}
"""Optimizers by Keras' names, with Keras' learning rates."""


def _chances(preds: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Return the cross-entropy of class probabilities, (batch, classes), as Keras means it."""
    logs = preds.clamp(1e-7, 1.0 - 1e-7).log()
    return F.nll_loss(logs, _flat(target), reduction=reduction)


def _one_hot_chances(preds: Tensor, target: Tensor, reduction: str) -> Tensor:
    logs = preds.clamp(1e-7, 1.0 - 1e-7).log()
    each = -(target * logs).sum(-1)
    return each if reduction == "none" else each.mean()


def _binary_chances(preds: Tensor, target: Tensor, reduction: str) -> Tensor:
    x = preds.clamp(1e-7, 1.0 - 1e-7)
    t = target.to(x.dtype)
    each = -(t * x.log() + (1.0 - t) * (1.0 - x).log())
    return each if reduction == "none" else each.mean()


def _flat(target: Tensor) -> Tensor:
    return target.squeeze(-1) if target.ndim == 2 and target.shape[1] == 1 else target


def _cross_entropy(preds: Tensor, target: Tensor, reduction: str) -> Tensor:
    labels = target if target.shape == preds.shape else _flat(target)
    return F.cross_entropy(preds, labels, reduction=reduction)


def _nll(preds: Tensor, target: Tensor, reduction: str) -> Tensor:
    return F.nll_loss(preds, _flat(target), reduction=reduction)


@dataclass(frozen=True)
class Named:
    """A loss by name.

    Attributes:
        function: Takes predictions, targets and reduction.
        alike: Whether targets have the predictions' shape and dtype.
        logits: Whether single scores are logits.
    """

    function: Callable[..., Tensor]
    alike: bool = False
    logits: bool = False


LOSSES: Final[dict[str, Named]] = {
    # PyTorch's names take logits ...
    "cross_entropy": Named(_cross_entropy, logits=True),
    "nll": Named(_nll),
    "binary_cross_entropy_with_logits": Named(
        F.binary_cross_entropy_with_logits, alike=True, logits=True
    ),
    # ... and Keras' names take probabilities, as they do there.
    "sparse_categorical_crossentropy": Named(_chances),
    "categorical_crossentropy": Named(_one_hot_chances, alike=True),
    "binary_crossentropy": Named(_binary_chances, alike=True),
    "mean_squared_error": Named(F.mse_loss, alike=True),
    "mean_absolute_error": Named(F.l1_loss, alike=True),
    "smooth_l1": Named(F.smooth_l1_loss, alike=True),
    "huber": Named(F.huber_loss, alike=True),
}
"""The losses by name."""

SHORT: Final = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "l1": "mean_absolute_error",
    "nll_loss": "nll",
    "crossentropy": "cross_entropy",
    "bce_with_logits": "binary_cross_entropy_with_logits",
}


class Loss:
    """A loss of predictions and targets, one number for the batch.

    Args:
        function: Takes predictions and targets; with `named`, `reduction` too.
        named: The row of `LOSSES` it comes from.
    """

    def __init__(self, function: Callable[..., Any], named: Named | None = None) -> None:
        self.function = function
        self.named = named

    @property
    def logits(self) -> bool:
        """Whether single scores are logits."""
        if self.named is not None:
            return self.named.logits
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return "logits" in name.lower()

    @property
    def targets(self) -> str | None:
        """What targets are: "classes", or "alike", in the predictions' shape; None: not known."""
        if self.named is None:
            return None
        return "alike" if self.named.alike else "classes"

    def __call__(self, preds: Any, target: Any, weights: Tensor | None = None) -> Tensor:
        """Return mean_i w_i loss_i over the batch.

        Args:
            preds: What the model said.
            target: What is so.
            weights: Shape (batch,); 1 by default.

        Raises:
            ArgumentError: there are weights, and the function gives one number for the batch; or
                there are several outputs, and one loss by name.
        """
        if self.named is not None and not all(isinstance(v, Handle) for v in (preds, target)):
            raise ArgumentError(
                "fit: a loss by name takes one output and its targets.",
                came=f"output {type(preds).__name__}, targets {type(target).__name__}",
                fix='give a loss for each output, e.g. loss=["mse", "mae"], or a function',
            )
        if self.named is not None and self.named.alike:
            target = _like(preds, target)
        if weights is None:
            value = self._value(preds, target, "mean")
            return value if value.ndim == 0 else value.mean()
        each = self._value(preds, target, "none")
        if each.ndim == 0:
            raise ArgumentError(
                "fit: sample weights need a loss for each sample.",
                came=f"one number from {self.function!r}",
                fix="return a loss of shape (batch,), or name a loss of tn.train.LOSSES",
            )
        if each.ndim > 1:
            each = each.flatten(1).mean(1)
        return (each * weights.to(each.dtype)).mean()

    def _value(self, preds: Any, target: Any, reduction: str) -> Tensor:
        if self.named is not None:
            return self.named.function(preds, target, reduction=reduction)
        if reduction == "none" and isinstance(self.function, Module):
            before = getattr(self.function, "reduction", None)
            if before is not None:
                self.function.reduction = reduction
                try:
                    return self.function(preds, target)  # type: ignore[no-any-return]
                finally:
                    self.function.reduction = before
        return self.function(preds, target)  # type: ignore[no-any-return]


def _like(preds: Tensor, target: Tensor) -> Tensor:
    """Return targets of shape (batch,) as the predictions' (batch, 1), and in their dtype."""
    if preds.ndim == target.ndim + 1 and preds.shape[-1] == 1:
        target = target.unsqueeze(-1)
    elif target.ndim == preds.ndim + 1 and target.shape[-1] == 1:
        target = target.squeeze(-1)
    return target.to(preds.dtype)


OWN: Final = ("params", "param_names", "initial_lr")
"""What belongs to one group of parameters alone."""


def loss_of(loss: Any) -> Loss:
    """Return a loss by name, or from a module or function of predictions and targets.

    Raises:
        ArgumentError: there is no such loss.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, type):
        loss = loss()
    if callable(loss):
        return Loss(loss)
    name = SHORT.get(str(loss), str(loss))
    if name not in LOSSES:
        raise ArgumentError(
            f"compile: a loss is one of {', '.join(LOSSES)}.",
            came=repr(loss),
            fix="pass a loss module, or a function of predictions and targets",
        )
    return Loss(LOSSES[name].function, LOSSES[name])


def configured(answer: Any) -> tuple[Any, list[tuple[Any, dict[str, Any]]]]:
    """Return (optimizer, its schedules and when they are stepped) of `configure_optimizers`.

    Args:
        answer: An optimizer; a list of one; a pair of such a list and one of schedules; or a dict
            of "optimizer" and "lr_scheduler". A schedule may be a dict of "scheduler", "interval"
            ("epoch" or "step") and "monitor".

    Raises:
        ArgumentError: there are several optimizers.
    """
    schedules: Any = ()
    if isinstance(answer, dict):
        answer, schedules = answer.get("optimizer"), answer.get("lr_scheduler", ())
    elif isinstance(answer, (tuple, list)) and len(answer) == 2 and isinstance(answer[1], list):
        answer, schedules = answer
    if isinstance(answer, (tuple, list)):
        if len(answer) != 1:
            raise ArgumentError(
                "configure_optimizers: there must be one optimizer.",
                came=f"{len(answer)} of them",
                fix="give one optimizer parameter groups, or write the loop yourself",
            )
        answer = answer[0]
    many = schedules if isinstance(schedules, (tuple, list)) else [schedules]
    return answer, [_when(schedule) for schedule in many]


def _when(schedule: Any) -> tuple[Any, dict[str, Any]]:
    """Return a schedule, and the arguments of `LearningRateScheduler` that say when."""
    if not isinstance(schedule, dict):
        return schedule, {}
    every = "batch" if schedule.get("interval", "epoch") == "step" else "epoch"
    monitor = {"monitor": schedule["monitor"]} if "monitor" in schedule else {}
    return schedule["scheduler"], {"every": every, **monitor}


def like(optimizer: Optimizer, known: Iterable[Any], parameters: Iterable[Any]) -> Optimizer:
    """Return an optimizer as another is, at its first step, for a copy of what that one trains.

    Args:
        optimizer: The other: its kind, its groups and their options are taken over.
        known: The parameters of the model that it trains; it may train some of them.
        parameters: Those of the copy, in the same order.
    """
    copies = {id(p): copy for p, copy in zip(known, parameters, strict=True)}
    groups = [
        {k: v for k, v in group.items() if k not in OWN}
        | {"params": [copies[id(p)] for p in group["params"] if id(p) in copies]}
        for group in optimizer.param_groups
    ]
    return type(optimizer)(groups)  # type: ignore[call-arg]


def optimizer_of(optimizer: Any, parameters: Iterable[Any]) -> Optimizer:
    """Return an optimizer by name, as it is, or made by a class or function of the parameters.

    Raises:
        ArgumentError: there is no such optimizer.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if callable(optimizer):
        made = optimizer(parameters)
    elif str(optimizer).lower() in OPTIMIZERS:
        made = OPTIMIZERS[str(optimizer).lower()](parameters)
    else:
        made = None
    if not isinstance(made, Optimizer):
        raise ArgumentError(
            f"compile: an optimizer is one of {', '.join(OPTIMIZERS)}.",
            came=repr(optimizer) if isinstance(optimizer, str) else type(optimizer).__name__,
            fix="pass tn.optim.Adam(model.parameters(), lr=...), or a function of the parameters",
        )
    return made
