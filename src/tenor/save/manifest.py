"""The manifest: what a bundle says about itself, and the signatures of its programs."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from tenor.errors import ArgumentError, FormatError
from tenor.ir import dtype as dt
from tenor.save import strict_json

if TYPE_CHECKING:
    from tenor.ir.dtype import DType

__all__ = ["Digest", "Manifest", "Signature", "TensorSpec", "producer"]

FORMAT: Final = "tenor-bundle"
VERSION: Final = 1
MAX_BYTES: Final = 16 << 20
MAX_RANK: Final = 32
MAX_EXTENT: Final = 1 << 48
MAX_DESCRIPTION: Final = 65_536

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
SIGNATURE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
TENSOR: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}")
SYMBOL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
HASH: Final = re.compile(r"[0-9a-f]{64}")
DTYPES: Final = {dtype.name: dtype for dtype in dt.ALL}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: its name, dtype, and a shape whose strings are symbolic dims.

    A symbol that only outputs have is a size that the program alone knows.
    """

    name: str
    dtype: DType
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype.name} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Signature:
    """One thing a model can be asked.

    Attributes:
        name: What `run` is called with.
        inputs: Every input.
        outputs: Every output.
        state: Names of the weights its program reads, in the order of its leaves after the
            inputs.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[str, ...] = ()

    @property
    def symbols(self) -> list[str]:
        """The symbolic dims, in the order the inputs name them."""
        every = (dim for spec in self.inputs for dim in spec.shape if isinstance(dim, str))
        return list(dict.fromkeys(every))


@dataclass(frozen=True)
class Digest:
    """What a member must be: its SHA-256 and its size."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself.

    Attributes:
        name: The model's name, as in URLs.
        version: Its version.
        description: A line for people.
        signatures: What it can be asked, by name.
        state: Names of all weights.
        members: What every other member of the bundle must be.
        producer: Who wrote it.
    """

    name: str
    version: str = "1"
    description: str = ""
    signatures: dict[str, Signature] = field(default_factory=dict)
    state: tuple[str, ...] = ()
    members: dict[str, Digest] = field(default_factory=dict)
    producer: str = ""

    def to_json(self) -> bytes:
        """Return the manifest as the bytes `from_json` reads.

        Raises:
            ArgumentError: A name the format does not take.
        """
        document = {
            "format": FORMAT,
            "format_version": VERSION,
            "producer": self.producer,
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "signatures": {n: _signature_document(s) for n, s in sorted(self.signatures.items())},
            "state": list(self.state),
            "members": {
                n: {"sha256": d.sha256, "size": d.size} for n, d in sorted(self.members.items())
            },
        }
        data = (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
        try:
            again = Manifest.from_json(data)
        except FormatError as error:
            raise ArgumentError(
                "save: names and descriptions a bundle can hold.", error.came, error.fix
            ) from None
        assert again == self
        return data

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read a manifest nobody vouches for.

        Raises:
            FormatError: It is none, or of a version this Tenor does not know; says why.
        """
        if len(data) > MAX_BYTES:
            _refuse(f"{len(data)} bytes", f"a manifest has at most {MAX_BYTES} bytes")
        document = strict_json.parse(data, "manifest.json", max_depth=8)
        if type(document) is not dict or document.get("format") != FORMAT:
            _refuse("no bundle of Tenor's", f'it says {{"format": "{FORMAT}"}}')
        if document.get("format_version") != VERSION:
            _refuse(
                f"format version {str(document.get('format_version'))[:40]}",
                f"this Tenor reads version {VERSION}; a newer Tenor may read this file",
            )
        return _Reader("manifest", document).manifest()


def producer() -> str:
    """Return the name and version of this Tenor."""
    package = sys.modules[__name__.partition(".")[0]]
    return f"tenor {getattr(package, '__version__', 'unknown')}"


