"""What is written: headers whose examples run, C99 files, libraries; and what is refused."""

import ctypes
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import tenor as tn
from tenor.errors import ArgumentError, ExportError, SaveError
from tenor.export.contents import contents
from tenor.export.edge import TARGETS, benchmark, export_edge, unsupported
from tenor.export.edge.header import identifier
from tenor.export.fold import folded
from tenor.export.source import opened, source_of
from tenor.runtime import cpu
from tests.export import zoo
from tests.export.edge.machines import done, needs

STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]
here = pytest.mark.skipif(cpu.machine() != "x86_64", reason="code for x86-64 is run here")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    known = {}

    def of(name):
        if name not in known:
            known[name] = zoo.bundle(name, folder / f"{name}.tnr")[0]
        return known[name]

    return of


def aligned(nbytes):
    raw = np.zeros(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def called(library, made, source, given):
    """Call a library's function; return its answers."""
    run = getattr(ctypes.CDLL(str(library)), f"{made.name}_run")
    weights, workspace = aligned(made.weights), aligned(made.workspace)
    stored = next(f for f in made.files if f.suffix == ".bin").read_bytes()
    weights[:], workspace[:] = np.frombuffer(stored, np.uint8), 255
    outputs = [np.full(n.shape, 7, n.dtype.numpy) for n in source.outputs.values()]
    tables = [(ctypes.c_void_p * len(a))(*[x.ctypes.data for x in a]) for a in (given, outputs)]
    places = [ctypes.c_void_p(a.ctypes.data) for a in (weights, workspace)]
    assert run(places[0], *tables, places[1]) == 0
    return outputs


def right(library, made, path, batch):
    source = folded(source_of(opened(path), batch=batch))
    given = [np.ascontiguousarray(source.rows[k][:batch]) for k in source.inputs]
    for name, got in zip(source.outputs, called(library, made, source, given), strict=True):
        wanted = source.answers[name][:batch]
        room = 1e-5 * max(1, np.abs(wanted).max())
        np.testing.assert_allclose(got, wanted, rtol=0, atol=room)


@pytest.mark.parametrize(
    "name", ["digits", "residual", "recurrent", "transformer", "tabular", "sound"]
)
def test_a_c99_file_compiles_without_a_warning_and_answers(name, bundles, tmp_path):
    compiler = needs("gcc")
    made = export_edge(bundles(name), tmp_path, form="c", batch=3)
    assert made.target == "c99"
    library = tmp_path / "lib.so"
    done(
        [compiler, *STRICT, "-O1", "-shared", "-fPIC", "-o", library, tmp_path / f"{name}.c", "-lm"]
    )
    right(library, made, bundles(name), 3)


@here
def test_a_library_answers(bundles, tmp_path):
    needs("gcc")
    made = export_edge(
        bundles("tabular"), tmp_path, form="shared", target="x86_64-baseline", batch=2
    )
    (library,) = [f for f in made.files if f.name == "libtabular.so"]
    right(library, made, bundles("tabular"), 2)


@here
@pytest.mark.parametrize("weights", ["bin", "array"])
@pytest.mark.parametrize("form", ["object", "c"])
def test_the_example_in_the_header_is_a_program(form, weights, bundles, tmp_path):
    compiler = needs("gcc")
    made = export_edge(
        bundles("tabular"), tmp_path, form=form, weights=weights, target="x86_64-baseline"
    )
    text = (tmp_path / "tabular.h").read_text()
    block = re.search(r"^ \* Example:\n(.*?)^ \*/", text, re.DOTALL | re.MULTILINE)[1]
    program = "\n".join(line[7:] for line in block.splitlines())
    (tmp_path / "example.c").write_text(program + "\n")
    code = next(f for f in made.files if f.suffix in (".o", ".c"))
    done([compiler, *STRICT, "-o", tmp_path / "example", tmp_path / "example.c", code, "-lm"])
    done([tmp_path / "example"], cwd=tmp_path)
    for value in (made.weights, made.workspace):
        assert f"_BYTES {value}\n" in text
    for part in ("float32 [1, 5]", "int64 [1, 3]", "float32 [1, 4]", "int64 [1]"):
        assert part in text


def test_the_header_is_one_of_cpp_too(bundles, tmp_path):
    compiler = needs("g++")
    export_edge(bundles("digits"), tmp_path, weights="array")
    (tmp_path / "a.cpp").write_text('#include "digits.h"\n#include "digits_weights.h"\n'
                                    "const void *a = digits_weights;\n")  # fmt: skip
    done([compiler, "-Wall", "-Werror", "-fsyntax-only", tmp_path / "a.cpp"])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "name", [n if n == "tabular" else pytest.param(n, marks=pytest.mark.slow)
             for n in zoo.ZOO],
)  # fmt: skip
def test_an_object_lacks_nothing(name, target, bundles, tmp_path):
    made = export_edge(bundles(name), tmp_path, target=target)
    data = (tmp_path / f"{name}.o").read_bytes()
    found = contents(data)
    assert found.undefined == ()
    assert found.code + found.constants == made.code > 500
    if data[:4] == b"\x7fELF":
        listed = subprocess.run(
            [needs("readelf"), "-sW", tmp_path / f"{name}.o"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        rows = [line.split() for line in listed.splitlines() if "UND" in line]
        assert [row for row in rows if len(row) > 7] == []
        assert re.search(rf"GLOBAL +DEFAULT +\d+ {name}_run$", listed, re.MULTILINE)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"target": "z80"}, "cortex-m4"),
        ({"form": "exe"}, "'object'"),
        ({"weights": "txt"}, "'bin'"),
    ],
)
def test_what_there_is_not_is_refused(wrong, said, bundles, tmp_path):
    with pytest.raises(ArgumentError) as caught:
        export_edge(bundles("tabular"), tmp_path / "new", **wrong)
    assert said in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_what_a_machine_cannot_compute_is_named_and_nothing_written(tmp_path):
    class Half(tn.nn.Module):
        def forward(self, x):
            return (x.half() * x.half()).float()

    x = zoo.images(1, 3)
    assert "float16" in unsupported("riscv32-bare")["mul"]
    assert unsupported("cortex-m4") == {}
    with pytest.raises(ExportError) as caught:
        export_edge(Half(), tmp_path / "new", target="riscv32-bare", example_inputs=x)
    assert "mul in float16, operation " in str(caught.value)
    assert "in 'predict'" in str(caught.value)
    assert "form='c'" in str(caught.value)
    assert not (tmp_path / "new").exists()
    export_edge(Half(), tmp_path / "c", target="riscv32-bare", form="c", example_inputs=x)


