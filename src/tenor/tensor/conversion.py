"""Values in and out: NumPy, DLPack, numbers, other dtypes. Reading a value runs the trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.engine import recorder
from tenor.engine.flush import settle
from tenor.engine.handle import Handle
from tenor.engine.liveness import IN_A_NAME, getrefcount
from tenor.engine.trace import local, record, refuse_observation
from tenor.engine.trie import meta
from tenor.errors import ArgumentError, DTypeError, GradientError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.ir.node import size
from tenor.runtime import allocator
from tenor.tensor.device import CPU, Device
from tenor.tensor.operands import cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray

    from tenor.ir.dtype import DType
    from tenor.tensor.tensor import Tensor

__all__ = [
    "adopt",
    "concrete",
    "converter",
    "from_array",
    "item",
    "materialize",
    "numpy",
    "to",
    "tolist",
]


# -- in -----------------------------------------------------------------------------------------
def adopt(buffer: Any, shape: tuple[int, ...], dtype: DType, requires_grad: bool = False) -> Tensor:
    """Return a tensor on a buffer."""
    made: Tensor = local.make()  # type: ignore[assignment]
    made.within = None
    made.buffer = buffer
    made.meta = meta(shape, dtype, requires_grad)
    return made


def from_array(array: NDArray[Any], dtype: DType | None = None) -> Tensor:
    """Return a tensor with a copy of an array's values, in a dtype."""
    wanted = dt.from_numpy(array.dtype) if dtype is None else dtype
    if wanted is dt.bfloat16:
        held = to_bfloat16(np.asarray(array, np.float32))
    else:
        held = np.asarray(array, wanted.numpy)
    made = adopt(allocator.copy_of(np.ascontiguousarray(held)), array.shape, wanted)
    if local.pinning is None:
        return made
    # A compiled function makes it anew at each replay, whatever was written to it before.
    anew: Tensor = record(ops.RESHAPE, (made,), (array.shape,))
    local.known[anew.state] = made
    return anew


# -- out ----------------------------------------------------------------------------------------
def materialize(x: Tensor) -> Tensor:
    """Compute a tensor's value now; return the tensor."""
    base = x.base
    if base is not None and x.seen != base.version and base.within is None:
        record(ops.RESHAPE, (x,), (x.shape_tuple,))  # entering it derives it from the base again
    if x.within is not None:
        refuse_observation("materialize()")
        local.flush()
    return x


def _stored(x: Tensor) -> NDArray[Any]:
    """Return the elements where they are kept, bfloat16 as uint16; views look into their base."""
    if x.base is None:
        found: NDArray[Any] = settle(x).array(x.element_type.numpy, x.shape_tuple)
        return found
    array = _stored(x.base)  # type: ignore[arg-type]
    for op, attrs in x.chain:
        array = LOOKS[op.name](array, *attrs)
    return array


def _slice(array: NDArray[Any], starts: Any, sizes: Any, steps: Any) -> NDArray[Any]:
    cuts = []
    for start, count, step in zip(starts, sizes, steps, strict=True):
        stop = start + count * step
        cuts.append(slice(start, None if stop < 0 else stop, step) if count else slice(0, 0))
    found: NDArray[Any] = array[tuple(cuts)]
    return found


def _unfold(array: NDArray[Any], dim: int, width: int, step: int, dilation: int) -> NDArray[Any]:
    span = (width - 1) * dilation + 1
    windows = np.lib.stride_tricks.sliding_window_view(array, max(span, 1), axis=dim)
    every = (slice(None),) * dim
    found: NDArray[Any] = windows[(*every, slice(None, None, step))][..., ::dilation]
    return found[..., :width]


LOOKS: dict[str, Callable[..., NDArray[Any]]] = {
    "reshape": lambda array, shape: array.reshape(shape),
    "permute": lambda array, dims: array.transpose(dims),
    "slice": _slice,
    "expand": np.broadcast_to,
    "unfold": _unfold,
    "detach": lambda array: array,
}
"""Each kind of view, as NumPy's view of the base."""


def concrete(x: Tensor, what: str) -> NDArray[Any]:
    """Return the values for reading, bfloat16 as float32.

    Raises:
        ObservationError: inside a function being compiled, unless it made them of Python data.
    """
    known: Any = None
    if local.pinning is not None:
        known = local.known.get(x.state) if x.within is local.trace else None
        if known is None:
            refuse_observation(what)
    array = _stored(x if known is None else known)
    return from_bfloat16(array) if x.element_type is dt.bfloat16 else array


def item(x: Tensor) -> Any:
    """Return the one element as a Python number.

    Raises:
        ArgumentError: there is not just one.
    """
    array = concrete(x, "item()")
    if array.size != 1:
        raise ArgumentError(
            "item: the tensor must have one element.",
            came=f"shape {x.shape_tuple}, {array.size} elements",
            fix="index it first, or use tolist()",
        )
    return array.item()


def tolist(x: Tensor) -> Any:
    """Return the elements as nested lists of Python numbers; a number for a tensor of no dims."""
    return concrete(x, "tolist()").tolist()


def _lent(x: Tensor, view: Tensor | None = None) -> NDArray[Any]:
    """Return the elements where they are kept, for anybody to write.

    Args:
        view: A view of x they are wanted for; it may be kept in the same buffer.
    """
    if x.base is None:
        _own(x, view)
        lend = x.buffer.lend if x.numel() else x.buffer.array
        found: NDArray[Any] = lend(x.element_type.numpy, x.shape_tuple)
        return found
    array = _lent(x.base, x)  # type: ignore[arg-type]
    for op, attrs in x.chain:
        array = LOOKS[op.name](array, *attrs)
    return array


