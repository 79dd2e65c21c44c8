"""The commands in process: exit statuses, panels, and what is printed."""

import importlib.util
import json
import subprocess
import sys

import click
import numpy as np
import pytest

from tenor import errors
from tenor.cli import app as cli_app
from tenor.cli import console
from tenor.cli.console import guarded
from tenor.save import bundle, safetensors
from tenor.save.manifest import Manifest, Signature

COMMANDS = (
    "demo", "serve", "predict", "inspect", "verify", "export", "benchmark", "explain", "doctor",
)  # fmt: skip


def test_help_names_every_command(tenor):
    status, text, _ = tenor("--help")
    assert status == 0
    for name in COMMANDS:
        assert f"  {name} " in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(tenor, command):
    status, text, _ = tenor(command, "--help")
    assert status == 0
    assert "Usage:" in text


def test_version(tenor):
    status, text, _ = tenor("--version")
    assert status == 0
    assert text == f"tenor {cli_app.installed_version()}\n"


@pytest.mark.parametrize(
    "arguments",
    [("sing",), ("verify",), ("serve",), ("doctor", "--loud"), ("serve", "a", "--port", "x")],
)
def test_wrong_use_is_status_2(tenor, arguments):
    status, _, text = tenor(*arguments)
    assert status == 2
    assert "Error" in text


# -- inspect and verify -----------------------------------------------------------------------
def test_inspect_shows_what_it_is(tenor, small):
    status, text, _ = tenor("inspect", small[0])
    assert status == 0
    for part in (
        "small",
        "three <classes>",
        "predict",
        "[batch, 4]",
        "0.weight",
        "float32",
        "[8, 4]",
    ):
        assert part in text


def test_inspect_as_json(tenor, small):
    import hashlib

    status, text, _ = tenor("inspect", small[0], "--json")
    assert status == 0
    facts = json.loads(text)
    assert facts["sha256"] == hashlib.sha256(small[0].read_bytes()).hexdigest()
    assert facts["bytes"] == small[0].stat().st_size
    assert facts["weights"]["0.weight"] == {"dtype": "float32", "shape": [8, 4], "bytes": 128}
    assert facts["signatures"]["predict"]["outputs"]["output"]["shape"] == ["batch", 3]
    assert facts["examples"]["predict"] == {"x": [2, 4]}
    assert set(facts["members"]) >= {"weights.safetensors", "programs/predict.tir"}


def test_inspect_prints_a_program(tenor, small):
    status, text, _ = tenor("inspect", small[0], "--program", "predict")
    assert status == 0
    assert "matmul" in text
    status, _, text = tenor("inspect", small[0], "--program", "train")
    assert status == 1
    assert "one of predict" in text


def test_what_a_file_says_does_not_steer_the_terminal(tenor, tmp_path):
    steering = "\x1b[2J\x1b]0;title\x07\r\u202e"
    path = tmp_path / "m.tnr"
    signature = Signature("predict", (), (), ("w" + steering,))
    manifest = Manifest("m", description=steering, signatures={"predict": signature},
                        state=("w" + steering,))  # fmt: skip
    weights = safetensors.layout({"w" + steering: np.zeros(2, np.float32)})
    members = {"weights.safetensors": weights, "programs/predict.tir": [steering.encode()]}
    bundle.write(path, manifest, members)
    broken = tmp_path / "\x1b[31m.tnr"
    broken.write_bytes(b"")
    for arguments in (["inspect", path], ["inspect", path, "--program", "predict"],
                      ["verify", path], ["inspect", broken]):  # fmt: skip
        _, out, said = tenor(*arguments)
        assert out + said
        assert not set("\x1b\x07\r\u202e") & set(out + said), arguments
    assert r"\x1b[2J\x1b]0;title\x07\r\u202e" in tenor("inspect", path)[1]
    assert json.loads(tenor("inspect", path, "--json")[1])["description"] == steering


def test_inspect_runs_nothing(tenor, small, monkeypatch):
    from tenor.engine import backend
    from tenor.runtime import executable

    def refuse(*_):
        raise AssertionError("inspect ran something")

    monkeypatch.setattr(backend, "load", refuse)
    monkeypatch.setattr(executable, "load", refuse)
    assert tenor("inspect", small[0])[0] == 0


def test_verify_holds(tenor, small):
    status, text, _ = tenor("verify", small[0])
    assert status == 0
    assert "2 rows" in text
    assert "bit for bit" in text


def test_verify_finds_other_bits(tenor, small, monkeypatch):
    from tenor.save import LoadedModel

    run = LoadedModel.run
    monkeypatch.setattr(
        LoadedModel, "run", lambda *a: {k: v + np.float32(1e-6) for k, v in run(*a).items()}
    )
    status, _, text = tenor("verify", small[0])
    assert status == 1
    assert "Mismatch" in text
    assert "elements differ" in text


