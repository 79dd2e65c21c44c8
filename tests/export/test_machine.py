"""A model as one function: its object file needs nothing else, and answers as Tenor does."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

import tenor as tn
from tenor.export.fold import folded
from tenor.export.machine import machine_of
from tenor.export.source import opened, source_of
from tenor.ir.target import Target
from tenor.runtime import cpu
from tests.export import zoo

pytestmark = [
    pytest.mark.skipif(not shutil.which("gcc"), reason="gcc links the object"),
    pytest.mark.skipif(cpu.machine() != "x86_64", reason="objects for x86-64 are run here"),
]
TARGETS = {
    "here": cpu.host_target,
    "narrow": lambda: Target("x86_64-unknown-linux-gnu", "x86-64", "", 128, 16, has_fma=False),
}


def aligned(nbytes):
    raw = np.zeros(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def run(machine, given, folder):
    """Link a machine's object file into a library and call it."""
    (folder / "m.o").write_bytes(machine.object_file("run", reloc="pic"))
    undefined = subprocess.run(["nm", "-u", folder / "m.o"], capture_output=True, check=True)
    assert not undefined.stdout.split()
    link = ["gcc", "-shared", "-nostdlib", "-o", folder / "m.so", folder / "m.o"]
    subprocess.run(link, check=True)
    outputs = [np.full(n.shape, 7, n.dtype.numpy) for n in machine.source.outputs.values()]
    weights, workspace = aligned(machine.weights.size), aligned(machine.workspace)
    weights[:] = machine.weights
    workspace[:] = 255  # what was there before must not matter
    tables = [(ctypes.c_void_p * len(a))(*[x.ctypes.data for x in a]) for a in (given, outputs)]
    address = [ctypes.c_void_p(a.ctypes.data) for a in (weights, workspace)]
    status = ctypes.CDLL(str(folder / "m.so")).run(address[0], *tables, address[1])
    assert bytes(weights) == bytes(machine.weights)
    return status, outputs


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", zoo.ZOO)
def test_zoo(name, target, tmp_path):
    path, _ = zoo.bundle(name, tmp_path / "m.tnr")
    source = folded(source_of(opened(path), batch=3))
    given = [np.ascontiguousarray(source.rows[k][:3]) for k in source.inputs]
    status, outputs = run(machine_of(source, TARGETS[target]()), given, tmp_path)
    assert status == 0
    for key, value in zip(source.outputs, outputs, strict=True):
        wanted = source.answers[key][:3]
        largest = max(1, np.abs(wanted).max())
        np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-5 * largest)


def test_given_out_as_it_came(tmp_path):
    class Same(tn.nn.Module):
        def forward(self, x):
            return {"x": x, "y": x + 1, "z": x}

    x = zoo.images(2, 5)
    tn.save(Same(), tmp_path / "m.tnr", example_inputs=x)
    source = folded(source_of(opened(tmp_path / "m.tnr"), batch=2))
    status, outputs = run(machine_of(source, cpu.host_target()), [x], tmp_path)
    assert status == 0
    for value, wanted in zip(outputs, (x, x + 1, x), strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_an_index_out_of_range_is_told(tmp_path):
    path, _ = zoo.bundle("recurrent", tmp_path / "m.tnr")
    source = folded(source_of(opened(path)))
    machine = machine_of(source, cpu.host_target())
    good = np.ascontiguousarray(source.rows["tokens"][:1])
    assert run(machine, [good], tmp_path)[0] == 0
    bad = good.copy()
    bad[0, 3] = 40
    (tmp_path / "bad").mkdir()
    assert run(machine, [bad], tmp_path / "bad")[0] != 0


def test_kernels_that_prepare_are_named_by_what_they_do(tmp_path):
    """Kernels of one name are linked once: two models' must not have names in common by chance."""
    symbols = []
    for name in ("digits", "keywords"):
        path, _ = zoo.bundle(name, tmp_path / f"{name}.tnr")
        machine = machine_of(folded(source_of(opened(path))), cpu.host_target())
        made = machine.whole.preparing(cpu.host_target())
        assert made.symbols
        for text, symbol in zip(made.texts, made.symbols, strict=True):
            assert f"@{symbol}(" in text
        symbols.append(dict(zip(made.symbols, made.texts, strict=True)))
    for symbol in symbols[0].keys() & symbols[1].keys():
        assert symbols[0][symbol] == symbols[1][symbol]
