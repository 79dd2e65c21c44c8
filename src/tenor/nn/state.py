"""What a module's state holds, and how one that was saved is matched with a module."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tenor.errors import DTypeError
from tenor.nn.parameter import Parameter
from tenor.tensor import Tensor, as_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tenor.nn.module import Module

__all__ = ["EXTRA", "Incompatible", "every_path", "loadable", "nearest", "renewed"]

EXTRA: Final = "_extra_state"
"""The name of what a module keeps beside its parameters and buffers."""


class Incompatible(NamedTuple):
    """What `load_state_dict` did not find a place for.

    Attributes:
        missing_keys: Names the module has and the state has not.
        unexpected_keys: Names the state has and the module has not.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"Incompatible(missing={self.missing_keys}, unexpected={self.unexpected_keys})"


def loadable(name: str, value: Any) -> Tensor:
    """Return a value of a state as a tensor; another library's through DLPack or NumPy."""
    if not isinstance(value, Tensor) and hasattr(value, "detach"):
        value = value.detach().numpy()
    try:
        return as_tensor(value)
    except DTypeError as error:
        error.came.append(f"as {name!r}")
        raise


def nearest(missing: list[str], unexpected: list[str]) -> str:
    """Suggest how the names of two sets belong together: by a prefix, or a slip of the pen."""
    for name in missing:
        for other in unexpected:
            if other.endswith("." + name):
                return f"strip the prefix {other[: -len(name)]!r} from the names"
            if name.endswith("." + other):
                return f"add the prefix {name[: -len(other)]!r} to the names"
    for name in missing:
        for other in difflib.get_close_matches(name, unexpected, n=1, cutoff=0.8):
            return f"rename {other!r} to {name!r}, or pass strict=False to load what matches"
    return ""


def renewed(old: Tensor, value: Tensor) -> Tensor:
    """Return what takes a parameter's or buffer's place: the value, not its memory."""
    if not isinstance(old, Parameter):
        return value.detach().clone()
    if not isinstance(value, Parameter):
        return Parameter(value, old.requires_grad)
    return value.requires_grad_(old.requires_grad)


def every_path(module: Module, prefix: str) -> Iterator[tuple[str, Module]]:
    """Yield (prefix, module) along every path, shared modules as often as they are reached."""
    yield prefix, module
    for name, child in module._held():
        yield from every_path(child, f"{prefix}{name}.")
