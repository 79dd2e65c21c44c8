"""The metrics of a run so far, computed when they are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.tensor.conversion import concrete
from tenor.tensor.modes import no_grad

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tenor.metrics import Metric

__all__ = ["Logs", "read"]


def read(metric: Metric) -> Any:
    """Return a metric's value: a number, or an array where it has several."""
    with no_grad():
        value = np.array(concrete(metric.compute(), "logs"))
    return value.item() if value.ndim == 0 else value


class Logs(Mapping[str, Any]):
    """Metrics by name as a mapping of numbers; each is read when it is asked for.

    Args:
        metrics: The metrics; those with numbers alone are shown by iteration.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = {metric.name: metric for metric in metrics}

    def __getitem__(self, name: str) -> Any:
        return read(self.metrics[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def __repr__(self) -> str:
        return repr(dict(self))
