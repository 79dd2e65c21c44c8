"""The handwritten digits that come with Tenor: 1,797 images of 8 x 8 pixels."""

from __future__ import annotations

import gzip
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_digits"]

Array = NDArray[Any]


def load_digits() -> tuple[Array, Array, Array, Array]:
    """Return the digits as arrays: (x_train, y_train, x_test, y_test).

    Every fifth image, the first included, is held out for the test, so the parts are always the
    same: 1,437 and 360 images. `digits/SOURCE.md` beside the data names their origin and licence.

    Returns:
        Images float32 in [0, 1] of shape (count, channels=1, height=8, width=8), and the digits
        they show, int64 of shape (count,), for training and for the test.

    Example:
        >>> import tenor as tn
        >>> x_train, y_train, x_test, y_test = tn.data.load_digits()
        >>> x_train.shape, y_test.shape
        ((1437, 1, 8, 8), (360,))
    """
    packed = files("tenor.data").joinpath("digits", "digits.csv.gz").read_bytes()
    table = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",", dtype=np.int64)
    x = (table[:, :-1].astype(np.float32) / np.float32(16)).reshape(-1, 1, 8, 8)
    y = table[:, -1]
    held = np.arange(len(y)) % 5 == 0
    return x[~held], y[~held], x[held], y[held]
