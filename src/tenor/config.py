"""Every switch: name, type, default, meaning. The only reader of the environment.

In:     TENOR_* environment variables, read once at import; attribute writes afterwards.
Out:    `config.NAME`; a value that no layer could use is refused when it is set.
Never:  decides anything; the layer that uses a switch does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Config", "config"]


def _cache_dir() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("TENOR_CACHE_DIR") or Path(home) / "tenor")


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise ArgumentError(
            f"{name}: must be a whole number.", came=repr(text), fix="unset it for the default"
        ) from None


def _positive(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


RULES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "threads": (_positive, "a whole number, 1 or more"),
    "cache_bytes": (_positive, "a whole number, 1 or more"),
    "max_pending_ops": (_positive, "a whole number, 1 or more"),
    "max_pending_bytes": (_positive, "a whole number, 1 or more"),
    "max_states": (_positive, "a whole number, 1 or more"),
    "max_plans": (_positive, "a whole number, 1 or more"),
    "backend": (lambda value: value in ("llvm", "reference"), '"llvm" or "reference"'),
}
"""What a switch may be set to, and how that is said."""


@dataclass
class Config:
    """The switches, with their defaults.

    Attributes:
        threads: Worker threads of the CPU runtime, the caller included. TENOR_THREADS.
        cache_dir: Where compiled objects are kept between processes. TENOR_CACHE_DIR.
        cache: Whether compiled objects are kept on disk at all. TENOR_CACHE=0 turns it off.
        cache_bytes: How much of the disk they may take; the oldest go first. TENOR_CACHE_BYTES.
        cpu: LLVM name of the CPU to compile for; "" means this one. TENOR_CPU.
        features: LLVM feature string to compile for; "" means this CPU's. TENOR_FEATURES.
        skip_passes: Names of optional compiler passes to leave out. TENOR_SKIP_PASSES=a,b.
        winograd: Whether 3x3 convolutions of many channels are done by Winograd's transforms (see
            docs/numerics.md). TENOR_WINOGRAD=0 has them summed directly.
        symbolic: Whether graphs that differ in their sizes alone share a program from the second
            on. TENOR_SYMBOLIC=0 compiles each size for itself; no bit depends on it.
        backend: "llvm", or "reference" for the NumPy interpreter. TENOR_BACKEND.
        native_recorder: Whether a long-running process records by compiled code.
            TENOR_NATIVE_RECORDER=0 keeps to Python.
        max_pending_ops: Recorded operations after which a trace is run unasked.
        max_pending_bytes: Bytes of recorded results after which a trace is run unasked.
        max_states: Positions the recorder remembers before it forgets them all and begins again.
        max_plans: Plans it keeps before it does; a process may have some 18,000 loaded at once.
    """

    threads: int = field(default_factory=lambda: _number("TENOR_THREADS", os.cpu_count() or 1))
    cache_dir: Path = field(default_factory=_cache_dir)
    cache: bool = os.environ.get("TENOR_CACHE", "1") != "0"
    cache_bytes: int = field(default_factory=lambda: _number("TENOR_CACHE_BYTES", 1 << 30))
    cpu: str = os.environ.get("TENOR_CPU", "")
    features: str = os.environ.get("TENOR_FEATURES", "")
    skip_passes: frozenset[str] = frozenset(
        name for name in os.environ.get("TENOR_SKIP_PASSES", "").split(",") if name
    )
    winograd: bool = os.environ.get("TENOR_WINOGRAD", "1") != "0"
    symbolic: bool = os.environ.get("TENOR_SYMBOLIC", "1") != "0"
    backend: str = os.environ.get("TENOR_BACKEND", "llvm")
    native_recorder: bool = os.environ.get("TENOR_NATIVE_RECORDER", "1") != "0"
    max_pending_ops: int = 20_000
    max_pending_bytes: int = 2 << 30
    max_states: int = 300_000
    max_plans: int = 4096

    def __setattr__(self, name: str, value: Any) -> None:
        holds, what = RULES.get(name, (lambda _: True, ""))
        if not holds(value):
            raise ArgumentError(
                f"config: {name} must be {what}.",
                came=repr(value),
                fix=f"set config.{name}, or TENOR_{name.upper()} in the environment, to one",
            )
        super().__setattr__(name, value)


config = Config()