def test_what_nobody_foresaw_is_named_all_the_same(tmp_path, monkeypatch):
    """A routine that is missing after all is found in the object, before anything is written."""

    class Half(tn.nn.Module):
        def forward(self, x):
            return (x.half() * x.half()).float()

    row = replace(TARGETS["riscv32-bare"], lacks=())
    monkeypatch.setitem(TARGETS, "riscv32-bare", row)
    with pytest.raises(ExportError) as caught:
        export_edge(
            Half(), tmp_path / "new", target="riscv32-bare", example_inputs=zoo.images(1, 3)
        )
    assert "cast" in str(caught.value)
    assert "__truncsfhf2" in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_a_file_is_refused(bundles, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SaveError):
        export_edge(bundles("tabular"), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_names_are_ones_of_c():
    names = ("digits", "My model!", "3d", "int", "größe", "")
    assert [identifier(n) for n in names] == [
        "digits", "my_model", "model_3d", "model_int", "gr_e", "model",
    ]  # fmt: skip


def test_names_that_meet_are_told_apart(tmp_path):
    class Twice(tn.nn.Module):
        def forward(self, x):
            return {"X": x + 1, "workspace": x * 2}

    export_edge(Twice(), tmp_path, example_inputs=zoo.images(1, 3))
    text = (tmp_path / "twice.h").read_text()
    for part in ("TWICE_X_COUNT 3", "TWICE_X__COUNT 3", "TWICE_WORKSPACE__COUNT 3"):
        assert part in text


def test_a_report_tells_sizes_and_time(bundles):
    report = benchmark(bundles("tabular"), "cortex-m4")
    assert (report.seconds, report.how) == (None, "")
    assert min(report.code, report.weights, report.workspace) > 0
    if cpu.machine() == "x86_64":
        needs("gcc")
        report = benchmark(bundles("tabular"), "x86_64-baseline")
        assert report.how == "native"
        assert 0 < report.seconds < 1
