"""What a module's state holds, and how one that was saved is matched with a module."""

from __future__ import annotations

import difflib
from typing import Any, Final, NamedTuple

from tenor.errors import DTypeError
from tenor.tensor import Tensor, as_tensor

__all__ = ["EXTRA", "Incompatible", "loadable", "nearest"]

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
