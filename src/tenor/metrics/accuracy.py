"""Accuracy: the share of predictions that are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError, ShapeError
from tenor.metrics.metric import Mean

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = [
    "Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy",
    "TopKAccuracy", "decided", "same_shape",
]  # fmt: skip


def same_shape(name: str, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return predictions and targets in one shape; a last dim of extent 1 may be left out.

    Raises:
        ShapeError: they differ in more.
    """
    if preds.shape != target.shape:
        if preds.ndim == target.ndim + 1 and preds.shape[-1] == 1:
            preds = preds.squeeze(-1)
        elif target.ndim == preds.ndim + 1 and target.shape[-1] == 1:
            target = target.squeeze(-1)
    if preds.shape != target.shape:
        raise ShapeError(
            f"{name}: predictions and targets must have one shape.",
            came=[f"predictions {tuple(preds.shape)}", f"targets {tuple(target.shape)}"],
            fix="reshape one of them",
        )
    return preds, target


def decided(preds: Tensor, threshold: float) -> Tensor:
    """Return predictions as bools: above the threshold, or as they are."""
    return preds > threshold if preds.is_floating_point() else preds != 0


def class_dim(name: str, preds: Tensor, target: Tensor) -> int:
    """Return the dim of the class scores: dim 1, as in `cross_entropy`, or else the last.

    Raises:
        ShapeError: no dim of the predictions is the classes'.
    """
    shape, labels = tuple(preds.shape), tuple(target.shape)
    for dim in (1, len(shape) - 1):
        if len(shape) > 1 and shape[:dim] + shape[dim + 1 :] == labels:
            return dim
    raise ShapeError(
        f"{name}: predictions must be class scores, (batch, classes, ...), and targets labels.",
        came=[f"predictions {shape}", f"targets {labels}"],
        fix="use BinaryAccuracy for one score a sample, CategoricalAccuracy for one-hot targets",
    )


class BinaryAccuracy(Mean):
    """The share of scores on the right side of a threshold.

    Args:
        threshold: Scores above it mean True.
        from_logits: Whether scores are logits, whose threshold is 0.
        name: What it is called in logs.
    """

    def __init__(
        self, threshold: float = 0.5, *, from_logits: bool = False, name: str | None = None
    ) -> None:
        super().__init__(name)
        self.threshold = 0.0 if from_logits else threshold

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return whether each score is right."""
        preds, target = same_shape(self.name, preds, target)
        return decided(preds, self.threshold) == decided(target, 0.5)


class CategoricalAccuracy(Mean):
    """The share of samples whose largest score is that of the right class, one-hot in the target.

    Args:
        dim: The dim of the classes.
        name: What it is called in logs.
    """

    def __init__(self, dim: int = 1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.dim = dim

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return whether each sample is right."""
        preds, target = same_shape(self.name, preds, target)
        return preds.argmax(self.dim) == target.argmax(self.dim)


class SparseCategoricalAccuracy(Mean):
    """The share of samples whose largest score is that of the right class, a number in the target.

    Args:
        ignore_index: Targets that do not count.
        name: What it is called in logs.
    """

    def __init__(self, ignore_index: int | None = None, *, name: str | None = None) -> None:
        super().__init__(name)
        self.ignore_index = ignore_index

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return whether each sample is right."""
        if target.ndim == preds.ndim and target.shape[-1] == 1:
            target = target.squeeze(-1)
        dim = class_dim(self.name, preds, target)
        return preds.argmax(dim) == target.long()

    def update(self, preds: Any, target: Any = None, sample_weight: Any = None) -> None:
        """Count one more batch."""
        if self.ignore_index is not None and sample_weight is None:
            sample_weight = target != self.ignore_index
        super().update(preds, target, sample_weight)


class TopKAccuracy(Mean):
    """The share of samples whose class is among the k with the largest scores.

    Args:
        k: How many count.
        name: What it is called in logs; top_{k}_accuracy by default.
    """

    def __init__(self, k: int = 5, *, name: str | None = None) -> None:
        super().__init__(name or f"top_{k}_accuracy")
        if k < 1:
            raise ArgumentError("TopKAccuracy: k is at least 1.", came=str(k), fix="e.g. k=5")
        self.k = k

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return whether fewer than k scores are above that of the right class.

        A score as large as it counts as above it where its class comes first.
        """
        if target.shape == preds.shape and preds.ndim == 2:
            target = target.argmax(1)
        if preds.ndim != 2 or target.shape != preds.shape[:1]:
            raise ShapeError(
                f"{self.name}: predictions are (batch, classes), targets (batch,).",
                came=[f"predictions {tuple(preds.shape)}", f"targets {tuple(target.shape)}"],
                fix="flatten other dims into the batch",
            )
        k = min(self.k, preds.shape[1])
        best = preds.topk(k, 1)[1]
        return (best == target.long().unsqueeze(1)).any(1)


class Accuracy(Mean):
    """The share of right predictions, of whichever kind the shapes show.

    Scores (batch, classes, ...) with labels (batch, ...) or one-hot targets: the largest score
    must be the right class's. Scores of the targets' shape with one class: the threshold decides.

    Args:
        threshold: Where single scores mean True.
        from_logits: Whether scores are logits, whose threshold is 0.
        name: What it is called in logs.

    Example:
        >>> import tenor as tn
        >>> accuracy = tn.metrics.Accuracy()
        >>> accuracy.update(tn.tensor([[0.1, 0.9], [0.8, 0.2]]), tn.tensor([1, 1]))
        >>> accuracy.compute().item()
        0.5
    """

    def __init__(
        self, threshold: float = 0.5, *, from_logits: bool = False, name: str | None = None
    ) -> None:
        super().__init__(name)
        self.binary = BinaryAccuracy(threshold, from_logits=from_logits, name=self.name)
        self.sparse = SparseCategoricalAccuracy(name=self.name)
        self.one_hot = CategoricalAccuracy(name=self.name)

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return whether each prediction is right."""
        classes = preds.shape[1] if preds.ndim > 1 else 1
        if preds.shape == target.shape and classes > 1:
            return self.one_hot.values(preds, target)
        if classes > 1 or (preds.ndim == target.ndim + 1 and preds.shape[-1] > 1):
            return self.sparse.values(preds, target)
        if not preds.is_floating_point():
            return preds == target
        return self.binary.values(preds, target)
