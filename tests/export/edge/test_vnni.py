"""Eight bits on machines of one family: other instructions, the same answers."""

import numpy as np
import pytest

from tenor.export.contents import undefined
from tenor.export.edge import benchmark, export_edge
from tenor.export.fold import folded
from tenor.export.quantize import calibrate
from tenor.export.source import opened, source_of
from tenor.runtime import cpu
from tests.export import zoo
from tests.export.edge.machines import answered, done, needs

FEATURES = cpu.host_target().features.split(",")
pytestmark = pytest.mark.skipif(cpu.machine() != "x86_64", reason="code for x86-64 is run here")
avx2 = pytest.mark.skipif("+avx2" not in FEATURES, reason="needs a processor with AVX2")
vnni = pytest.mark.skipif("+avx512vnni" not in FEATURES, reason="needs a processor with VNNI")


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """Return a function of a model's name: its bundle, its source, its record, a row."""
    folder = tmp_path_factory.mktemp("bundles")

    def of(name):
        path, _ = zoo.bundle(name, folder / f"{name}.tnr")
        source = folded(source_of(opened(path), batch=1))
        how = calibrate(source, dict(source.rows))
        return path, source, how, [source.rows[n][:1] for n in source.inputs]

    return of


@vnni
@pytest.mark.parametrize("name", ["digits", "keywords"])
def test_products_of_bytes_answer_as_products_of_pairs_do(name, eight, tmp_path):
    path, source, how, given = eight(name)
    found = []
    for target in ("x86_64-linux", "x86_64-avx512", "x86_64-vnni", "native"):
        made = export_edge(path, tmp_path / target, target=target, quantization=how)
        found.append(answered(made, source, given)[0])
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    floats = export_edge(path, tmp_path / "float", target="x86_64-vnni")
    exact = answered(floats, source, given)[0]
    assert 0 < np.abs(found[0] - exact).max() < 0.05 * np.abs(exact).max()


@avx2
@pytest.mark.parametrize("kind", ["float", "eight"])
@pytest.mark.parametrize(
    "name", ["digits", "keywords", pytest.param("mobilenet", marks=pytest.mark.slow)]
)
def test_an_object_answers_alike_on_every_processor(name, kind, eight, tmp_path):
    """The emulator has neither AVX-512 nor VNNI, and tells so."""
    path, source, how, given = eight(name)
    emulator = needs("qemu-x86_64-static")
    quantization = how if kind == "eight" else None
    made = export_edge(path, tmp_path, target="x86_64-linux", quantization=quantization)
    here = answered(made, source, given)
    there = answered(made, source, given, [emulator, "-cpu", "Haswell"])
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


def test_code_holds_what_a_processor_may_have(eight, tmp_path):
    """Bytes are multiplied by VNNI in both its forms, floats in vectors of 512 bits."""
    path, _, how, _ = eight("digits")
    objdump = needs("objdump")
    listed = {}
    for kind, quantization in (("float", None), ("eight", how)):
        made = export_edge(path, tmp_path / kind, target="x86_64-linux", quantization=quantization)
        (file,) = [f for f in made.files if f.suffix == ".o"]
        assert undefined(file.read_bytes()) == ()
        listed[kind] = done([objdump, "-d", "-M", "intel", file])
    for word in ("cpuid", "xgetbv", "zmm"):
        assert word in listed["eight"]
        assert word in listed["float"]
    for word in ("vpdpbusd", "{vex} vpdpbusd", "vpmaddwd"):
        assert word in listed["eight"]
        assert word not in listed["float"]
    export_edge(path, tmp_path / "coff", target="x86_64-windows", quantization=how)
    assert undefined((tmp_path / "coff" / "digits.o").read_bytes()) == ()


def test_weights_of_eight_bits_take_a_byte_each(eight, tmp_path):
    path, _, how, _ = eight("keywords")
    one, two = (export_edge(path, tmp_path / t, target=t, quantization=how)
                for t in ("x86_64-linux", "x86_64-avx512"))  # fmt: skip
    assert one.weights < 0.7 * two.weights


def test_this_machine_is_a_target(eight, tmp_path):
    path, _, how, _ = eight("digits")
    objdump = needs("objdump")
    made = export_edge(path, tmp_path, target="native", quantization=how)
    assert made.target == "native"
    (file,) = [f for f in made.files if f.suffix == ".o"]
    text = done([objdump, "-d", file])
    assert ("vpdpbusd" in text) == cpu.host_target().byte_dots
    assert "cpuid" not in text
    needs("gcc")
    assert benchmark(path, "native", quantization=how).how == "native"
