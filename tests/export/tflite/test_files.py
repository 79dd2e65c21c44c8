"""The file itself: read back by LiteRT's own generated schema; and files that are not written."""

import re
import sys

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.errors import ArgumentError, ExportError
from tenor.export.source import opened
from tenor.export.tflite import check, export_tflite, exported, schema
from tenor.export.tflite.rows import MISSING
from tests.export import zoo
from tests.export.tflite import rounding

pytest.importorskip("flatbuffers")
generated = pytest.importorskip("ai_edge_litert.schema_py_generated")


def read(path):
    """Return a file by the generated reader."""
    return generated.ModelT.InitFromObj(generated.Model.GetRootAs(path.read_bytes(), 0))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    path, _ = zoo.bundle("digits", folder / "m.tnr")
    export_tflite(path, folder / "m.tflite")
    export_tflite(path, folder / "q.tflite", quantization=rounding.minmax(path), edges="int8")
    return folder


def test_our_numbers_are_the_published_ones():
    codes = vars(generated.BuiltinOperator)
    assert {k: v for k, (v, _) in schema.CODES.items()} == {k: codes[k] for k in schema.CODES}
    options = vars(generated.BuiltinOptions)
    assert {k: options[k] for k in schema.OPTIONS} == schema.OPTIONS
    types = vars(generated.TensorType)
    names = {"BOOL": "bool"}
    found = {d.name: n for d, n in schema.TYPES.items()}
    assert found == {names.get(k, k.lower()): v for k, v in types.items()
                     if names.get(k, k.lower()) in found}  # fmt: skip
    assert {k: vars(generated.Padding)[k] for k in schema.PADDING} == schema.PADDING
    assert schema.ACTIVATION["relu6"] == generated.ActivationFunctionType.RELU6


def test_every_operator_s_options_are_in_the_tables():
    tables = {table for _, table in schema.CODES.values() if table}
    assert tables == set(schema.OPTIONS)
    assert tables <= set(schema.TABLES)


SLOT = re.compile(r"Prepend(\w+)Slot\((\d+),")
KINDS = {
    "i8": "Int8", "u8": "Uint8", "i32": "Int32", "u32": "Uint32", "f32": "Float32", "bool": "Bool",
}  # fmt: skip
RENAMED = {
    "Quantization": "QuantizationParameters",
    "activation": "FusedActivationFunction", "dilation_w": "DilationWFactor",
    "dilation_h": "DilationHFactor", "dilation_d": "DilationDFactor",
    "multiplier": "DepthMultiplier", "asymmetric": "AsymmetricQuantizeInputs",
    "in_type": "InDataType", "out_type": "OutDataType", "options_type": "BuiltinOptionsType",
    "options": "BuiltinOptions", "dimension": "QuantizedDimension", "key": "SignatureKey",
}  # fmt: skip


def test_every_field_has_its_number_and_type():
    import inspect

    count = 0
    for table, fields in schema.TABLES.items():
        for field, (number, kind) in fields.items():
            name = RENAMED.get(field) or "".join(p.capitalize() for p in field.split("_"))
            add = getattr(generated, f"{RENAMED.get(table, table)}Add{name}")
            written, place = SLOT.search(inspect.getsource(add)).groups()
            assert (int(place), written) == (number, KINDS.get(kind, "UOffsetTRelative")), name
            count += 1
    assert count > 90


@pytest.mark.parametrize("name", ["m.tflite", "q.tflite"])
def test_a_file_s_parts(digits, name):
    data = (digits / name).read_bytes()
    assert data[4:8] == b"TFL3"
    model = read(digits / name)
    assert model.version == 3
    assert model.buffers[0].data is None
    (graph,) = model.subgraphs
    used = {t for o in graph.operators for t in (*o.inputs, *o.outputs)}
    assert used == set(range(len(graph.tensors)))
    (signature,) = model.signatureDefs
    assert signature.signatureKey == b"predict"
    assert [(m.name, m.tensorIndex) for m in signature.inputs] == [(b"x", graph.inputs[0])]
    assert [(m.name, m.tensorIndex) for m in signature.outputs] == [(b"output", graph.outputs[0])]
    codes = {c.builtinCode: c.version for c in model.operatorCodes}
    assert codes[schema.CODES["CONV_2D"][0]] == (3 if name[0] == "q" else 1)
    assert codes[schema.CODES["FULLY_CONNECTED"][0]] == (4 if name[0] == "q" else 1)


