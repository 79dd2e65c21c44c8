"""Modes: whether gradients are recorded, and whether operations run at once."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from tenor.engine.trace import local
from tenor.errors import DTypeError
from tenor.ir import dtype as dt
from tenor.tensor.device import Device

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType

__all__ = [
    "Mode",
    "autocast",
    "enable_grad",
    "immediate",
    "inference_mode",
    "is_autocast_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_grad_enabled",
]

F = TypeVar("F", bound="Callable[..., Any]")


class Mode:
    """A setting of the current thread, as a context manager and as a decorator.

    One object may be entered many times, also while it is entered.
    """

    def __init__(self) -> None:
        self.before: list[Any] = []

    def set(self) -> Any:
        """Switch over; return what was set before."""
        raise TypeError(f"{type(self).__name__} must say what it sets")

    def restore(self, before: Any) -> None:
        """Set again what was set before."""
        local.trace.grad = before

    def __enter__(self) -> None:
        self.before.append(self.set())

    def __exit__(self, *error: object) -> None:
        self.restore(self.before.pop())

    def __call__(self, function: F) -> F:
        """Return the function, always run in this mode; a generator in its every step."""
        if inspect.isgeneratorfunction(function):
            return self._stepwise(function)  # type: ignore[return-value]

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    def _stepwise(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            made = function(*args, **kwargs)
            step = functools.partial(made.send, None)
            while True:
                try:
                    with self:
                        found = step()
                except StopIteration as end:
                    return end.value
                try:
                    step = functools.partial(made.send, (yield found))
                except GeneratorExit:
                    with self:
                        made.close()
                    raise
                except BaseException as error:
                    step = functools.partial(made.throw, error)

        return wrapped


def _grad(mode: bool) -> bool:
    trace = local.trace
    before, trace.grad = trace.grad, mode
    return before


class no_grad(Mode):  # noqa: N801 - PyTorch's name
    """Record no gradients: `with tn.no_grad():` or `@tn.no_grad()`."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """Make the mode, or with `@tn.no_grad` decorate at once."""
        mode = super().__new__(cls)
        if function is None:
            return mode
        Mode.__init__(mode)
        return mode(function)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        del function
        super().__init__()

    def set(self) -> bool:
        """Switch gradients off."""
        return _grad(False)


class enable_grad(no_grad):  # noqa: N801 - PyTorch's name
    """Record gradients again, inside `no_grad`."""

    def set(self) -> bool:
        """Switch gradients on."""
        return _grad(True)


class inference_mode(Mode):  # noqa: N801 - PyTorch's name
    """Record no gradients, as `no_grad` does; `inference_mode(False)` changes nothing.

    Args:
        mode: Whether to switch gradients off.
    """

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = mode

    def set(self) -> bool:
        """Switch gradients off if asked to."""
        return _grad(False) if self.mode else local.trace.grad


class set_grad_enabled(Mode):  # noqa: N801 - PyTorch's name
    """Switch gradients on or off from here on, or inside a `with` block.

    Args:
        mode: Whether gradients are recorded.
    """

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = mode
        self.first: bool | None = _grad(mode)

    def set(self) -> bool:
        """Switch, as making the object already did."""
        before, self.first = self.first, None
        found = _grad(self.mode)
        return found if before is None else before

    def __call__(self, function: F) -> F:
        """Return the function, always run in this mode; the mode outside stays as it was."""
        if self.first is not None:
            _grad(self.first)
            self.first = None
        return super().__call__(function)


class immediate(Mode):  # noqa: N801 - a mode, named as its siblings are
    """Run every operation at once, for debugging: errors and NaN show where they arise."""

    def set(self) -> bool:
        """Run what is recorded, then every operation as it comes."""
        local.flush()
        return bool(local.switch("immediate", True))

    def restore(self, before: bool) -> None:
        """Go back to recording."""
        local.switch("immediate", before)


class autocast(Mode):  # noqa: N801 - PyTorch's name
    """Compute products of matrices and convolutions in a half, the rest as it is.

    `matmul` and its kin, `einsum`, `linear`, convolutions and attention take float32 operands in
    the half. Losses, sums, norms and softmax take halves in float32. float64 stays what it is.
    Parameters stay float32, and so do their gradients; leave the block before `backward()`.

    Args:
        device_type: "cpu".
        dtype: bfloat16 or float16; bfloat16 by default.
        enabled: Whether to switch it on; False switches it off inside another one.
        cache_enabled: Accepted for PyTorch's sake; a cast is never recorded twice.

    Raises:
        DTypeError: the dtype is neither of the two.

    Example:
        >>> import tenor as tn
        >>> with tn.autocast("cpu"):
        ...     print((tn.ones(2, 2) @ tn.ones(2, 2)).dtype)
        tenor.bfloat16
    """

    def __init__(
        self,
        device_type: str = "cpu",
        dtype: DType | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        del cache_enabled
        super().__init__()
        Device(device_type)
        wanted = dt.bfloat16 if dtype is None else dt.of(dtype)
        if wanted not in (dt.bfloat16, dt.float16):
            raise DTypeError(
                "autocast: the dtype must be bfloat16 or float16.",
                came=wanted.name,
                fix="leave dtype out for bfloat16",
            )
        self.dtype = wanted if enabled else None

    def set(self) -> DType | None:
        """Switch it on, or off."""
        return local.switch("lowered", self.dtype)  # type: ignore[no-any-return]

    def restore(self, before: DType | None) -> None:
        """Go back to what it was."""
        local.switch("lowered", before)


def is_autocast_enabled(device_type: str = "cpu") -> bool:
    """Tell whether products are computed in a half."""
    Device(device_type)
    return local.lowered is not None


def is_grad_enabled() -> bool:
    """Tell whether gradients are recorded."""
    return local.trace.grad


def is_inference_mode_enabled() -> bool:
    """Tell whether gradients are off."""
    return not local.trace.grad
