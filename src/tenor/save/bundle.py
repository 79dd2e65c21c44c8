"""The `.tnr` bundle: a model in one file that holds data only, never code.

::

    manifest.json             what this is: signatures, and the SHA-256 of every other member
    assets/...                files the model needs, e.g. vocabularies
    examples.json             inputs, and the outputs they gave when the model was saved
    programs/NAME.tir         IR text of the signature NAME
    weights.safetensors       parameters and buffers
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NoReturn

from tenor.errors import ArgumentError, FormatError
from tenor.save import archive
from tenor.save.atomic import replace_file
from tenor.save.manifest import Digest, Manifest, producer
from tenor.save.mapping import mapped

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["EXAMPLES", "MANIFEST", "WEIGHTS", "Bundle", "program_member", "read", "write"]

MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "weights.safetensors"
EXAMPLES: Final = "examples.json"
KNOWN: Final = re.compile(
    r"""manifest\.json | weights\.safetensors | examples\.json
    | programs/[A-Za-z_][A-Za-z0-9_-]{0,63}\.tir
    | assets(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}){1,4}""",
    re.VERBOSE,
)
LIMITS: Final = {MANIFEST: 16 << 20, EXAMPLES: 64 << 20, "programs": 16 << 20}
"""The most bytes a member may have that is read whole; the others are mapped."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        manifest: What it says about itself.
        members: The bytes of every other member, mapped and verified.
    """

    manifest: Manifest
    members: dict[str, memoryview] = field(repr=False)

    def text(self, name: str) -> str:
        """Return a member that is text.

        Raises:
            FormatError: There is no such member, or it is not UTF-8.
        """
        if name not in self.members:
            _refuse(f"no member {name!r}", "the bundle's signatures need it")
        try:
            return str(self.members[name], "utf-8")
        except UnicodeDecodeError as error:
            _refuse(f"{name}: {error}", "it is text")


def program_member(signature: str) -> str:
    """Return the name of the member that holds a signature's program."""
    return f"programs/{signature}.tir"


def write(
    path: str | os.PathLike[str],
    manifest: Manifest,
    members: Mapping[str, Sequence[bytes | memoryview]],
) -> None:
    """Write a bundle; whatever stood there is replaced whole or not at all.

    The same contents make the same bytes. `manifest.members` and `producer` are filled in here.

    Raises:
        ArgumentError: A member or name that the format does not take.
        SaveError: The file could not be written; the old one stands.
    """
    for name in members:
        if name == MANIFEST or not KNOWN.fullmatch(name):
            raise ArgumentError(
                "bundle: members have names the format knows.",
                came=repr(name),
                fix="further files go under assets/, with letters, digits, '.', '_' and '-'",
            )
    _check_names(members, ArgumentError)
    digests = {name: _digest(chunks) for name, chunks in members.items()}
    made = replace(manifest, members=digests, producer=producer())
    first = (MANIFEST, [made.to_json()])
    replace_file(path, archive.pieces([first, *sorted(members.items())]))


def _digest(chunks: Sequence[bytes | memoryview]) -> Digest:
    sha = hashlib.sha256()
    for chunk in chunks:
        sha.update(chunk)
    return Digest(sha.hexdigest(), sum(map(len, chunks)))


def read(path: str | os.PathLike[str]) -> Bundle:
    """Open a bundle and verify every byte of it.

    The file is mapped, and hashed once; it may come from anywhere.

    Raises:
        FormatError: It is not a bundle, or not the one that was written; says why.
        OSError: It cannot be opened.
    """
    return parse(mapped(path))


def parse(view: memoryview) -> Bundle:
    """Return the bundle whose bytes are given; see `read`."""
    if not view:
        _refuse("an empty file", "a bundle is a zip file")
    members = archive.read(view)
    names = [member.name for member in members]
    if not names or names[0] != MANIFEST or names[1:] != sorted(names[1:]):
        _refuse("members in another order", f"{MANIFEST} comes first, the others by name")
    for member in members:
        if not KNOWN.fullmatch(member.name):
            _refuse(f"a member named {member.name[:80]!r}", "only names the format knows")
        limit = LIMITS.get(member.name.partition("/")[0])
        if limit is not None and member.size > limit:
            _refuse(f"{member.name} of {member.size} bytes", f"it has at most {limit}")
    _check_names(names, FormatError)
    data = bytes(view[members[0].data : members[0].end])
    if archive.crc([data]) != members[0].crc:
        _refuse(f"another checksum of {MANIFEST}", "the file was damaged")
    manifest = Manifest.from_json(data)
    if manifest.members.keys() != set(names[1:]):
        odd = sorted(manifest.members.keys() ^ set(names[1:]))
        _refuse(f"{', '.join(odd)[:120]}", "the manifest names every member")
    found = {m.name: view[m.data : m.end] for m in members[1:]}
    for name, digest in manifest.members.items():
        if _digest([found[name]]) != digest:
            _refuse(f"another SHA-256 or size of {name}", "the file was damaged")
    return Bundle(manifest, found)


def _check_names(names: Iterable[str], error: type[ArgumentError | FormatError]) -> None:
    """Refuse names that one directory of a case-blind file system could not hold."""
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise error(
                "bundle: members have different names.", f"{name!r} twice", "rename one of them"
            )
        seen.add(name.lower())
    for name in seen:
        folder, _, _ = name.rpartition("/")
        if folder in seen:
            raise error(
                "bundle: a member is a file or a folder.", f"{folder!r} is both", "rename one"
            )


def _refuse(came: str, wanted: str) -> NoReturn:
    raise FormatError("bundle: a whole .tnr file, as it was written.", came=came, fix=wanted)
