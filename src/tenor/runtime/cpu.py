"""This machine's CPU through LLVM: text to machine code, with a cache on disk."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tenor.config import config
from tenor.ir.target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Library", "address_in_python", "assembly_of", "host_target", "jitted", "libraries_of", "llvm",
    "lock", "machine", "object_code", "stats",
]  # fmt: skip

FORMAT: Final = b"tenor object 1\n"
BETWEEN_PRUNES: Final = 512
"""How many kernels a process compiles at least before it looks at the size of the cache again."""
LINKED: Final = 512
"""Libraries that one linker makes."""
OLD: Final = ("x86-64", "x86-64-v2", "core2", "penryn", "nehalem", "westmere", "sandybridge",
              "ivybridge", "k8", "amdfam10", "btver1", "btver2", "bdver1")  # fmt: skip
"""Processors of 64 bits without AVX2."""
stats: Final = {"compiled": 0, "from_disk": 0, "linked": 0}
"""How many kernels were compiled, read from the disk, and linked; tests gate on these."""

_room: Final = {"written": 0, "enough": 0}
"""Bytes written since the cache was looked at, and how many may be before it is looked at again."""
lock: Final = threading.RLock()
"""Held while LLVM works, so that no fork leaves a child its locks."""
_linked: Final[weakref.WeakValueDictionary[str, Library]] = weakref.WeakValueDictionary()


@functools.cache
def llvm() -> Any:
    """Return llvmlite's binding, imported on the first compile: `import tenor` stays light."""
    import llvmlite.binding as binding  # noqa: PLC0415 - the one lazy import of the engine

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


@functools.cache
def machine() -> str:
    """Return the processor family, as the first part of LLVM's triple."""
    return str(llvm().get_process_triple()).partition("-")[0]


@functools.cache
def host_target() -> Target:
    """Return this machine, or the one `config.cpu` and `config.features` name."""
    binding = llvm()
    features = binding.get_host_cpu_features()
    cpu = config.cpu or binding.get_host_cpu_name()
    flat = config.features or ("" if config.cpu else features.flatten())
    has = set(flat.split(",")) if flat else set()
    if machine() == "x86_64":
        bits = 512 if "+avx512f" in has or "avx512" in cpu else 256
        if config.cpu in OLD or not ({"+avx2", "+avx512f"} & has or config.cpu):
            bits = 128
        fma = "+fma" in has or bits > 128 or bool(config.cpu)
        registers = 32 if bits == 512 else 16
        dots = "+avx512vnni" in has if bits == 512 else "+avxvnni" in has and bits == 256
        return Target(binding.get_process_triple(), cpu, flat, bits, registers, fma, dots)
    return Target(binding.get_process_triple(), cpu, flat, 128, 32, True)


def _new_machine(target: Target) -> Any:
    return (
        llvm()
        .Target.from_triple(target.triple)
        .create_target_machine(
            cpu=target.cpu,
            features=target.features,
            opt=2,
            reloc="pic",
            codemodel="jitdefault",
            jit=True,
        )
    )


_target_machine = functools.cache(_new_machine)


class _Linker:
    """LLVM's linker, made anew after `LINKED` libraries.

    LLVM looks through the names of all libraries a linker ever made for each new one, and frees
    what it knows of them with the linker: when the last of them is unloaded.
    """

    def __init__(self) -> None:
        self.jit: Any = None
        self.left = 0

    def link(self, builder: Any) -> Any:
        """Return what keeps a new library loaded. Hold the lock."""
        if not self.left:
            if self.jit is not None:
                self.jit.close()  # its libraries hold it
            self.jit = llvm().create_lljit_compiler(_target_machine(host_target()))
            self.left = LINKED
        self.left -= 1
        return builder.link(self.jit, f"tenor{LINKED - self.left}")


_linker: Final = _Linker()


def address_in_python(name: str) -> int:
    """Return where a function of CPython's C interface is."""
    return int(ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0)


def jitted(
    text: str, symbols: Mapping[str, int], names: list[str], *, compiled: bool = False
) -> dict[str, int] | None:
    """Return the addresses of functions that stay where they are until the process is gone.

    Args:
        text: Their module.
        symbols: Addresses of what it calls and reads; they are no part of the machine code.
        names: The functions.
        compiled: Return None unless the machine code is in the cache.
    """
    with lock:  # to the very end: a fork must not come in between
        target = host_target()
        digest = _digest(text, target)
        body = _found(digest)
        if body is None and compiled:
            return None
        builder = llvm().JITLibraryBuilder().add_current_process()
        builder.add_object_img(_compiled(digest, text, target) if body is None else body)
        for name, address in symbols.items():
            builder.import_symbol(name, address)
        for name in names:
            builder.export_symbol(name)
        tracker = _linker.link(builder)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(tracker))  # it holds the linker
        return {name: tracker[name] for name in names}


