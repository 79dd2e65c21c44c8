"""Every switch: name, type, default, meaning. The only reader of the environment.

In:     TENOR_* environment variables, read once at import; attribute writes afterwards.
Out:    `config.NAME`.
Never:  decides anything; the layer that uses a switch does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Config", "config"]


def _cache_dir() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("TENOR_CACHE_DIR") or Path(home) / "tenor")


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
        backend: "llvm", or "reference" for the NumPy interpreter. TENOR_BACKEND.
        max_pending_ops: Recorded operations after which a trace is run unasked.
        max_pending_bytes: Bytes of recorded results after which a trace is run unasked.
        max_states: Positions the recorder remembers before it forgets them all and begins again.
        max_plans: Plans it keeps before it does; a process may have some 18,000 loaded at once.
    """

    threads: int = int(os.environ.get("TENOR_THREADS") or os.cpu_count() or 1)
    cache_dir: Path = field(default_factory=_cache_dir)
    cache: bool = os.environ.get("TENOR_CACHE", "1") != "0"
    cache_bytes: int = int(os.environ.get("TENOR_CACHE_BYTES") or 1 << 30)
    cpu: str = os.environ.get("TENOR_CPU", "")
    features: str = os.environ.get("TENOR_FEATURES", "")
    skip_passes: frozenset[str] = frozenset(
        name for name in os.environ.get("TENOR_SKIP_PASSES", "").split(",") if name
    )
    backend: str = os.environ.get("TENOR_BACKEND", "llvm")
    max_pending_ops: int = 20_000
    max_pending_bytes: int = 2 << 30
    max_states: int = 300_000
    max_plans: int = 4096


config = Config()
