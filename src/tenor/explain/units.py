"""Numbers as people read them."""

from __future__ import annotations

from typing import Final

__all__ = ["bytes_text", "count_text", "measured_text", "seconds_text"]

BINARY: Final = ("B", "KiB", "MiB", "GiB", "TiB")
DECIMAL: Final = ("", "k", "M", "G", "T", "P")
TIMES: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def bytes_text(count: float) -> str:
    """Return a number of bytes in binary units.

    Example:
        >>> bytes_text(1536)
        '1.5 KiB'
    """
    return _scaled(count, 1024, BINARY)


def count_text(count: float) -> str:
    """Return a count in decimal units.

    Example:
        >>> count_text(2_500_000)
        '2.5 M'
    """
    return _scaled(count, 1000, DECIMAL).rstrip()


def seconds_text(seconds: float) -> str:
    """Return a duration in the unit that leaves one to three digits before the point.

    Example:
        >>> seconds_text(0.0042)
        '4.2 ms'
    """
    for size, unit in TIMES:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.2g} ns" if seconds else "0 s"


def measured_text(seconds: float | None) -> str:
    """Return a kernel's time, which may not have been measured, or be below what a clock tells.

    Example:
        >>> measured_text(4e-13)
        '< 1 ns'
    """
    if seconds is None:
        return "-"
    return "< 1 ns" if seconds < 1e-9 else seconds_text(seconds)


def _scaled(count: float, step: int, units: tuple[str, ...]) -> str:
    value = float(count)
    for unit in units:
        if value < step or unit == units[-1]:
            digits = f"{value:.0f}" if value == int(value) else f"{value:.3g}"
            return f"{digits} {unit}"
        value /= step
    raise AssertionError
