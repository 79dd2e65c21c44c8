"""Bundles: the same bytes every time, readable by any zip tool, and nothing else accepted."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from tenor.errors import ArgumentError, FormatError
from tenor.ir import dtype as dt
from tenor.save import archive, bundle, safetensors, strict_json
from tenor.save.manifest import Digest, Manifest, Signature, TensorSpec

SIGNATURE = Signature(
    "predict",
    (TensorSpec("x", dt.float32, ("batch", 3)), TensorSpec("mask", dt.bool_, ("batch",))),
    (TensorSpec("y", dt.bfloat16, ("batch",)), TensorSpec("total", dt.float64, ())),
    ("fc.weight",),
)
MANIFEST = Manifest(
    "digits", "3", "Sieht Ziffern — 数字.", {"predict": SIGNATURE}, ("fc.bias", "fc.weight")
)


def members():
    weights = {"fc.bias": np.zeros(2, np.float32), "fc.weight": np.ones((2, 3), np.float32)}
    return {
        "weights.safetensors": safetensors.layout(weights),
        "programs/predict.tir": [b"graph {\n", b"}\n"],
        "examples.json": [b"{}"],
        "assets/words.txt": [b"a\nb\n"],
        "assets/empty": [],
    }


def packed(manifest=MANIFEST, parts=None):
    parts = members() if parts is None else parts
    digests = {name: bundle._digest(chunks) for name, chunks in parts.items()}
    first = ("manifest.json", [replace(manifest, members=digests).to_json()])
    return archived([first, *sorted(parts.items())])


def archived(parts):
    return b"".join(map(bytes, archive.pieces(parts)))


def refused(content, match=None):
    with pytest.raises(FormatError, match=match):
        bundle.parse(memoryview(content))


# -- round trips ------------------------------------------------------------------------------
def test_round_trip(tmp_path):
    path = tmp_path / "digits.tnr"
    bundle.write(path, MANIFEST, members())
    found = bundle.read(path)
    assert found.manifest.signatures == {"predict": SIGNATURE}
    assert found.manifest.description == MANIFEST.description
    assert found.manifest.state == ("fc.bias", "fc.weight")
    assert found.manifest.producer.startswith("tenor ")
    assert {n: bytes(v) for n, v in found.members.items()} == {
        n: b"".join(map(bytes, chunks)) for n, chunks in members().items()
    }
    assert found.text("assets/words.txt") == "a\nb\n"
    weights = safetensors.read(found.members["weights.safetensors"]).arrays
    assert weights["fc.weight"].tolist() == [[1, 1, 1], [1, 1, 1]]
    with pytest.raises(FormatError, match="no member"):
        found.text("assets/missing")


def test_the_same_contents_make_the_same_bytes(tmp_path):
    bundle.write(tmp_path / "a", MANIFEST, members())
    bundle.write(tmp_path / "b", MANIFEST, dict(reversed(members().items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_members_are_aligned_and_any_zip_tool_reads_them(tmp_path):
    path = tmp_path / "digits.tnr"
    bundle.write(path, MANIFEST, members())
    view = memoryview(path.read_bytes())
    assert all(member.data % 64 == 0 for member in archive.read(view))
    with zipfile.ZipFile(path) as theirs:
        assert theirs.testzip() is None
        assert theirs.namelist()[0] == "manifest.json"
        assert theirs.namelist()[1:] == sorted(members())
        for info in theirs.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
        for name, chunks in members().items():
            assert theirs.read(name) == b"".join(map(bytes, chunks))
        theirs.extractall(tmp_path / "out")
    assert (tmp_path / "out/assets/words.txt").read_bytes() == b"a\nb\n"
    assert (tmp_path / "out/assets/words.txt").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("wide", [1, 100, 700, 1500])
def test_the_64_bit_fields(monkeypatch, wide):
    """What stands in them beyond 4 GiB, here beyond a few bytes; the stock reader agrees."""
    monkeypatch.setattr(archive, "WIDE", wide)
    content = packed()
    found = bundle.parse(memoryview(content))
    with zipfile.ZipFile(io.BytesIO(content)) as theirs:
        assert theirs.testzip() is None
        for name, view in found.members.items():
            assert theirs.read(name) == view
    for n in range(0, len(content), 7):
        refused(content[:n])
    monkeypatch.undo()
    refused(content)  # 64-bit fields where none are needed


def test_an_empty_archive():
    content = archived([])
    assert archive.read(memoryview(content)) == []
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == []
    refused(content, "comes first")


# -- what cannot be written -------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    [
        "manifest.json", "weights.bin", "../x", "assets/../x", "/assets/x", "assets\\x", "assets/",
        "assets//x", "assets/.hidden", "assets/a/b/c/d/e", "assets/" + "n" * 65, "assets/ü",
        "programs/a.b.tir", "programs/x", "Examples.json", "", "assets/x\n", "assets/a b",
    ],
)  # fmt: skip
def test_names_outside_the_list_are_refused(tmp_path, name):
    with pytest.raises(ArgumentError):
        bundle.write(tmp_path / "x.tnr", MANIFEST, {name: [b""]})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pair", [("assets/a", "assets/A"), ("assets/a", "assets/a/b")])
def test_names_that_clash_are_refused(tmp_path, pair):
    with pytest.raises(ArgumentError):
        bundle.write(tmp_path / "x.tnr", MANIFEST, {name: [b""] for name in pair})
    refused(packed(parts={name: [b""] for name in pair}))


def test_too_many_members(tmp_path):
    parts = {f"assets/{i}": [b""] for i in range(5000)}
    with pytest.raises(ArgumentError, match="4096"):
        bundle.write(tmp_path / "x.tnr", MANIFEST, parts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a/b"}, {"name": ""}, {"name": "../x"}, {"version": ""}, {"version": "1 2"},
        {"description": "x" * 70_000}, {"state": ("a", "a")},
        {"signatures": {"a b": replace(SIGNATURE, name="a b")}},
        {"signatures": {"predict": replace(SIGNATURE, state=("missing",))}},
        {"signatures": {"predict": replace(SIGNATURE, inputs=SIGNATURE.inputs[1:] * 2)}},
        {"signatures": {"predict": replace(
            SIGNATURE, inputs=(TensorSpec("x", dt.float32, ("batch", -1)),))}},
    ],
)  # fmt: skip
def test_manifests_that_cannot_be_written(tmp_path, change):
    with pytest.raises(ArgumentError):
        bundle.write(tmp_path / "x.tnr", replace(MANIFEST, **change), members())
    assert not list(tmp_path.iterdir())


# -- damage -----------------------------------------------------------------------------------
def test_cut_at_every_byte():
    content = packed()
    bundle.parse(memoryview(content))
    for n in range(len(content)):
        refused(content[:n])
    refused(content + b"\0")
    refused(b"\0" + content)


def test_every_bit_flipped():
    content = packed()
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(bytes(damaged))


def test_random_damage():
    rng = random.Random(0)
    content = packed()
    for _ in range(2000):
        damaged = bytearray(content)
        kind = rng.randrange(4)
        at, n = rng.randrange(len(content)), rng.randint(1, 40)
        if kind == 0:
            damaged[at : at + n] = rng.randbytes(n)
        elif kind == 1:
            del damaged[at : at + n]
        elif kind == 2:
            damaged[at:at] = rng.randbytes(n)
        else:
            source = rng.randrange(len(content))
            damaged[at : at + n] = content[source : source + n]
        if damaged != content:
            refused(bytes(damaged))


def test_a_file_of_another_kind(tmp_path):
    for content in (b"", b"PK", b"#!/bin/sh\n", bytes(1000)):
        (tmp_path / "x.tnr").write_bytes(content)
        with pytest.raises(FormatError):
            bundle.read(tmp_path / "x.tnr")
    with pytest.raises(FileNotFoundError):
        bundle.read(tmp_path / "missing.tnr")


# -- malice -----------------------------------------------------------------------------------
def rezipped(change=None, compression=zipfile.ZIP_STORED, comment=b""):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed())) as source, zipfile.ZipFile(out, "w") as made:
        for info in source.infolist():
            data = source.read(info)
            name = change(info.filename) if change else info.filename
            made.writestr(name, data, compression)
        made.comment = comment
    return out.getvalue()


def test_archives_of_other_tools_are_refused():
    refused(rezipped())
    refused(rezipped(compression=zipfile.ZIP_DEFLATED))
    refused(rezipped(comment=b"hello"))


def test_a_decompression_bomb_is_refused():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("manifest.json", bytes(50_000_000))
    refused(out.getvalue())


HOSTILE_NAMES = ["../x", "/etc/passwd", "C:\\x", "assets/..", "a", "MANIFEST.JSON", "x" * 60_000]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_hostile_names(name):
    manifest = ("manifest.json", [MANIFEST.to_json()])
    refused(archived([manifest, (name, [b""])]))
    refused(archived([(name, [b""])]))


def test_a_name_twice():
    manifest = ("manifest.json", [MANIFEST.to_json()])
    refused(archived([manifest, manifest]))
    refused(archived([manifest, ("assets/a", [b""]), ("assets/a", [b""])]))


def test_members_in_another_order():
    manifest = ("manifest.json", [MANIFEST.to_json()])
    refused(archived([("assets/a", [b""]), manifest]), "comes first")
    refused(archived([manifest, ("assets/b", [b""]), ("assets/a", [b""])]), "by name")


def test_members_the_manifest_does_not_name():
    manifest = ("manifest.json", [MANIFEST.to_json()])
    refused(archived([manifest, ("assets/a", [b""])]), "assets/a")
    named = replace(MANIFEST, members={"assets/a": Digest("0" * 64, 0)})
    refused(archived([("manifest.json", [named.to_json()])]), "assets/a")
    refused(archived([("manifest.json", [named.to_json()]), ("assets/a", [b""])]), "SHA-256")


@pytest.mark.parametrize("name", ["manifest.json", "examples.json", "programs/predict.tir"])
def test_members_larger_than_their_limit(monkeypatch, name):
    kind = name.partition("/")[0]
    monkeypatch.setitem(bundle.LIMITS, kind, 1)
    refused(packed(), "at most")


def test_huge_numbers_in_the_directory():
    """Sizes and counts are held against the file before anything is done with them."""
    content = packed()
    for at in range(len(content) - 22, len(content) - 3):
        for value in (0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
            damaged = bytearray(content)
            damaged[at : at + 4] = value.to_bytes(4, "little")
            if damaged != content:
                refused(bytes(damaged))


# -- hostile manifests ------------------------------------------------------------------------
def with_manifest(change):
    parts = members()
    digests = {n: bundle._digest(c) for n, c in parts.items()}
    document = json.loads(replace(MANIFEST, members=digests).to_json())
    data = change(document)
    data = json.dumps(document).encode() if data is None else data
    return archived([("manifest.json", [data]), *sorted(parts.items())])


def set_to(*keys):
    *way, last, value = keys

    def change(document):
        for key in way:
            document = document[key]
        document[last] = value

    return change


SPEC = ("signatures", "predict", "inputs", 0)
HOSTILE = {
    "another format": (set_to("format", "zip"), "no bundle"),
    "a later version": (set_to("format_version", 2), "newer Tenor"),
    "version is a float": (set_to("format_version", 1.5), "version"),
    "extra key": (set_to("extra", 1), "exactly"),
    "name": (set_to("name", "../x"), "name"),
    "name is a list": (set_to("name", []), "name"),
    "description": (set_to("description", 1), "description"),
    "producer": (set_to("producer", None), "producer"),
    "signatures": (set_to("signatures", []), "object"),
    "signature name": (set_to("signatures", "a/b", {}), "exactly"),
    "signature": (set_to("signatures", "predict", 1), "object"),
    "inputs": (set_to("signatures", "predict", "inputs", {}), "list of tensors"),
    "spec": (set_to("signatures", "predict", "inputs", [1]), "object"),
    "dtype": (set_to(*SPEC, "dtype", "complex64"), "dtype"),
    "dtype is a list": (set_to(*SPEC, "dtype", []), "dtype"),
    "shape": (set_to(*SPEC, "shape", "batch"), "dims"),
    "long shape": (set_to(*SPEC, "shape", [1] * 33), "dims"),
    "negative size": (set_to(*SPEC, "shape", [-1]), "sizes"),
    "huge size": (set_to(*SPEC, "shape", [1 << 48]), "sizes"),
    "bool size": (set_to(*SPEC, "shape", [True]), "sizes"),
    "symbol": (set_to(*SPEC, "shape", ["a b"]), "shape"),
    "tensor name": (set_to(*SPEC, "name", "a b"), "name"),
    "state of another model": (set_to("signatures", "predict", "state", ["x"]), "unknown"),
    "state of numbers": (set_to("state", [1]), "list of names"),
    "size": (set_to("members", "examples.json", "size", -1), "bytes"),
    "size is a float": (set_to("members", "examples.json", "size", 2.0), "bytes"),
    "another size": (set_to("members", "examples.json", "size", 3), "SHA-256"),
    "hash": (set_to("members", "examples.json", "sha256", "0" * 63), "sha256"),
    "another hash": (set_to("members", "examples.json", "sha256", "0" * 64), "SHA-256"),
    "a list": (lambda _: b"[]", "no bundle"),
    "no json": (lambda _: b"{", "JSON"),
    "deep": (lambda _: b"[" * 100_000, "deep"),
    "not utf-8": (lambda _: b'{"\xff": 1}', "JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "match"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_manifests(change, match):
    refused(with_manifest(change), match)


def test_what_the_hostile_ones_are_made_from_is_accepted():
    assert bundle.parse(memoryview(with_manifest(lambda _: None))).manifest.name == "digits"


def test_digests_are_sha256():
    assert bundle._digest([b"ab", b"c"]).sha256 == hashlib.sha256(b"abc").hexdigest()


# -- work in proportion to the bytes: what is quadratic takes hours here ------------------------
def test_a_key_given_twice_among_many():
    keys = ",".join(f'"{i}":0' for i in range(200_000))
    with pytest.raises(FormatError, match="the key '199999' twice"):
        strict_json.parse(f'{{{keys},"199999":0}}'.encode(), "it")


@pytest.mark.parametrize("part", [b'""', b"0,", b"[]", b"{}"])
def test_more_values_than_can_be_wanted(monkeypatch, part):
    monkeypatch.setattr(strict_json, "MAX_VALUES", 1000)
    with pytest.raises(FormatError, match="more than 1000 values"):
        strict_json.parse(b"[" + part * 1001, "it")


def test_many_signatures_and_many_weights():
    state = tuple(f"w{i}" for i in range(200_000))
    signatures = {f"s{i}": Signature(f"s{i}", (), (), ("w1",)) for i in range(20_000)}
    manifest = Manifest("m", signatures=signatures, state=state)
    assert Manifest.from_json(manifest.to_json()) == manifest
