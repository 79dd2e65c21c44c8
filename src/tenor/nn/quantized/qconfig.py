"""How a layer is to be rounded while it is trained."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - NamedTuple reads its annotations
from typing import Any, Final, NamedTuple

from tenor.errors import ArgumentError
from tenor.ir import dtype as dt
from tenor.nn.quantized.fake import FakeQuantize
from tenor.nn.quantized.observer import (
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)

__all__ = ["QConfig", "get_default_qat_qconfig"]


class QConfig(NamedTuple):
    """What makes the fake quantisations of a layer.

    Attributes:
        activation: Makes that of its result.
        weight: Makes that of its weight.
    """

    activation: Callable[..., Any]
    weight: Callable[..., Any]


BACKENDS: Final = ("x86", "fbgemm", "qnnpack", "onednn")


def get_default_qat_qconfig(backend: str = "x86", version: int = 1) -> QConfig:
    """Return how layers are rounded unless something else is said.

    Results: 256 steps, of a moving average of their range. Weights: [-127, 127], of each output
    channel's present range, which is what every exporter writes. A channel's range moves with its
    weights, so a batch norm that follows can be multiplied in afterwards.

    Args:
        backend: One of PyTorch's; the exporters here all want the same.
        version: PyTorch's; there is one.

    Raises:
        ArgumentError: Another backend.
    """
    del version
    if backend not in BACKENDS:
        raise ArgumentError(
            f"get_default_qat_qconfig: backend is one of {', '.join(BACKENDS)}.",
            came=repr(backend),
            fix="leave it out",
        )
    activation = FakeQuantize.with_args(
        observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=dt.uint8
    )
    weight = FakeQuantize.with_args(
        observer=MovingAveragePerChannelMinMaxObserver, quant_min=-127, quant_max=127,
        dtype=dt.int8, qscheme="per_channel_symmetric", averaging_constant=1.0,
    )  # fmt: skip
    return QConfig(activation, weight)
