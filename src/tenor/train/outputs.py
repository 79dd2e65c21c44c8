"""Several outputs: a loss and metrics for each, found by name or by place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError
from tenor.metrics import Metric, get
from tenor.train.objective import Loss, loss_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tenor.tensor import Tensor

__all__ = ["Losses", "OfOutput", "losses_of", "metrics_of"]

Key = str | int


def label(key: Key) -> str:
    """Return what an output is called in logs: its name, or output_0 and so on."""
    return key if isinstance(key, str) else f"output_{key}"


def by_output(given: Mapping[str, Any] | Sequence[Any]) -> dict[Key, Any]:
    """Return what is given for outputs by their names, or by their places."""
    return dict(given.items() if hasattr(given, "items") else enumerate(given))


def output(nest: Any, key: Key, what: str) -> Any:
    """Return an output, or its targets.

    Raises:
        ArgumentError: there is none of that name or place.
    """
    named = isinstance(nest, dict)
    known: list[Any] = list(nest) if named else []
    if isinstance(nest, (tuple, list)):
        known = list(range(len(nest)))
    if key not in known:
        raise ArgumentError(
            f"fit: there must be {what} for the output {key!r}.",
            came=f"{what} {known}" if known else type(nest).__name__,
            fix="return a dict (or a tuple) of outputs from forward, and give targets alike",
        )
    return nest[key]


class Losses:
    """A loss for each output; the model's is their weighted sum.

    Args:
        losses: The losses by output.
        weights: What they are multiplied by; 1 by default.

    Attributes:
        parts: The losses of the last batch, by their names in logs.
    """

    logits = False

    def __init__(self, losses: Mapping[Key, Loss], weights: Mapping[Key, float]) -> None:
        self.losses = dict(losses)
        self.weights = dict(weights)
        self.parts: dict[str, Tensor] = {}

    def __call__(self, preds: Any, target: Any, weights: Tensor | None = None) -> Tensor:
        """Return sum_o w_o loss_o over the batch; the arguments are those of `Loss`."""
        total: Any = 0.0
        self.parts = {}
        for key, loss in self.losses.items():
            part = loss(output(preds, key, "predictions"), output(target, key, "targets"), weights)
            self.parts[f"{label(key)}_loss"] = part
            total = total + part * self.weights.get(key, 1.0)
        return total  # type: ignore[no-any-return]


def losses_of(given: Any, weights: Any = None) -> Loss | Losses | None:
    """Return a loss, or one for each output where a dict or list of them is given.

    Raises:
        ArgumentError: a dict or list of losses has none, or weights are for outputs that have
            no loss, or there is one loss alone.
    """
    several = isinstance(given, (dict, tuple, list))
    scales = {} if weights is None else by_output(weights)
    losses = {key: loss_of(loss) for key, loss in by_output(given).items()} if several else {}
    if several and not losses:
        raise ArgumentError(
            "compile: losses of several outputs are one or more.",
            came=f"loss={given!r}",
            fix='name one for each output, e.g. loss={"a": "mse"}, or leave loss out',
        )
    if not set(scales) <= set(losses):
        raise ArgumentError(
            "compile: loss_weights are for outputs that have a loss of their own.",
            came=f"losses for {list(losses)}, weights for {list(scales)}",
            fix='e.g. loss={"a": "mse", "b": "mae"}, loss_weights={"a": 0.5}',
        )
    if several:
        return Losses(losses, scales)
    return None if given is None else loss_of(given)


def metrics_of(given: Any, loss: Loss | Losses | None) -> list[Metric]:
    """Return metrics as `Model.compile` takes them: several, or for each output one or several."""
    if given is None:
        return []
    several = isinstance(given, (tuple, list))
    if isinstance(given, dict) or (several and any(isinstance(m, (tuple, list)) for m in given)):
        aims = loss.losses if isinstance(loss, Losses) else {}
        found: list[Metric] = []
        for key, chosen in by_output(given).items():
            found += [OfOutput(m, key) for m in metrics_of(chosen, aims.get(key))]
        return found
    logits = loss is not None and loss.logits
    return [get(m, from_logits=logits) for m in (given if several else [given])]


class OfOutput(Metric):
    """A metric of one of several outputs.

    Args:
        metric: The metric.
        key: The output's name or place.
    """

    def __init__(self, metric: Metric, key: Key) -> None:
        super().__init__(f"{label(key)}_{metric.name}")
        self.metric = metric
        self.key = key

    def update(self, preds: Any, target: Any, sample_weight: Any = None) -> None:
        """Count the output of one more batch."""
        mine = output(preds, self.key, "predictions")
        self.metric.update(mine, output(target, self.key, "targets"), sample_weight)

    def compute(self) -> Tensor:
        """Return the metric over all batches since the last reset."""
        return self.metric.compute()

    def reset(self) -> None:
        """Forget all batches."""
        self.metric.reset()