def _signature_document(signature: Signature) -> dict[str, Any]:
    def specs(every: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
        return [{"name": s.name, "dtype": s.dtype.name, "shape": list(s.shape)} for s in every]

    return {
        "inputs": specs(signature.inputs), "outputs": specs(signature.outputs),
        "state": list(signature.state),
    }  # fmt: skip


def _refuse(came: str, wanted: str) -> NoReturn:
    raise FormatError("bundle: a manifest of this format.", came=came, fix=wanted)


class _Reader:
    """Takes a JSON object apart, key by key; every refusal says where."""

    def __init__(self, where: str, value: Any) -> None:
        if type(value) is not dict:
            _refuse(f"{where} is {str(value)[:60]}", f"{where} is an object")
        self.where = where
        self.value = value

    def keys(self, *names: str) -> None:
        """Hold the object to exactly these keys."""
        if self.value.keys() != set(names):
            odd = sorted(self.value.keys() ^ set(names))
            _refuse(f"{self.where}: {', '.join(odd)[:120]}", f"exactly {', '.join(names)}")

    def text(self, key: str, pattern: re.Pattern[str]) -> str:
        """Return a string that fits a pattern."""
        return self.fits(f"{self.where}.{key}", self.value[key], pattern)

    def fits(self, where: str, value: Any, pattern: re.Pattern[str]) -> str:
        """Return a value that is a string and fits a pattern."""
        if type(value) is not str or not pattern.fullmatch(value):
            _refuse(f"{where} is {value!r:.80}", f"it is text like {pattern.pattern}")
        return value

    def line(self, key: str) -> str:
        """Return any text that is not too long."""
        value = self.value[key]
        if type(value) is not str or len(value) > MAX_DESCRIPTION:
            _refuse(f"{self.where}.{key} of another form", f"text up to {MAX_DESCRIPTION} long")
        return value

    def names(self, key: str, known: frozenset[str] | None = None) -> tuple[str, ...]:
        """Return a list of different strings (of known ones)."""
        value = self.value[key]
        if type(value) is not list or not all(type(name) is str for name in value):
            _refuse(f"{self.where}.{key} of another form", "a list of names")
        if len(set(value)) != len(value):
            _refuse(f"{self.where}.{key} with a name twice", "different names")
        if known is not None and not known.issuperset(value):
            _refuse(f"{self.where}.{key} with unknown names", "names of the bundle's state")
        return tuple(value)

    def children(self, key: str) -> list[tuple[str, _Reader]]:
        """Return the entries of an object of objects."""
        where = f"{self.where}.{key}"
        every = _Reader(where, self.value[key]).value.items()
        return [(name, _Reader(f"{where}.{name[:80]}", value)) for name, value in every]

    def manifest(self) -> Manifest:
        """Read the whole."""
        self.keys(
            "format", "format_version", "producer", "name", "version", "description",
            "signatures", "state", "members",
        )  # fmt: skip
        state = self.names("state")
        known = frozenset(state)
        signatures = {
            name: entry.signature(name, known) for name, entry in self.children("signatures")
        }
        return Manifest(
            name=self.text("name", NAME),
            version=self.text("version", NAME),
            description=self.line("description"),
            signatures=signatures,
            state=state,
            members={name: entry.digest() for name, entry in self.children("members")},
            producer=self.line("producer"),
        )

    def digest(self) -> Digest:
        """Read what a member must be."""
        self.keys("sha256", "size")
        size = self.value["size"]
        if type(size) is not int or not 0 <= size <= 1 << 62:
            _refuse(f"{self.where}.size is {str(size)[:60]}", "a number of bytes")
        return Digest(self.text("sha256", HASH), size)

    def signature(self, name: str, state: frozenset[str]) -> Signature:
        """Read a signature."""
        self.keys("inputs", "outputs", "state")
        self.fits("a signature's name", name, SIGNATURE)
        return Signature(
            name, self.specs("inputs"), self.specs("outputs"), self.names("state", state)
        )

    def specs(self, key: str) -> tuple[TensorSpec, ...]:
        """Read a list of inputs or outputs."""
        value = self.value[key]
        if type(value) is not list:
            _refuse(f"{self.where}.{key} of another form", "a list of tensors")
        found = tuple(_Reader(f"{self.where}.{key}[{i}]", v).spec() for i, v in enumerate(value))
        if len({spec.name for spec in found}) != len(found):
            _refuse(f"{self.where}.{key} with a name twice", "different names")
        return found

    def spec(self) -> TensorSpec:
        """Read one input or output."""
        self.keys("name", "dtype", "shape")
        dtype = self.value["dtype"]
        if type(dtype) is not str or dtype not in DTYPES:
            _refuse(f"{self.where}.dtype is {dtype!r:.60}", f"one of {', '.join(DTYPES)}")
        shape = self.value["shape"]
        if type(shape) is not list or len(shape) > MAX_RANK:
            _refuse(f"{self.where}.shape of another form", f"at most {MAX_RANK} dims")
        for dim in shape:
            if type(dim) is str:
                self.fits(f"{self.where}.shape", dim, SYMBOL)
            elif type(dim) is not int or not 0 <= dim < MAX_EXTENT:
                _refuse(f"{self.where}.shape with {dim!r:.60}", "sizes, or names of sizes")
        return TensorSpec(self.text("name", TENSOR), DTYPES[dtype], tuple(shape))
