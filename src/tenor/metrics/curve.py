"""The area under a curve: how well scores order samples, at every threshold at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.errors import ArgumentError
from tenor.ir import dtype as dt
from tenor.metrics.accuracy import decided, same_shape
from tenor.metrics.metric import Metric, as_tensor
from tenor.tensor import tensor
from tenor.tensor.conversion import concrete, from_array
from tenor.tensor.modes import no_grad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.tensor import Tensor

__all__ = ["AUC"]


class AUC(Metric):
    """The area under the ROC curve, or the precision-recall curve, of one score a sample.

    Exact by default, keeping every score: the probability that a positive sample scores above a
    negative one, ties counting half (ROC), or the average precision (PR). With `num_thresholds`
    memory does not grow: the curve is counted at that many thresholds, and its area is the
    trapezoids' (ROC) or the steps' (PR).

    Args:
        num_thresholds: Thresholds evenly over [0, 1]; None keeps every score.
        curve: "ROC" or "PR".
        from_logits: Whether scores are logits, brought to [0, 1] by the sigmoid.
        name: What it is called in logs.

    Example:
        >>> import tenor as tn
        >>> auc = tn.metrics.AUC()
        >>> auc.update(tn.tensor([0.1, 0.4, 0.35, 0.8]), tn.tensor([0, 0, 1, 1]))
        >>> auc.compute().item()
        0.75
    """

    def __init__(
        self,
        num_thresholds: int | None = None,
        curve: str = "ROC",
        *,
        from_logits: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if curve not in ("ROC", "PR") or (num_thresholds is not None and num_thresholds < 2):
            raise ArgumentError(
                "AUC: curve is ROC or PR, and there are at least 2 thresholds.",
                came=f"curve={curve!r}, num_thresholds={num_thresholds}",
                fix="e.g. AUC(num_thresholds=200, curve='PR')",
            )
        self.curve = curve
        self.from_logits = from_logits
        self.num_thresholds = num_thresholds
        self.scores: list[tuple[Tensor, Tensor, Tensor | None]] = []
        if num_thresholds is not None:
            # A little beyond [0, 1], so that the ends of the curve are everything and nothing.
            edges = np.linspace(0.0, 1.0, num_thresholds)
            edges[0], edges[-1] = -1e-7, 1.0 + 1e-7
            self.edges = from_array(edges)
            self.above = self.count(2, num_thresholds)

    def update(self, preds: Any, target: Any, sample_weight: Any = None) -> None:
        """Count one more batch: scores, and whether it is so."""
        with no_grad():
            scores, true = same_shape(self.name, as_tensor(preds), as_tensor(target))
            scores, true = scores.reshape(-1), decided(true, 0.5).reshape(-1)
            if self.from_logits and self.num_thresholds is not None:
                scores = scores.sigmoid()
            weights = None
            if sample_weight is not None:
                weights = as_tensor(sample_weight).to(dt.float64).reshape(-1)
            if self.num_thresholds is None:
                self.scores.append((scores, true, weights))
                return
            over = (scores.to(dt.float64).unsqueeze(1) > self.edges).to(dt.float64)
            if weights is not None:
                over = over * weights.unsqueeze(1)
            yes = true.to(dt.float64).unsqueeze(1)
            for row, part in enumerate((yes, 1.0 - yes)):
                self.above[row].add_((over * part).sum(0))

    def reset(self) -> None:
        """Forget all batches."""
        self.scores = []
        super().reset()

    def compute(self) -> Tensor:
        """Return the area; 0 where one of the two classes has not been seen."""
        if self.num_thresholds is None:
            hits, alarms = self._exact()
        else:
            counted = concrete(self.above, "compute()")
            hits, alarms = counted[0, ::-1], counted[1, ::-1]
        return tensor(_area(hits, alarms, self.curve), dtype=dt.float64)

    def _exact(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return true and false positives at every distinct score, from the highest down."""
        if not self.scores:
            return np.zeros(1), np.zeros(1)
        parts = [
            (concrete(s, "compute()"), concrete(t, "compute()"), _weights(w, t))
            for s, t, w in self.scores
        ]
        scores, true, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.argsort(-scores, kind="stable")
        scores, true, weights = scores[order], true[order], weights[order]
        last = np.append(scores[1:] != scores[:-1], True)
        hits = np.cumsum(weights * true)[last]
        alarms = np.cumsum(weights * ~true)[last]
        return np.append(0.0, hits), np.append(0.0, alarms)


def _weights(weights: Tensor | None, like: Tensor) -> NDArray[Any]:
    return np.ones(like.shape_tuple) if weights is None else concrete(weights, "compute()")


def _area(hits: NDArray[Any], alarms: NDArray[Any], curve: str) -> float:
    """Return the area under a curve of growing counts."""
    if hits[-1] == 0 or (alarms[-1] == 0 and curve == "ROC"):
        return 0.0
    if curve == "ROC":
        area = ((hits[1:] + hits[:-1]) / 2.0 * np.diff(alarms)).sum()
        return float(area / (hits[-1] * alarms[-1]))
    said = hits + alarms
    precision = np.divide(hits, said, out=np.ones_like(said, np.float64), where=said > 0)
    return float((np.diff(hits) * precision[1:]).sum() / hits[-1])
