"""PackedSequence: sequences of different lengths without their padding, time by time.

Lengths are Python's to know: under `tn.compile` reading them raises an ObservationError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tenor.engine.handle import Handle
from tenor.errors import ArgumentError, ShapeError
from tenor.nn.vector import pad_sequence
from tenor.tensor import cat, index_select, tensor
from tenor.tensor.conversion import concrete

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tenor.tensor import Tensor

    Lengths = NDArray[np.int64]

__all__ = [
    "PackedSequence", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
]  # fmt: skip


class PackedSequence(NamedTuple):
    """Sequences as one, the longest first: the first elements of all, then the second ones.

    Attributes:
        data: (sum of lengths, *).
        batch_sizes: At each time how many sequences go on, int64.
        sorted_indices: Which sequence stands at each place; None where they came sorted.
        unsorted_indices: At which place each sequence stands.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    @property
    def lengths(self) -> Lengths:
        """The sequences' lengths, the longest first."""
        sizes = concrete(self.batch_sizes, "PackedSequence")
        return np.asarray((sizes[:, None] > np.arange(sizes[0])).sum(0), np.int64)


def _places(lengths: Lengths) -> tuple[Lengths, Lengths]:
    """Return (time, place) of every element, in the order of a packed sequence."""
    live = np.arange(lengths[0])[:, None] < lengths
    time, place = np.nonzero(live)
    return time.astype(np.int64), place.astype(np.int64)


def packed_rows(x: Tensor, lengths: Lengths) -> Tensor:
    """Return the elements of (T, N, *), the longest sequence first, without the padding."""
    time, place = _places(lengths)
    flat = x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
    return index_select(flat, 0, tensor(time * x.shape[1] + place))


def padded_rows(data: Tensor, lengths: Lengths, value: float = 0.0, total: int = 0) -> Tensor:
    """Return packed elements as (T, N, *), filled up with a value."""
    time, place = _places(lengths)
    longest = max(int(lengths[0]), total)
    at = np.full((longest, len(lengths)), len(time), np.int64)
    at[time, place] = np.arange(len(time))
    rows = cat([data, data.new_full((1, *data.shape[1:]), value)])
    return index_select(rows, 0, tensor(at.reshape(-1))).reshape(*at.shape, *data.shape[1:])


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Return sequences packed.

    Args:
        input: (T, N, *), or (N, T, *) with batch_first.
        lengths: How long each sequence is, from 1 to T.
        batch_first: Whether the batch is dim 0.
        enforce_sorted: Whether the longest must come first; else they are sorted here.

    Raises:
        ShapeError: there is not one length for each sequence.
        ArgumentError: a length is no whole number or out of range, or the sequences are not sorted.

    Example:
        >>> import tenor as tn
        >>> packed = tn.nn.utils.rnn.pack_padded_sequence(tn.ones(4, 2, 3), [4, 2])
        >>> out, (h, c) = tn.nn.LSTM(3, 5)(packed)
        >>> tuple(out.data.shape), tuple(h.shape)
        ((6, 5), (1, 2, 5))
    """
    x = input.transpose(0, 1) if batch_first else input
    held = concrete(lengths, "pack_padded_sequence") if isinstance(lengths, Handle) else lengths  # type: ignore[arg-type]
    exact = np.asarray(held)
    if (~np.isfinite(exact)).any() or (exact != np.floor(exact)).any():
        raise ArgumentError(
            "pack_padded_sequence: lengths are whole numbers.",
            came=f"{exact.tolist()}",
            fix="pass how many elements each sequence has",
        )
    sizes = exact.astype(np.int64)
    if sizes.shape != (x.shape[1],):
        raise ShapeError(
            "pack_padded_sequence: there must be one length for each sequence.",
            came=[f"lengths {sizes.shape}", f"input {tuple(input.shape)}"],
            fix="pass batch_first=True where the batch is dim 0",
        )
    if not len(sizes) or sizes.min() < 1 or sizes.max() > x.shape[0]:
        raise ArgumentError(
            f"pack_padded_sequence: lengths lie in [1, {x.shape[0]}].",
            came=f"{sizes.tolist()}",
            fix="leave empty sequences out",
        )
    order = np.argsort(-sizes, kind="stable")
    if enforce_sorted and (np.diff(sizes) > 0).any():
        raise ArgumentError(
            "pack_padded_sequence: the longest sequence comes first.",
            came=f"{sizes.tolist()}",
            fix="pass enforce_sorted=False",
        )
    where, back = None, None
    if not enforce_sorted:
        where, back = tensor(order), tensor(np.argsort(order))
        x = index_select(x, 1, where)
    sizes = sizes[order]
    steps = (np.arange(sizes[0])[:, None] < sizes).sum(1)
    return PackedSequence(packed_rows(x, sizes), tensor(steps.astype(np.int64)), where, back)


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Return a list of sequences (length, *) packed; see `pack_padded_sequence`."""
    lengths = [s.shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return (sequences filled up, their lengths), in the order they were packed from.

    Args:
        sequence: The packed sequences.
        batch_first: Return (N, T, *) rather than (T, N, *).
        padding_value: What they are filled up with.
        total_length: T, where it is more than the longest's.

    Raises:
        ArgumentError: total_length is less.
    """
    lengths = sequence.lengths
    if total_length is not None and total_length < lengths[0]:
        raise ArgumentError(
            "pad_packed_sequence: total_length must hold the longest sequence.",
            came=f"{total_length} for {lengths[0]}",
            fix="leave it out",
        )
    whole = padded_rows(sequence.data, lengths, padding_value, total_length or 0)
    sizes = tensor(lengths)
    if sequence.unsorted_indices is not None:
        whole = index_select(whole, 1, sequence.unsorted_indices)
        sizes = index_select(sizes, 0, sequence.unsorted_indices)
    return (whole.transpose(0, 1) if batch_first else whole), sizes
