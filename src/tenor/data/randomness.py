"""Random order from a seed: the same on every machine, for every number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.errors import ArgumentError
from tenor.tensor.random import Generator, default_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_generator", "permutation", "units", "words"]

Source = np.random.Generator | Generator


def as_generator(generator: Any) -> Source:
    """Return a seed, a Tenor or a NumPy generator as a generator; None is Tenor's default one.

    Raises:
        ArgumentError: it is something else.
    """
    if generator is None:
        return default_generator
    if isinstance(generator, (np.random.Generator, Generator)):
        return generator
    if isinstance(generator, (int, np.integer)):
        return Generator().manual_seed(int(generator))
    raise ArgumentError(
        "generator: must be a seed, a tn.Generator or a NumPy generator.",
        came=type(generator).__name__,
        fix="e.g. generator=0",
    )


def words(count: int, generator: Any) -> NDArray[np.uint64]:
    """Return random 64-bit words; the generator goes on.

    Bit generators, unlike the functions NumPy builds on them, never change between versions.
    """
    source = as_generator(generator)
    if isinstance(source, Generator):
        stream = (source.key & (2**64 - 1)) | (source.take(1) << 64)
        bits: Any = np.random.Philox(key=stream)
    else:
        bits = source.bit_generator
    return np.asarray(bits.random_raw(count), np.uint64)


def permutation(count: int, generator: Any) -> NDArray[np.intp]:
    """Return the numbers below `count` in random order."""
    return np.argsort(words(count, generator), kind="stable")


def units(count: int, generator: Any) -> NDArray[np.float64]:
    """Return numbers in [0, 1)."""
    high = words(count, generator) >> np.uint64(11)
    return np.asarray(high.astype(np.float64) * 2.0**-53)
