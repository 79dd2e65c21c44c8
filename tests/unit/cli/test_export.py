"""`tenor export` and `tenor benchmark`: what is written, what is said, and what is refused."""

import importlib.util
import re

import numpy as np
import pytest

import tenor as tn
from tenor.cli import console
from tenor.explain.units import bytes_text
from tenor.export.edge import TARGETS
from tenor.export.edge import benchmark as measured
from tenor.save import examples

NEEDS = {"web": (), "edge": (), "onnx": ("onnx",), "tflite": ("flatbuffers",)}
WRITTEN = {
    "web": ("model.js", "weights.bin", "index.html"),
    "edge": ("small.h", "small.o", "small_weights.bin"),
}


def able(to):
    for module in NEEDS[to]:
        pytest.importorskip(module)


@pytest.fixture
def rows(small, tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, small[1])
    return path


@pytest.mark.parametrize("to", NEEDS)
def test_each_kind_is_written_where_it_is_asked_to(tenor, small, to, tmp_path):
    able(to)
    place = tmp_path / "out"
    status, text, errors = tenor("export", small[0], "--to", to, "--out", place)
    assert (status, errors) == (0, "")
    for name in WRITTEN.get(to, ()):
        assert (place / name).stat().st_size > 0
        assert name in text
    if to not in WRITTEN:
        assert place.stat().st_size > 200


@pytest.mark.parametrize(("to", "name"), [("edge", "small_edge"), ("onnx", "small.onnx")])
def test_by_default_it_stands_beside_the_model(tenor, small, to, name, tmp_path):
    able(to)
    path = tmp_path / "small.tnr"
    path.write_bytes(small[0].read_bytes())
    assert tenor("export", path, "--to", to)[0] == 0
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("to", NEEDS)
def test_eight_bits_with_a_report(tenor, small, to, rows, tmp_path):
    able(to)
    page, place = tmp_path / "report.html", tmp_path / "out"
    status, _, errors = tenor(
        "export", small[0], "--to", to, "--out", place, "--int8", "entropy",
        "--rows", rows, "--report", page,
    )  # fmt: skip
    assert status == 0
    assert "small: int8" in errors
    assert "on 6 rows" in errors
    assert f"wrote {page}" in re.sub(r"\n", "", errors)
    assert "<html" in page.read_text()
    assert place.exists()


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_a_training_step_by_the_name_of_its_loss(tenor, small, loss, tmp_path):
    place = tmp_path / "out"
    status, _, errors = tenor(
        "export", small[0], "--to", "web", "--train", "--loss", loss, "--out", place
    )
    assert (status, errors) == (0, "")
    assert (place / "training.js").exists()


def test_eight_bits_are_in_what_is_written(tenor, small, tmp_path):
    onnx = pytest.importorskip("onnx")
    place = tmp_path / "m.onnx"
    assert tenor("export", small[0], "--to", "onnx", "--out", place, "--int8")[0] == 0
    kinds = {node.op_type for node in onnx.load(place).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--to", "onnx", "--target", "cortex-m4"), "--target"),
        (("--to", "edge", "--train"), "--train"),
        (("--to", "onnx", "--weights", "f16", "--form", "c"), "--form, --weights"),
        (("--to", "edge", "--rows", "x.npy"), "--int8"),
        (("--to", "edge", "--report", "x.html"), "--int8"),
        (("--to", "edge", "--target", "z80"), "cortex-m4"),
        (("--to", "edge", "--signature", "teach"), "teach"),
        (("--to", "web", "--weights", "f8"), "f16"),
    ],
)
def test_wrong_options_are_refused_and_nothing_written(tenor, small, options, said, tmp_path):
    place = tmp_path / "out"
    status, text, errors = tenor("export", small[0], "--out", place, *options)
    assert (status, text) == (1, "")
    assert said in errors
    assert not place.exists()


