"""Programs with a symbolic dim: one text for every batch size.

A model is traced at several sizes of its symbolic dim. The texts must be the same but for
numbers, and each number that differs must be a linear function of the size; it is written as
`<scale*name+offset>`. Filling a size in gives the text of that size back, exactly.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tenor.errors import ArgumentError, FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_SIZE", "fill", "generalise"]

MAX_SIZE: Final = 1 << 31
NUMBER: Final = re.compile(r"(?<![%\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])")
HOLE: Final = re.compile(r"<(f?)(-?\d{1,18})\*([A-Za-z_]\w{0,31})([+-]\d{1,18})>")


def generalise(texts: Sequence[str], sizes: Sequence[int], name: str) -> str:
    """Return one text that gives `texts[i]` when `sizes[i]` is filled in for `name`.

    Raises:
        ArgumentError: the program depends on the size in another way.
    """
    pieces = [NUMBER.split(t) for t in texts]
    numbers = [NUMBER.findall(t) for t in texts]
    if any(p != pieces[0] for p in pieces):
        raise ArgumentError(
            f"save: the program must be the same for every {name!r}, sizes apart.",
            came=f"different operations for {name} = {', '.join(map(str, sizes))}",
            fix="remove Python branches on the size, or save with a fixed size (dynamic=None)",
        )
    parts = [pieces[0][0]]
    for i, values in enumerate(zip(*numbers, strict=True)):
        parts.append(values[0] if len(set(values)) == 1 else _hole(values, sizes, name))
        parts.append(pieces[0][i + 1])
    return "".join(parts)


def _hole(values: Sequence[str], sizes: Sequence[int], name: str) -> str:
    floating = any("." in v or "e" in v for v in values)
    numbers = [float(v) for v in values]
    scale = round((numbers[1] - numbers[0]) / (sizes[1] - sizes[0]))
    offset = round(numbers[0]) - scale * sizes[0]
    if any(scale * s + offset != n for s, n in zip(sizes, numbers, strict=True)):
        raise ArgumentError(
            f"save: a number in the program is not a linear function of {name!r}.",
            came=f"{', '.join(values)} for {name} = {', '.join(map(str, sizes))}",
            fix="keep the size out of Python arithmetic, or save with a fixed size (dynamic=None)",
        )
    return f"<{'f' if floating else ''}{scale}*{name}{offset:+d}>"


def fill(template: str, sizes: dict[str, int]) -> str:
    """Return the text with sizes filled in.

    Raises:
        FormatError: the template names an unknown size, or one is out of range.
    """

    def value(match: re.Match[str]) -> str:
        floating, scale, name, offset = match.groups()
        size = sizes.get(name)
        if size is None or not 0 <= size <= MAX_SIZE:
            raise FormatError(
                f"program: a size for {name!r} in [0, {MAX_SIZE}] is needed.",
                came=repr(size),
                fix="give an input of a usable size",
            )
        number = int(scale) * size + int(offset)
        return repr(float(number)) if floating else str(number)

    return HOLE.sub(value, template)
