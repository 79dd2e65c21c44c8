"""Floats that become integers: truncated to 64 bits, of which the lower ones are kept."""

import numpy as np
import pytest

import tenor as tn

EDGES = np.array(
    [0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001, 0x4F000000, 0xCF000000,
     0x4EFFFFFF, 0xCEFFFFFF, 0x4F7FFFFF, 0x4F800000, 0x5F000000, 0xDF000000, 0x5EFFFFFF,
     0xDEFFFFFF, 0x3F7FFFFF, 0xBF7FFFFF, 1, 0x7F7FFFFF, 0xFF7FFFFF], np.uint32,
)  # fmt: skip
"""Zeros, infinities, NaN, what lies around 1, 2^31, 2^32 and 2^63, and the largest."""


def every_size():
    """Return float32 values of every exponent and sign, and the edges."""
    rng = np.random.default_rng(0)
    bits = (np.arange(512) << 23)[:, None] | rng.integers(0, 2**23, (512, 40))
    return np.concatenate([EDGES, bits.ravel().astype(np.uint32)]).view(np.float32)


def truncated(x):
    """Return the nearest 64-bit integers to truncated floats; 0 for NaN."""
    low, high = -(2**63), 2**63 - 1
    wide = [
        0 if np.isnan(v) else int(max(low, min(high, int(np.clip(v, -1e30, 1e30)))))
        for v in x.astype(np.float64).tolist()
    ]
    return np.array(wide, np.int64)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
@pytest.mark.parametrize("source", ["float32", "bfloat16", "float64"])
def test_a_float_becomes_an_integer(dtype, source):
    x = tn.tensor(every_size()).to(source)
    with np.errstate(all="ignore"):
        want = truncated(x.double().numpy()).astype(dtype)
    np.testing.assert_array_equal(x.to(dtype).numpy(), want)


@pytest.mark.parametrize("count", [1, 3, 17])
def test_scalars_and_ends_of_rows_are_converted_alike(count):
    x = every_size()[:count]
    np.testing.assert_array_equal(tn.tensor(x).to(tn.int16).numpy(), truncated(x).astype(np.int16))
