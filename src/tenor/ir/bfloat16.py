"""bfloat16, which NumPy lacks: the upper half of a float32, held as uint16 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["from_bfloat16", "to_bfloat16"]

QUIET_NAN: Final = np.uint16(0x7FC0)


def to_bfloat16(values: ArrayLike) -> NDArray[np.uint16]:
    """Round float32 values to the nearest bfloat16, ties to even, and return the bits.

    Values above the largest bfloat16 become infinite; every NaN becomes the quiet NaN of its sign.
    """
    floats = np.asarray(values, np.float32)
    bits = floats.view(np.uint32)
    # Half a unit in the last kept place, less one where that place is even: ties go to even.
    carry = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    with np.errstate(over="ignore"):  # NaN payloads may carry past bit 31; they are replaced below
        rounded = ((bits + carry) >> np.uint32(16)).astype(np.uint16)
    sign = (bits >> np.uint32(16)).astype(np.uint16) & np.uint16(0x8000)
    return np.where(np.isnan(floats), sign | QUIET_NAN, rounded)


def from_bfloat16(bits: NDArray[Any]) -> NDArray[np.float32]:
    """Return the float32 values of bfloat16 bits; exact."""
    wide = np.asarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)
    return np.asarray(wide).view(np.float32)
