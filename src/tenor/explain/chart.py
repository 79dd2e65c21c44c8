"""Bars as inline SVG: each kernel's share of time and of bytes."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from tenor.explain.units import bytes_text, measured_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.explain.record import KernelCall

__all__ = ["chart"]

ROW: Final = 22
LABEL: Final = 220
BAR: Final = 300
GAP: Final = 40
VALUE: Final = 84
MOST: Final = 60


def chart(kernels: Sequence[KernelCall]) -> str:
    """Return one row a kernel, its measured time on the left and its bytes on the right.

    Beyond 60 kernels the longest are shown, in the program's order.
    """
    shown = _shown(kernels)
    if not shown:
        return ""
    height = ROW * (len(shown) + 1) + 6
    width = LABEL + 2 * (BAR + VALUE) + GAP
    seconds = max((k.seconds or 0.0 for k in shown), default=0.0)
    moved = max(_moved(k) for k in shown)
    second = LABEL + BAR + VALUE + GAP
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Time and bytes of each kernel">',
        f'<text class="head" x="{LABEL}" y="14">time alone</text>',
        f'<text class="head" x="{second}" y="14">bytes moved</text>',
    ]
    for at, kernel in enumerate(shown):
        y = ROW * (at + 1)
        label = escape(_short(f"{kernel.number}  {kernel.label}"))
        parts.append(f'<text x="{LABEL - 10}" y="{y + 15}" text-anchor="end">{label}</text>')
        time = "not measured" if kernel.seconds is None else measured_text(kernel.seconds)
        parts.append(_bar(LABEL, y, kernel.seconds or 0.0, seconds, time, "time"))
        parts.append(_bar(second, y, _moved(kernel), moved, bytes_text(_moved(kernel)), "bytes"))
    return "".join([*parts, "</svg>"])


def _shown(kernels: Sequence[KernelCall]) -> list[KernelCall]:
    if len(kernels) <= MOST:
        return list(kernels)
    longest = sorted(kernels, key=lambda k: (k.seconds or 0.0, _moved(k)), reverse=True)[:MOST]
    return sorted(longest, key=lambda k: k.number)


def _moved(kernel: KernelCall) -> int:
    return kernel.traffic.read + kernel.traffic.written


def _short(text: str, most: int = 30) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _bar(x: int, y: int, value: float, most: float, text: str, kind: str) -> str:
    width = max(1.0, BAR * value / most) if most else 1.0
    return (
        f'<rect class="{kind}" x="{x}" y="{y + 3}" width="{width:.1f}" height="{ROW - 8}" rx="2">'
        f"<title>{escape(text)}</title></rect>"
        f'<text class="value" x="{x + width + 6:.1f}" y="{y + 15}">{escape(text)}</text>'
    )