# -- object code ------------------------------------------------------------------------------
def _path(digest: str) -> Path:
    return Path(config.cache_dir) / "objects" / digest[:2] / f"{digest}.o"


def _read(digest: str) -> bytes | None:
    """Return a cached object, or None where there is none that is whole."""
    with contextlib.suppress(OSError):
        raw = _path(digest).read_bytes()
        head, body = raw[: len(FORMAT) + 32], raw[len(FORMAT) + 32 :]
        if head == FORMAT + hashlib.sha256(body).digest():
            return body
    return None


def _write(digest: str, body: bytes) -> None:
    """Keep an object for other processes; a disk that cannot take it is no error."""
    path = _path(digest)
    with contextlib.suppress(OSError):
        _room["written"] += len(body)
        if stats["compiled"] % BETWEEN_PRUNES == 0 and _room["written"] >= _room["enough"]:
            left = prune(Path(config.cache_dir) / "objects", config.cache_bytes)
            _room.update(written=0, enough=left // 2)  # others may be writing too
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(FORMAT + hashlib.sha256(body).digest() + body)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def prune(folder: Path, limit: int) -> int:
    """Remove the oldest objects of a folder until they take no more than three quarters of a limit.

    Nothing is done while they take less than the limit. Another process may be doing the same.

    Returns:
        How many more bytes there may be.
    """
    found = []
    for path in folder.glob("*/*"):
        with contextlib.suppress(OSError):
            about = path.stat()
            found.append((about.st_mtime, about.st_size, path))
    total = sum(size for _, size, _ in found)
    if total > limit:
        for _, size, path in sorted(found):
            if total <= limit * 3 // 4:
                break
            path.unlink(missing_ok=True)
            total -= size
    return limit - total


def object_code(text: str, target: Target) -> bytes:
    """Return the machine code of a kernel's LLVM module, from the cache where it is there."""
    digest = _digest(text, target)
    body = _found(digest)
    stats["compiled" if body is None else "from_disk"] += 1
    return _compiled(digest, text, target) if body is None else body


def _digest(text: str, target: Target) -> str:
    version = ".".join(map(str, llvm().llvm_version_info))
    key = "\n".join([text, target.triple, target.cpu, target.features, version])
    return hashlib.sha256(FORMAT + key.encode()).hexdigest()


def _found(digest: str) -> bytes | None:
    """Return the machine code of a module from the cache."""
    return _read(digest) if config.cache else None


def _compiled(digest: str, text: str, target: Target) -> bytes:
    """Return the machine code of a module, and keep it in the cache."""
    with lock:
        parsed = llvm().parse_assembly(text)
        parsed.triple = target.triple
        body = bytes(_target_machine(target).emit_object(parsed))
        parsed.close()
    if config.cache:
        _write(digest, body)
    return body


def assembly_of(text: str, target: Target) -> tuple[str, int]:
    """Return an LLVM module as assembly, and the bytes of its instructions; nothing is cached."""
    binding = llvm()
    with lock:
        return _assembly(binding, text, target)


def _assembly(binding: Any, text: str, target: Target) -> tuple[str, int]:
    parsed = binding.parse_assembly(text)
    parsed.triple = target.triple
    made = binding.ObjectFileRef.from_data(_target_machine(target).emit_object(parsed))
    size = sum(section.size() for section in made.sections() if section.is_text())
    # Printing code leaves a module as it was only where it is parsed anew.
    parsed = binding.parse_assembly(text)
    parsed.triple = target.triple
    return str(_target_machine(target).emit_assembly(parsed)), int(size)


class Library:
    """Kernels that were linked together; their code is unloaded when nobody holds it.

    Attributes:
        addresses: Where each is, by symbol.
    """

    __slots__ = ("__weakref__", "_tracker", "addresses")

    def __init__(self, objects: dict[str, bytes]) -> None:
        builder = llvm().JITLibraryBuilder().add_current_process()
        for symbol, body in objects.items():
            builder.add_object_img(body)
            builder.export_symbol(symbol)
        self._tracker = _linker.link(builder)
        self.addresses = {symbol: self._tracker[symbol] for symbol in objects}
        stats["linked"] += len(objects)
        # Not __del__: while that waits for the lock, `_linked` would still hand the library out.
        weakref.finalize(self, _unload, self._tracker).atexit = False


def _unload(tracker: Any) -> None:
    with lock:
        tracker.close()


def libraries_of(texts: list[str], symbols: list[str]) -> list[Library]:
    """Return the library of each symbol, whose text is given; all new ones are linked in one go."""
    with lock:
        held = {s: _linked.get(s) for s in symbols}
        new = {s: t for s, t in zip(symbols, texts, strict=True) if held[s] is None}
        if new:
            made = Library({s: object_code(t, host_target()) for s, t in new.items()})
            for symbol in new:
                _linked[symbol] = held[symbol] = made
        return [held[s] for s in symbols]  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )
