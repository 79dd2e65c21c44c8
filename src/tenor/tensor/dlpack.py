"""DLPack: tensors lent to other libraries and borrowed from them, without a copy.

NumPy writes and reads the capsules. It has no bfloat16: those elements are its uint16 to NumPy, and
the capsule calls them by their own name (https://dmlc.github.io/dlpack/latest/c_api.html).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.ir import dtype as dt
from tenor.tensor.conversion import lent
from tenor.tensor.creation import shared

if TYPE_CHECKING:
    from tenor.tensor.tensor import Tensor

__all__ = ["device", "from_dlpack", "lend"]

UINT, BFLOAT = 1, 4
"""DLDataTypeCode of the two."""
CODES: Final = {b"dltensor": 20, b"dltensor_versioned": 52}
"""Where in a capsule of a name the code of the element type stands: a byte, the bits follow."""

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)


def _renamed(capsule: Any, old: int, new: int) -> bool:
    """Call a capsule's elements of two bytes another type; False if they are not the old one."""
    name = next(name for name in CODES if _is_valid(capsule, name))
    kind = (ctypes.c_uint8 * 2).from_address(_pointer(capsule, name) + CODES[name])
    if tuple(kind) != (old, 16):
        return False
    kind[0] = new
    return True


def lend(x: Tensor, **options: Any) -> Any:
    """Return a DLPack capsule that shares memory.

    Raises:
        GradientError: x requires a gradient.
    """
    capsule = lent(x, "__dlpack__()").__dlpack__(**options)
    if x.element_type is dt.bfloat16:
        _renamed(capsule, UINT, BFLOAT)
    return capsule


def device(x: Tensor) -> tuple[int, int]:
    """Return DLPack's name of the device: (1, 0), the CPU."""
    del x
    return (1, 0)


class Borrowed:
    """Another library's tensor as NumPy can read it; `is_bfloat16` says what it is."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.is_bfloat16 = False

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self.source.__dlpack__(**options)
        self.is_bfloat16 = _renamed(capsule, BFLOAT, UINT)
        return capsule

    def __dlpack_device__(self) -> Any:
        return self.source.__dlpack_device__()


def from_dlpack(ext_tensor: Any) -> Tensor:
    """Return a tensor on the memory of another library's, without a copy where it may be written.

    Args:
        ext_tensor: An object with `__dlpack__`, such as a PyTorch tensor on the CPU.
    """
    borrowed = Borrowed(ext_tensor)
    array = np.from_dlpack(borrowed)
    return shared(array, dt.bfloat16 if borrowed.is_bfloat16 else dt.from_numpy(array.dtype))
