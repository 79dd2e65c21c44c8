"""Who was taken for whom: the confusion matrix, and precision, recall and F1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.engine.trace import record_check
from tenor.errors import ArgumentError, ShapeError
from tenor.ir import dtype as dt
from tenor.metrics.accuracy import class_dim, decided, same_shape
from tenor.metrics.metric import Metric, as_tensor, ratio
from tenor.tensor import arange
from tenor.tensor.modes import no_grad

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = ["F1", "ConfusionMatrix", "Precision", "Recall"]

AVERAGES = ("macro", "micro", "weighted", "none")


def _labels(name: str, preds: Tensor, target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return predicted and true labels as vectors, checked to lie in [0, classes)."""
    if preds.is_floating_point():
        if target.shape == preds.shape:
            target = target.argmax(1)
        preds = preds.argmax(class_dim(name, preds, target))
    if preds.shape != target.shape:
        raise ShapeError(
            f"{name}: predictions are class scores or labels, targets labels.",
            came=[f"predictions {tuple(preds.shape)}", f"targets {tuple(target.shape)}"],
            fix="reshape one of them",
        )
    found = [
        record_check(labels.long().reshape(-1), classes, "label") for labels in (preds, target)
    ]
    return found[0], found[1]


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    return labels.unsqueeze(1) == arange(classes)


class ConfusionMatrix(Metric):
    """How often class i (row) was taken for class j (column).

    Args:
        num_classes: How many classes there are.
        normalize: "true" for shares of each row, "pred" of each column, "all" of everything.
        name: What it is called in logs.

    Example:
        >>> import tenor as tn
        >>> matrix = tn.metrics.ConfusionMatrix(2)
        >>> matrix.update(tn.tensor([0, 1, 1]), tn.tensor([0, 0, 1]))
        >>> matrix.compute().tolist()
        [[1, 1], [0, 1]]
    """

    def __init__(
        self, num_classes: int, normalize: str | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(name)
        if num_classes < 2 or normalize not in (None, "true", "pred", "all"):
            raise ArgumentError(
                "ConfusionMatrix: has at least 2 classes; normalize is true, pred, all or None.",
                came=f"num_classes={num_classes}, normalize={normalize!r}",
                fix="e.g. ConfusionMatrix(10, normalize='true')",
            )
        self.num_classes = num_classes
        self.normalize = normalize
        self.cells = self.count(num_classes * num_classes, dtype=dt.int64)

    def update(self, preds: Any, target: Any, sample_weight: Any = None) -> None:
        """Count one more batch: class scores or labels, and labels."""
        if sample_weight is not None:
            raise ArgumentError(
                "ConfusionMatrix: counts whole samples.",
                came="sample_weight",
                fix="leave the weights out",
            )
        with no_grad():
            got, true = _labels(self.name, as_tensor(preds), as_tensor(target), self.num_classes)
            cell = true * self.num_classes + got
            self.cells.index_add_(0, cell, (cell >= 0).long())

    def compute(self) -> Tensor:
        """Return the matrix: int64 counts, or float64 shares."""
        matrix = self.cells.reshape(self.num_classes, self.num_classes)
        if self.normalize is None:
            return matrix.clone()
        counts = matrix.to(dt.float64)
        dim = {"true": (1,), "pred": (0,), "all": (0, 1)}[self.normalize]
        whole = counts.sum(dim, keepdim=True)
        return ratio(counts, whole.expand(counts.shape_tuple))


class _Counted(Metric):
    """True positives, false positives and false negatives, of one class or of each."""

    def __init__(
        self,
        num_classes: int | None = None,
        average: str = "macro",
        threshold: float = 0.5,
        *,
        from_logits: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if average not in AVERAGES:
            raise ArgumentError(
                f"{type(self).__name__}: average is one of {', '.join(AVERAGES)}.",
                came=repr(average),
                fix="macro weighs classes alike, micro samples",
            )
        self.num_classes = num_classes
        self.average = average
        self.threshold = 0.0 if from_logits else threshold
        rows = num_classes or 1
        self.hits, self.said, self.real = (self.count(rows), self.count(rows), self.count(rows))

    def update(self, preds: Any, target: Any, sample_weight: Any = None) -> None:
        """Count one more batch: scores or labels, and labels."""
        with no_grad():
            got, true = self._pairs(as_tensor(preds), as_tensor(target))
            weights: Any = 1.0
            if sample_weight is not None:
                weights = as_tensor(sample_weight).to(dt.float64).reshape(-1, 1)
            for count, value in ((self.hits, got * true), (self.said, got), (self.real, true)):
                count.add_((value * weights).sum(0))

    def _pairs(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return shape (samples, classes): was it said, is it so."""
        if self.num_classes is None:
            preds, target = same_shape(self.name, preds, target)
            pair = [decided(preds, self.threshold), decided(target, 0.5)]
            pair = [p.reshape(-1, 1) for p in pair]
        else:
            labels = _labels(self.name, preds, target, self.num_classes)
            pair = [_one_hot(part, self.num_classes) for part in labels]
        return pair[0].to(dt.float64), pair[1].to(dt.float64)

    def score(self, hits: Tensor, said: Tensor, real: Tensor) -> Tensor:
        """Return the metric of counts."""
        raise TypeError(f"{type(self).__name__} must say its score of {hits, said, real}")

    def compute(self) -> Tensor:
        """Return the average over classes, or with "none" each class's value; 0 for 0 / 0."""
        if self.num_classes is None:
            return self.score(self.hits, self.said, self.real).reshape(())
        if self.average == "micro":
            return self.score(self.hits.sum(), self.said.sum(), self.real.sum())
        each = self.score(self.hits, self.said, self.real)
        if self.average == "weighted":
            return ratio((each * self.real).sum(), self.real.sum())
        return each if self.average == "none" else each.mean()


class Precision(_Counted):
    """The share of what was said to be so that is so: TP / (TP + FP).

    Args:
        num_classes: How many classes there are; None for one yes-or-no score a sample.
        average: "macro", "micro", "weighted" by the classes' frequency, or "none".
        threshold: Where single scores mean True.
        from_logits: Whether scores are logits, whose threshold is 0.
        name: What it is called in logs.
    """

    def score(self, hits: Tensor, said: Tensor, real: Tensor) -> Tensor:
        """Return hits / said."""
        del real
        return ratio(hits, said)


class Recall(_Counted):
    """The share of what is so that was said to be: TP / (TP + FN).

    Args:
        num_classes: How many classes there are; None for one yes-or-no score a sample.
        average: "macro", "micro", "weighted" by the classes' frequency, or "none".
        threshold: Where single scores mean True.
        from_logits: Whether scores are logits, whose threshold is 0.
        name: What it is called in logs.
    """

    def score(self, hits: Tensor, said: Tensor, real: Tensor) -> Tensor:
        """Return hits / real."""
        del said
        return ratio(hits, real)


class F1(_Counted):
    """The harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN).

    Args:
        num_classes: How many classes there are; None for one yes-or-no score a sample.
        average: "macro", "micro", "weighted" by the classes' frequency, or "none".
        threshold: Where single scores mean True.
        from_logits: Whether scores are logits, whose threshold is 0.
        name: What it is called in logs.
    """

    def score(self, hits: Tensor, said: Tensor, real: Tensor) -> Tensor:
        """Return 2 hits / (said + real)."""
        return ratio(hits * 2.0, said + real)
