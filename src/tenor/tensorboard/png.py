"""Pixels as a PNG file's bytes, by zlib alone."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COLOR_TYPES", "encode"]

COLOR_TYPES: Final = {1: 0, 2: 4, 3: 2, 4: 6}
"""Channels -> PNG's code: gray, gray and alpha, RGB, RGB and alpha."""


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return the PNG file of pixels [height, width, channels], uint8, 1 to 4 channels.

    Source:
        https://www.w3.org/TR/png-3/
    """
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, COLOR_TYPES[channels], 0, 0, 0)
    rows: NDArray[Any] = np.zeros((height, 1 + width * channels), np.uint8)  # byte 0: no filter
    rows[:, 1:] = pixels.reshape(height, -1)
    parts = (
        _chunk(b"IHDR", header),
        _chunk(b"IDAT", zlib.compress(rows.data)),
        _chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