@pytest.mark.parametrize("options", [(), ("--to", "java"), ("--to", "edge", "--int8", "guess"),
                                     ("--to", "edge", "--batch", "0")])  # fmt: skip
def test_wrong_use_is_status_2(tenor, small, options):
    status, _, errors = tenor("export", small[0], *options)
    assert status == 2
    assert "Error" in errors


@pytest.mark.parametrize("command", ["export", "benchmark"])
def test_eight_bits_without_rows_are_refused(tenor, command, tmp_path, monkeypatch):
    path, to = tmp_path / "m.tnr", ("--to", "edge") if command == "export" else ()
    monkeypatch.setattr(examples, "MAX_BYTES", 0)
    tn.save.save(tn.nn.Linear(4, 2), path, example_inputs=tn.ones(2, 4))
    status, _, errors = tenor(command, path, *to, "--int8")
    assert status == 1
    assert "--rows" in errors
    rows = tmp_path / "rows.json"
    rows.write_text("[[1, 2, 3, 4]]")
    assert tenor(command, path, *to, "--int8", "--rows", rows)[0] == 0


@pytest.mark.parametrize(
    ("to", "module", "extra"), [("onnx", "onnx", "onnx"), ("tflite", "flatbuffers", "tflite")]
)
def test_a_missing_extra_is_named(tenor, small, to, module, extra, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == module else found(name, *a)
    )
    status, _, errors = tenor("export", small[0], "--to", to, "--out", tmp_path / "out")
    assert status == 1
    assert f'pip install "tenor[{extra}]"' in errors
    assert not (tmp_path / "out").exists()


def test_the_demo_asks_for_its_own_extras_alone(monkeypatch):
    from tenor.cli.demo import NEEDS as wanted

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None)
    lacking = console.missing(wanted)
    assert "tensorboard" in lacking
    assert not {"onnx", "flatbuffers", "wgpu"} & set(lacking)


# -- benchmark --------------------------------------------------------------------------------
def table(text):
    """Return a table's rows: each target and its cells."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip()]
    return {cells[0]: cells[1:] for cells in lines}


def test_a_row_for_each_machine(tenor, small, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    status, text, _ = tenor(
        "benchmark", small[0], "--target", "cortex-m4", "--target", "aarch64-macos"
    )
    assert status == 0
    found = table(text)
    assert found["target"] == ["code", "weights", "workspace (peak RAM)", "time", "how"]
    for name in ("cortex-m4", "aarch64-macos"):
        wanted = measured(small[0], name)
        sizes = map(bytes_text, (wanted.code, wanted.weights, wanted.workspace))
        assert found[name] == [*sizes, "-", "not run here"]


def test_what_can_be_run_has_a_time(tenor, small, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    said = {"x86_64-baseline": "native", "aarch64-linux": "emulated"}
    run = {name: measured(small[0], name).how for name in said}
    status, text, _ = tenor("benchmark", small[0], *(x for n in said for x in ("--target", n)))
    assert status == 0
    found = table(text)
    for name, how in run.items():
        assert how in ("", said[name])
        *_, time, last = found[name]
        assert last == (how or "not run here")
        assert (time == "-") == (how == "")
    assert ("says nothing about" in text) == (run["aarch64-linux"] == "emulated")


def test_eight_bits_take_fewer_bytes(tenor, small, rows, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    plain = tenor("benchmark", small[0], "--target", "cortex-m4")
    eight = tenor("benchmark", small[0], "--target", "cortex-m4", "--int8", "minmax",
                  "--rows", rows, "--batch", 2)  # fmt: skip
    assert plain[0] == eight[0] == 0
    assert table(plain[1])["cortex-m4"] != table(eight[1])["cortex-m4"]


def test_an_unknown_machine_is_said_before_any_is_measured(tenor, small):
    status, text, errors = tenor("benchmark", small[0], "--target", "cortex-m4", "--target", "z80")
    assert (status, text) == (1, "")
    assert "z80" in errors
    assert all(name in errors for name in list(TARGETS)[:2])