def _own(x: Tensor, view: Tensor | None = None) -> None:
    """Give a tensor a buffer that at most a view holds too: lending it lends nothing more."""
    buffer = settle(x)
    if x.within is not None and not x.within.done:  # of another thread
        x.meta = meta(x.shape_tuple, x.element_type, x.needs_grad)
        x.buffer, x.within = buffer, None
    # The tensor holds it as well.
    holders = 1 if view is None or view.buffer is not buffer else 2
    if not buffer.shared and getrefcount(buffer) > IN_A_NAME + holders:
        x.buffer = buffer.snapshot()


def numpy(x: Tensor, *, force: bool = False) -> NDArray[Any]:
    """Return the values as an array that shares memory: writing either is seen by the other.

    Args:
        x: A tensor that needs no gradient.
        force: Detach it first where it does.

    Raises:
        GradientError: x requires a gradient.
        DTypeError: NumPy has no bfloat16.
    """
    found = recorder.lend(x)
    if found is not None:
        return found  # type: ignore[no-any-return]
    if x.element_type is dt.bfloat16:
        raise DTypeError(
            "numpy: NumPy has no bfloat16.", came="bfloat16", fix="call x.float().numpy()"
        )
    return lent(x, "numpy()", force=force)


vars(numpy)["is_public"] = True  # there is no argument to speak of


def lent(x: Tensor, what: str, *, force: bool = False) -> NDArray[Any]:
    """Return the elements as an array that shares memory, bfloat16 as uint16.

    Raises:
        GradientError: x requires a gradient.
    """
    refuse_observation(what)
    if x.needs_grad and not force:
        raise GradientError(
            f"{what.strip('_()')}: an array cannot carry gradients.",
            came="a tensor that requires a gradient",
            fix="call x.detach().numpy()",
        )
    return _lent(x)


def array_protocol(
    x: Tensor, dtype: DTypeLike | None = None, copy: bool | None = None
) -> NDArray[Any]:
    """Answer `np.asarray(x)` and `np.array(x, dtype=..., copy=...)`."""
    if copy is True:
        return np.array(concrete(x, "np.array()"), dtype=dtype)
    array = numpy(x)
    if dtype is None or np.dtype(dtype) == array.dtype:
        return array
    if copy is False:
        raise ArgumentError(
            "np.asarray: another dtype needs a copy.",
            came=f"{array.dtype} to {np.dtype(dtype)} with copy=False",
            fix="leave copy out",
        )
    return array.astype(dtype)


# -- other dtypes -------------------------------------------------------------------------------
def converter(dtype: DType) -> Callable[[Tensor], Tensor]:
    """Make a method that converts to one dtype."""

    def convert(x: Tensor) -> Tensor:
        return cast(x, dtype)

    convert.__doc__ = f"Return the tensor in {dtype.name}; itself where it has that dtype."
    return convert


def to(
    x: Tensor, *args: Any, dtype: DType | None = None, device: Any = None, copy: bool = False,
    non_blocking: bool = False,
) -> Tensor:  # fmt: skip
    """Return the tensor in a dtype, on a device, or as another tensor is.

    Args:
        x: The tensor.
        args: A dtype, a device, both, or a tensor to be like.
        dtype: The dtype, by name.
        device: The device, by name; Tenor runs on "cpu".
        copy: Return a copy even where nothing changes.
        non_blocking: Accepted for PyTorch's sake.

    Raises:
        ArgumentError: there is no such device.
    """
    del non_blocking
    for arg in args:
        if isinstance(arg, Handle):
            dtype = arg.element_type
        elif isinstance(arg, Device) or (isinstance(arg, str) and arg not in dt.BY_NAME):
            device = arg
        elif arg is not None and not isinstance(arg, bool):
            dtype = dt.of(arg)
    if device is not None:
        Device(device)
    made = x if dtype is None else cast(x, dt.of(dtype))
    return made.clone() if copy and made is x else made


def type_as(x: Tensor, other: Tensor) -> Tensor:
    """Return x in another tensor's dtype."""
    return cast(x, other.element_type)


def cpu(x: Tensor) -> Tensor:
    """Return the tensor, which is on the CPU."""
    return x


def cuda(x: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """Say that there is no such device, as `to("cuda")` does.

    Raises:
        ArgumentError: always.
    """
    return to(x, "cuda" if device is None else device, non_blocking=non_blocking)


def device_of(x: Tensor) -> Device:
    """Return where the tensor lives."""
    del x
    return CPU


TYPES: Final = {
    "BFloat16Tensor": dt.bfloat16, "BoolTensor": dt.bool_, "ByteTensor": dt.uint8,
    "CharTensor": dt.int8, "DoubleTensor": dt.float64, "FloatTensor": dt.float32,
    "HalfTensor": dt.float16, "IntTensor": dt.int32, "LongTensor": dt.int64,
    "ShortTensor": dt.int16, "UInt16Tensor": dt.uint16, "UInt32Tensor": dt.uint32,
    "UInt64Tensor": dt.uint64,
}  # fmt: skip
"""PyTorch's older names of dtypes, by the constructor (see `typed`)."""
TYPE_NAMES: Final = {dtype: name for name, dtype in TYPES.items()}


def type_name(x: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """Return the older name of the dtype, or the tensor in another dtype, by any name of it."""
    del non_blocking
    if dtype is None:
        return f"tenor.{TYPE_NAMES[x.element_type]}"
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", "")
    return cast(x, TYPES.get(name.rpartition(".")[2]) or dt.of(dtype))


def nbytes(x: Tensor) -> int:
    """Return how many bytes the elements take."""
    return size(x.shape_tuple) * x.element_type.itemsize