@pytest.mark.parametrize("command", ["inspect", "verify", "serve"])
def test_damaged_models_are_refused_with_a_reason(tenor, small, tmp_path, command):
    whole = small[0].read_bytes()
    for name, raw in {
        "cut.tnr": whole[: len(whole) // 2],
        "flipped.tnr": whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:],
        "empty.tnr": b"",
        "text.tnr": b"not a model" * 100,
    }.items():
        (tmp_path / name).write_bytes(raw)
        status, _, text = tenor(command, tmp_path / name)
        assert status == 1, name
        assert "FormatError" in text
        assert "Traceback" not in text


@pytest.mark.parametrize("command", ["inspect", "verify", "serve", "explain"])
def test_a_missing_file_is_named(tenor, tmp_path, command):
    status, _, text = tenor(command, tmp_path / "none.tnr")
    assert status == 1
    assert "none.tnr" in "".join(text.split()).replace("│", "")
    assert "Traceback" not in text


# -- predict ----------------------------------------------------------------------------------
def test_predict_answers_in_json_bit_for_bit(tenor, small, tmp_path):
    path, x, y = small
    np.save(tmp_path / "x.npy", x)
    status, text, _ = tenor("predict", path, tmp_path / "x.npy")
    assert status == 0
    came = np.array(json.loads(text)["output"], np.float32)
    assert came.tobytes() == y.tobytes()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".json", ".csv"])
def test_predict_writes_a_file(tenor, small, tmp_path, suffix):
    path, x, _ = small
    (tmp_path / "x.json").write_text(json.dumps(x.tolist()))
    out = tmp_path / f"y{suffix}"
    status, text, said = tenor("predict", path, tmp_path / "x.json", "--out", out)
    assert status == 0
    assert text == ""
    assert "float32 [6, 3]" in said
    assert out.stat().st_size > 0


def test_predict_one_example_from_standard_input(tenor, small):
    path, x, y = small
    status, text, _ = tenor("predict", path, "-", stdin=json.dumps(x[0].tolist()))
    assert status == 0
    np.testing.assert_allclose(json.loads(text)["output"], y[0], rtol=1e-5)


def test_predict_refuses_another_shape(tenor, small, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 5), np.float32))
    status, text, said = tenor("predict", small[0], tmp_path / "x.npy")
    assert status == 1
    assert text == ""
    assert "ShapeError" in said
    assert "[batch, 4]" in said
    assert "[2, 5]" in said


def test_predict_refuses_an_unknown_signature(tenor, small, tmp_path):
    np.save(tmp_path / "x.npy", small[1])
    status, _, said = tenor("predict", small[0], tmp_path / "x.npy", "--signature", "train")
    assert status == 1
    assert "'train'" in said


# -- serve ------------------------------------------------------------------------------------
def test_serve_refuses_a_name_for_two(tenor, small):
    status, _, text = tenor("serve", small[0], small[0], "--name", "x")
    assert status == 1
    assert "one model" in text


def test_serve_refuses_two_models_at_one_address(tenor, small, tmp_path):
    again = tmp_path / "again.tnr"
    again.write_bytes(small[0].read_bytes())
    status, _, said = tenor("serve", small[0], again)
    assert status == 1
    text = " ".join(said.split())
    assert "a name or version of its own" in text
    assert "small version 1" in text


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../x", "a:predict"])
def test_serve_refuses_a_name_that_no_path_has(tenor, small, name):
    status, _, text = tenor("serve", small[0], "--name", name)
    assert status == 1
    assert "a name in URLs" in text


@pytest.mark.parametrize("port", ["-1", "99999999"])
def test_serve_refuses_a_port_that_is_none(tenor, small, port):
    status, _, text = tenor("serve", small[0], "--port", port)
    assert status == 1
    assert "free to listen on" in " ".join(text.split())


