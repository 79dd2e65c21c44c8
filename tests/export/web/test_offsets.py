"""Constants folded into loads and stores: the same is computed, by fewer bytes."""

import numpy as np
import pytest

from tenor.export.web import linker, offsets
from tenor.export.web.offsets import leb, tightened
from tenor.ir.target import Target
from tenor.runtime import cross

GET, CONST, ADD, LOAD, STORE, END = b"\x20\0", b"\x41", b"\x6a", b"\x28\2", b"\x36\2", b"\x0b"


def section(*bodies):
    made = [leb(len(b) + 2) + b"\0" + b + END for b in bodies]
    return leb(len(bodies)) + b"".join(made)


def signed(value):
    made = bytearray()
    while True:
        byte, value = value & 127, value >> 7
        if (value == 0 and not byte & 64) or (value == -1 and byte & 64):
            return bytes([*made, byte])
        made.append(byte | 128)


def added(value):
    return GET + CONST + signed(value) + ADD


SPLAT = b"\xfd\x09\2"
FOLDED = {
    "a load": (added(8) + LOAD + leb(0), GET + LOAD + leb(8)),
    "with an offset": (added(300) + LOAD + leb(4), GET + LOAD + leb(304)),
    "a vector": (added(64) + SPLAT + leb(0), GET + SPLAT + leb(64)),
    "a store": (added(16) + b"\x20\1" + STORE + leb(0), GET + b"\x20\1" + STORE + leb(16)),
    "a lane": (added(16) + b"\x20\1\xfd\x58\0\0\3", GET + b"\x20\1\xfd\x58\0\x10\3"),
    "at the limit": (added(1000) + LOAD + leb(24), GET + LOAD + leb(1024)),
}
KEPT = {
    "negative": added(-16) + LOAD + leb(0),
    "over the limit": added(1000) + LOAD + leb(25),
    "an address of data": GET + CONST + b"\x88\x80\x80\x80\0" + ADD + LOAD + leb(0),
    "of the value": GET + added(8) + STORE + leb(0),
    "before a computed value": added(8) + b"\x20\1\x20\1" + ADD + STORE + leb(0),
    "not unknown": added(8) + b"\xff",
    "inside a constant": b"\xfd\x0c" + bytes([0x41, 8, 0x6A, 0x28, 2, 0, *range(10)]),
    "between loads of the stack": added(8) + b"\x20\1" + LOAD + leb(0),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folded(name):
    given, wanted = FOLDED[name]
    assert tightened(section(given, given), 1024) == section(wanted, wanted)


@pytest.mark.parametrize("name", KEPT)
def test_kept(name):
    given = section(KEPT[name])
    assert tightened(given, 1024) == given


def test_numbers_take_as_few_bytes_as_they_need():
    call, branch = b"\x10\x85\x80\x80\x80\0", b"\x0e\2\0\1\0"
    assert tightened(section(call + branch), 0) == section(b"\x10\5" + branch)


EVERY = """
declare <4 x float> @llvm.fmuladd.v4f32(<4 x float>, <4 x float>, <4 x float>)
define void @run(ptr %a, i32 %n) {
entry:
  br label %loop
loop:
  %i = phi i32 [ 0, %entry ], [ %next, %loop ]
  %p = getelementptr float, ptr %a, i32 %i
  %q = getelementptr float, ptr %p, i32 400
  %r = getelementptr float, ptr %p, i32 1200
  %x = load <4 x float>, ptr %p, align 4
  %y = load <4 x float>, ptr %q, align 4
  %z = call <4 x float> @llvm.fmuladd.v4f32(<4 x float> %x, <4 x float> %y, <4 x float> %y)
  store <4 x float> %z, ptr %r, align 4
  %next = add i32 %i, 4
  %more = icmp slt i32 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""


def test_the_same_is_computed(monkeypatch):
    wasmtime = pytest.importorskip("wasmtime", reason="pip install wasmtime")
    data = cross.object_file(EVERY, Target.wasm32())
    modules = [linker.link(data, 16384).module]
    monkeypatch.setattr(linker, "tightened", lambda code, _lowest: code)
    modules.append(linker.link(data, 16384).module)
    assert len(modules[0]) < len(modules[1])
    given, seen = np.random.default_rng(0).random(800, np.float32), []
    for module in modules:
        store = wasmtime.Store()
        exports = wasmtime.Instance(store, wasmtime.Module(store.engine, module), []).exports(store)
        heap = exports["__heap_base"].value(store)
        exports["memory"].write(store, given.tobytes(), heap)
        exports["run"](store, heap, 400)
        raw = exports["memory"].read(store, heap + 4800, heap + 6400)
        seen.append(np.frombuffer(raw, np.float32))
    np.testing.assert_array_equal(*seen)
    np.testing.assert_allclose(seen[0], given[:400] * given[400:] + given[400:], rtol=1e-6)


def test_every_instruction_of_the_zoo_is_known(tmp_path, monkeypatch):
    """No body is left as it is because an instruction of it is not known."""
    from tenor.export.fold import folded
    from tenor.export.source import opened, source_of
    from tenor.export.web.module import modules_of
    from tests.export import zoo

    read, unknown = offsets._read, []

    def watched(data, at):
        instr, end = read(data, at)
        if instr is None:
            unknown.append(data[at : at + 3])
        return instr, end

    monkeypatch.setattr(offsets, "_read", watched)
    for name in ("digits", "tabular", "transformer", "recurrent", "sound"):
        path, _ = zoo.bundle(name, tmp_path / f"{name}.tnr")
        modules_of(folded(source_of(opened(path))))
    assert not unknown
