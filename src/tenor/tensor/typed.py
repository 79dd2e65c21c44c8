"""PyTorch's older constructors, one a dtype: `FloatTensor(data)`, `LongTensor(2, 3)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.ir import dtype as dt
from tenor.tensor.creation import empty, tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType
    from tenor.tensor.tensor import Tensor

__all__ = [
    "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "HalfTensor",
    "IntTensor", "LongTensor", "ShortTensor",
]  # fmt: skip


def _constructor(name: str, dtype: DType) -> Callable[..., Tensor]:
    def make(*args: Any) -> Tensor:
        sizes = not args or all(isinstance(a, int) and not isinstance(a, bool) for a in args)
        if sizes:
            made: Tensor = empty(*(args or (0,)), dtype=dtype)
            return made
        return tensor(*args, dtype=dtype)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = (
        f"Return {dtype.name} data as `tensor(data)` would, or an unset tensor of the sizes given."
    )
    return make


BoolTensor = _constructor("BoolTensor", dt.bool_)
ByteTensor = _constructor("ByteTensor", dt.uint8)
CharTensor = _constructor("CharTensor", dt.int8)
DoubleTensor = _constructor("DoubleTensor", dt.float64)
FloatTensor = _constructor("FloatTensor", dt.float32)
HalfTensor = _constructor("HalfTensor", dt.float16)
IntTensor = _constructor("IntTensor", dt.int32)
LongTensor = _constructor("LongTensor", dt.int64)
ShortTensor = _constructor("ShortTensor", dt.int16)