# -- explain ----------------------------------------------------------------------------------
def test_explain_shows_kernels_and_writes_a_page(tenor, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import tenor as tn\nprint('sum', float((tn.ones(3) * 2).sum()))\n")
    html = tmp_path / "page.html"
    status, text, said = tenor("explain", script, "--html", html)
    assert status == 0
    assert text.startswith("sum 6.0\n")
    assert "kernels" in text
    assert str(html).split("/")[-1] in said.replace("\n", "")
    assert html.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("stage", ["source", "graph", "passes", "kernels", "loops", "ir", "asm"])
def test_explain_one_stage(tenor, tmp_path, stage):
    script = tmp_path / "script.py"
    script.write_text("import tenor as tn\nfloat((tn.ones(3) * 2).sum())\n")
    status, text, _ = tenor("explain", script, "--stage", stage, "--program", 1, "--no-measure")
    assert status == 0
    assert text.startswith(f"program 1: {stage}")


def test_explain_writes_the_page_where_it_was_asked_to(tenor, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    script = tmp_path / "script.py"
    script.write_text("import os, tenor as tn\nos.chdir('elsewhere')\nprint(tn.ones(2).sum())\n")
    monkeypatch.chdir(tmp_path)
    status, _, _ = tenor("explain", "script.py", "--html", "page.html", "--no-measure")
    assert status == 0
    assert "tn.ones(2).sum()" in (tmp_path / "page.html").read_text()


def test_explain_says_that_a_page_has_no_place_before_the_script_runs(tenor, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit('ran')\n")
    status, out, said = tenor("explain", script, "--html", tmp_path / "none" / "page.html")
    assert status == 1
    assert "a directory that is there" in said
    assert "ran" not in out + said


def test_explain_passes_arguments_and_the_exit_status_on(tenor, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.argv[1:])\nsys.exit(5)\n")
    status, text, _ = tenor("explain", script, "--", "-x", "--stage")
    assert status == 5
    assert "['-x', '--stage']" in text


@pytest.mark.parametrize("options", [("--stage", "soup"), ("--program", "9")])
def test_explain_refuses_what_is_not_there(tenor, tmp_path, options):
    script = tmp_path / "script.py"
    script.write_text("import tenor as tn\nfloat(tn.ones(3).sum())\n")
    status, _, text = tenor("explain", script, *options)
    assert status == 1
    assert "ArgumentError" in text


# -- errors -----------------------------------------------------------------------------------
def run_guarded(error, monkeypatch, traceback=False):
    def command():
        raise error

    monkeypatch.setattr(console.settings, "traceback", traceback)
    with pytest.raises(click.exceptions.Exit) as caught:
        guarded(command)()
    return caught.value.exit_code


def test_an_error_is_a_panel_of_four_parts(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tenor", "predict", "my m.tnr", "x.npy"])
    error = errors.ShapeError("x must be [2].", came=["[3]", "[4]"], fix="reshape it")
    assert run_guarded(error, monkeypatch) == 1
    text = capsys.readouterr().err
    for part in ("ShapeError", "x must be [2].", "got [3]", "[4]", "tenor predict 'my m.tnr' x.npy",
                 "fix reshape it"):  # fmt: skip
        assert part in text


def test_interruption_is_130(monkeypatch):
    assert run_guarded(KeyboardInterrupt(), monkeypatch) == 130


def test_traceback_is_given_on_request(monkeypatch):
    with pytest.raises(errors.ShapeError):
        run_guarded(errors.ShapeError("x"), monkeypatch, traceback=True)


def test_a_missing_extra_says_how_to_get_it(monkeypatch, capsys):
    error = ModuleNotFoundError("no", name="uvicorn.config")
    assert run_guarded(error, monkeypatch) == 1
    assert 'pip install "tenor[serve]"' in capsys.readouterr().err


def test_the_demo_says_what_is_missing_before_it_trains(tenor, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in ("uvicorn", "tensorboard") else found(name),
    )
    status, out, said = tenor("demo", "--out", tmp_path / "demo")
    assert status == 1
    assert 'pip install "tenor[serve,tensorboard]"' in said
    assert out == ""
    assert not (tmp_path / "demo").exists()


def test_our_own_missing_module_is_no_extra(monkeypatch):
    with pytest.raises(ModuleNotFoundError):
        run_guarded(ModuleNotFoundError("no", name="tenor.lost"), monkeypatch)


def test_other_errors_are_not_hidden(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        run_guarded(ZeroDivisionError(), monkeypatch)


def test_help_imports_no_heavy_module():
    code = (
        "import sys\n"
        "import tenor.cli.app\n"
        "heavy = {'uvicorn', 'starlette', 'tensorboard', 'llvmlite', 'tenor.serve'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- export ---------------------------------------------------------------------------------------
def test_export_for_browsers_with_webgpu(tenor, small, tmp_path):
    path, _, _ = small
    status, said, _ = tenor("export", path, "--to", "web", "--gpu", "--out", tmp_path / "web")
    assert status == 0
    assert {"program.json", "gpu.js"} <= {p.name for p in (tmp_path / "web").iterdir()}
    assert "program.json" in said
    status, _, said = tenor("export", path, "--to", "onnx", "--gpu", "--out", tmp_path / "m.onnx")
    assert status == 1
    assert "options that --to onnx knows" in said
    assert not (tmp_path / "m.onnx").exists()
