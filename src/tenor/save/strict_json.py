"""JSON from files nobody vouches for: one meaning, bounded work."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, Final, NoReturn

from tenor.errors import FormatError

__all__ = ["parse"]

DAMAGED: Final = "the file was damaged, or was not written by a writer of this format"
MAX_DEPTH: Final = 16
MAX_DIGITS: Final = 80  # 256 bits, as random generators keep their state

MAX_VALUES: Final = 4_000_000

STRUCTURE: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[][{},]', re.DOTALL)
"""A string, which always matches and so costs its length only, or a mark outside of strings."""
STEP: Final = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


def parse(data: bytes, what: str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value that UTF-8 JSON text stands for.

    Refused are: keys given twice, NaN and infinities, numbers of more than 80 digits, lone
    surrogates, nesting beyond `max_depth`, more than 4 million values.

    Raises:
        FormatError: It is not such a text; names `what`.
    """

    def refuse(problem: str) -> NoReturn:
        raise FormatError(f"{what} must be strict JSON.", came=problem, fix=DAMAGED)

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
            refuse(f"the key {twice[:80]!r} twice")
        return found

    def number(text: str) -> int | float:
        if len(text) > MAX_DIGITS:
            refuse(f"a number of {len(text)} characters")
        value = float(text) if set(text) & set(".eE") else int(text)
        return value if abs(value) < float("inf") else refuse(f"the number {text}")

    depth, values = _measure(data)
    if depth > max_depth:
        refuse(f"nesting more than {max_depth} deep")
    if values > MAX_VALUES:
        refuse(f"more than {MAX_VALUES} values")
    try:
        text = data.decode()
        value = json.loads(
            text, object_pairs_hook=members, parse_int=number, parse_float=number,
            parse_constant=lambda word: refuse(f"the word {word}"),
        )  # fmt: skip
        if "\\u" in text:  # an escaped lone surrogate is the one thing that cannot be encoded
            json.dumps(value, ensure_ascii=False).encode()
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        refuse(str(error)[:200])
    return value


def _measure(data: bytes) -> tuple[int, int]:
    """Return how deep lists and objects nest, and a bound on how many values there are.

    A parsed value can take fifty times the bytes of its text, so this is known before. Counted
    are strings, lists, objects and commas, up to one more than may be.
    """
    deepest = depth = values = 0
    for match in STRUCTURE.finditer(data):
        mark = match.group()
        depth += STEP.get(mark, 0)
        deepest = max(deepest, depth)
        values += mark not in (b"]", b"}")
        if values > MAX_VALUES:
            break
    return deepest, values
