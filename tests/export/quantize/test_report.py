"""What the report says against the same worked out by NumPy, layer by layer."""

import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.export.fold import folded
from tenor.export.quantize import calibrate, report, weights_only
from tenor.export.source import opened, source_of
from tests.export import zoo

SIZES = (7, 16, 9, 4)


def network():
    tn.manual_seed(3)
    model = nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, 4))
    rows = np.random.default_rng(0).standard_normal((24, 7)).astype(np.float32)
    return model, rows, folded(source_of(opened(model, rows), batch=8))


def rounded(x, low, high):
    """Return what is left of x in 256 steps of a range, by the textbook."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    zero = np.rint(-128 - low / scale)
    return ((np.clip(np.rint(x / scale) + zero, -128, 127) - zero) * scale).astype(np.float32)


def steps(weight):
    """Return a weight (D_out, D_in) in 127 steps a row."""
    scale = np.abs(weight).max(1, keepdims=True) / 127
    return np.rint(weight / scale) * scale


def parameters(layer):
    return layer.weight.detach().numpy().astype(np.float64), layer.bias.detach().numpy()


def by_numpy(model, rows, on, held):
    """Return the result of each layer; those in `on` are quantised by the ranges in `held`."""

    def end(name, value):
        return rounded(value, *held[name]) if name in on else value

    found, x = {}, end("x", rows)
    found["x"] = x
    for at in (0, 2, 4):
        weight, bias = parameters(model[at])
        weight = steps(weight) if str(at) in on else weight
        x = x @ weight.T + bias
        if at == 0:
            x = np.maximum(x, 0)
        x = found[str(at)] = end(str(at), x)
        if at == 2:
            x = found["tanh"] = end("tanh", np.tanh(x))
    return found


def decibels(exact, came):
    return 10 * math.log10(np.sum(exact**2) / np.sum((came - exact) ** 2))


def test_each_layer_is_numpys():
    model, rows, source = network()
    found = report(calibrate(source, rows), rows)
    exact = by_numpy(model, rows, (), {})
    held = {name: (float(v.min()), float(v.max())) for name, v in exact.items()}
    held["tanh"] = (-1.0, 127 / 128)
    names = list(exact)
    assert {x.name for x in found.layers} == set(names)
    through = by_numpy(model, rows, names, held)
    for layer in found.layers:
        alone = by_numpy(model, rows, (layer.name,), held)
        name = layer.name
        assert abs(layer.alone.decibels - decibels(exact[name], alone[name])) < 0.3
        assert abs(layer.through.decibels - decibels(exact[name], through[name])) < 0.5
        off = np.linalg.norm(alone["4"] - exact["4"]) / np.linalg.norm(exact["4"])
        np.testing.assert_allclose(layer.output.relative, off, rtol=0.05)
        low, high = min(held[name][0], 0.0), max(held[name][1], 0.0)
        np.testing.assert_allclose((layer.low, layer.high), (low, high), atol=1.01 * layer.scale)
    (out,) = found.outputs
    assert abs(out.error.decibels - decibels(exact["4"], through["4"])) < 0.5
    assert out.agreement == np.mean(exact["4"].argmax(1) == through["4"].argmax(1))
    np.testing.assert_allclose(out.largest, np.abs(through["4"] - exact["4"]).max(), rtol=0.1)


def test_the_most_harmful_layer_comes_first():
    _, rows, source = network()
    found = report(calibrate(source, rows), rows)
    harm = [x.output.relative for x in found.layers]
    assert harm == sorted(harm, reverse=True)
    assert harm[0] > 0


def test_bytes():
    _, rows, source = network()
    found = report(calibrate(source, rows), rows)
    weights, outputs = sum(a * b for a, b in pairwise(SIZES)), sum(SIZES[1:])
    assert found.bytes_before == 4 * (weights + outputs)
    assert found.bytes_after == weights + 4 * outputs + 4 * outputs  # scales, and biases
    assert sum(x.bytes_before for x in found.layers) == 4 * weights


def test_weights_alone():
    model, rows, source = network()
    found = report(weights_only(source), rows)
    assert {x.name for x in found.layers} == {"0", "2", "4"}
    assert all(math.isnan(x.low) for x in found.layers)
    exact = by_numpy(model, rows, (), {})
    for layer in found.layers:
        weight, bias = parameters(model[int(layer.name)])
        before = {"0": rows, "2": exact["0"], "4": exact["tanh"]}[layer.name]
        came = before @ steps(weight).T + bias
        came = np.maximum(came, 0) if layer.name == "0" else came
        assert abs(layer.alone.decibels - decibels(exact[layer.name], came)) < 0.2
    assert "float32" in found.text()


def test_rows_of_a_last_batch_are_counted_once():
    _, rows, source = network()
    found = report(calibrate(source, rows), rows[:11])
    assert found.rows == 11
    whole = [report(calibrate(source, rows), part).outputs[0].error.noise
             for part in (rows[:8], rows[8:11])]  # fmt: skip
    np.testing.assert_allclose(found.outputs[0].error.noise, sum(whole), rtol=1e-6)


@pytest.mark.parametrize("name", ["digits", "recurrent", "tabular"])
def test_models(name, tmp_path):
    path, rows = zoo.bundle(name, tmp_path / "m.tnr")
    source = folded(source_of(opened(path), batch=8))
    found = report(calibrate(source, rows), rows)
    assert all(x.alone.decibels > 25 for x in found.layers)
    assert [x.name for x in found.outputs] == list(source.outputs)
    assert all(x.agreement is None or x.agreement > 0.8 for x in found.outputs)
    assert found.bytes_after < found.bytes_before / 2
    embeddings = {x.name for x in found.layers if x.kind == "embedding"}
    wanted = {"recurrent": {"words"}, "tabular": {"embed.0", "embed.1", "embed.2"}}
    assert embeddings == wanted.get(name, set())


def test_text_and_page():
    _, rows, source = network()
    found = report(calibrate(source, rows), rows)
    text, html = found.text(), found.html()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    at = next(k for k, line in enumerate(lines) if line.startswith("layer")) + 1
    names = [line.split()[0] for line in lines[at : at + 5]]
    assert names == [x.name for x in found.layers]
    assert [line.split()[0] for line in found.text(2).splitlines()[at : at + 3]] == [
        *names[:2], "...",
    ]  # fmt: skip
    assert re.findall(r"<td><code>(.*?)</code>", html) == names
    assert html.count("<rect") == 3 * 5
    assert not re.search(r"https?:|src=|@import|url\(", html)
    assert "prefers-color-scheme: dark" in html
    for name, value in (("rows", "24"), ("bytes", f"{found.bytes_before:,}")):
        assert value in html, name


def test_a_name_that_is_markup_is_spelt():
    _, _, source = network()
    rows = np.ones((8, 7), np.float32)
    source = replace(source, name="<b>&")
    html = report(weights_only(source), rows).html()
    assert "<b>&" not in html
    assert "&lt;b&gt;&amp;" in html