def test_constants_begin_at_multiples_of_16(digits):
    data = (digits / "m.tflite").read_bytes()
    model = generated.Model.GetRootAs(data, 0)
    count = 0
    for i in range(model.BuffersLength()):
        table = model.Buffers(i)
        if table.DataLength():
            at = table._tab.Vector(table._tab.Offset(4))
            assert at % 16 == 0
            count += 1
    assert count >= 6


def test_weights_in_eight_bits_are_symmetric_by_channel(digits):
    graph = read(digits / "q.tflite").subgraphs[0]
    model = read(digits / "q.tflite")
    conv = schema.CODES["CONV_2D"][0]
    seen = 0
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == conv:
            x, w, b = (graph.tensors[i] for i in operator.inputs)
            assert w.quantization.quantizedDimension == 0
            assert len(w.quantization.scale) == w.shape[0]
            assert not np.any(w.quantization.zeroPoint)
            stored = np.frombuffer(bytes(model.buffers[w.buffer].data), np.int8)
            assert stored.min() >= -127
            np.testing.assert_allclose(
                b.quantization.scale, x.quantization.scale * w.quantization.scale, rtol=1e-6
            )
            seen += 1
    assert seen == 2


def test_a_signature_is_called_by_names(digits):
    from ai_edge_litert.interpreter import Interpreter

    engine = Interpreter(str(digits / "m.tflite"))
    run = engine.get_signature_runner("predict")
    example = opened(digits / "m.tnr").examples["predict"]
    got = run(x=example.inputs["x"][:1])["output"]
    np.testing.assert_allclose(got, example.outputs["output"][:1], atol=1e-6)


class Sorted(nn.Module):
    def forward(self, x):
        y = x.clone()
        y[x.argmax(1)] = 0.0
        return y


def test_a_model_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    x = np.eye(4, dtype=np.float32)
    with pytest.raises(ExportError, match="sets nothing at indices that are computed") as refusal:
        export_tflite(Sorted(), path, example_inputs=x)
    assert "where() with a mask" in str(refusal.value)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


def test_a_dtype_that_cannot_be_written(tmp_path):
    with pytest.raises(ExportError, match="float64"):
        export_tflite(nn.ReLU(), tmp_path / "m.tflite", example_inputs=np.ones((2, 3)))
    assert not list(tmp_path.iterdir())


def test_a_file_that_answers_wrongly_is_not_written(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(exported, "compared", lambda *_, **__: (3e-3, 8))
    with pytest.raises(ExportError, match=r"within 0\.0001"):
        export_tflite(digits / "m.tnr", tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


def test_without_litert_the_file_is_written_and_the_report_says_it_was_not_run(
    digits, tmp_path, monkeypatch
):
    monkeypatch.setattr(check, "litert", lambda: None)
    made = export_tflite(digits / "m.tnr", tmp_path / "m.tflite")
    assert (made.difference, made.rows) == (None, 0)
    assert (tmp_path / "m.tflite").read_bytes() == (digits / "m.tflite").read_bytes()


def test_without_flatbuffers(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ExportError, match=r"pip install .tenor\[tflite\]"):
        export_tflite(digits / "m.tnr", tmp_path / "m.tflite")


def test_another_model_s_quantization(digits, tmp_path):
    path, _ = zoo.bundle("mlp", tmp_path / "m.tnr")
    with pytest.raises(ArgumentError, match="must be of the model"):
        export_tflite(path, tmp_path / "m.tflite", quantization=rounding.minmax(digits / "m.tnr"))


def test_arguments(digits, tmp_path):
    with pytest.raises(ArgumentError, match="edges"):
        export_tflite(digits / "m.tnr", tmp_path / "m.tflite", edges="int16")
    with pytest.raises(ArgumentError, match="weights"):
        export_tflite(digits / "m.tnr", tmp_path / "m.tflite", weights="int4")
    with pytest.raises(ArgumentError, match="example_inputs"):
        export_tflite(nn.ReLU(), tmp_path / "m.tflite")


def test_a_module(tmp_path):
    tn.manual_seed(1)
    made = export_tflite(nn.Linear(3, 2), tmp_path / "m.tflite",
                         example_inputs=np.ones((2, 3), np.float32))  # fmt: skip
    assert made.operators == {"FULLY_CONNECTED": 1}
    assert made.rows == 2


def test_the_page_names_what_is_missing():
    from pathlib import Path

    page = (Path(__file__).parents[3] / "docs" / "tflite.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page.split("cannot be written")[1], re.M))
    assert rows == {name: instead for name, (_, instead) in MISSING.items()}
