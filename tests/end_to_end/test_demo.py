"""The demo, as a newcomer runs it: one model's whole life in a directory of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

import tenor as tn
from tenor.demo import Outcome
from tenor.demo.life import ACCURACY, Check, _same
from tenor.demo.process import free_port, serving, verify_afresh
from tenor.demo.requests import PROTOCOLS
from tenor.errors import ArgumentError
from tests.export.web.chromium import in_chromium
from tests.export.web.engines import jsonable


def run(*arguments, cwd, timeout=240, status=0):
    """Run the command line in a process of its own, with no terminal; return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "tenor.cli", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the demo's output and the directory it filled."""
    home = tmp_path_factory.mktemp("demo")
    done = run("demo", "--out", "made", cwd=home)
    return done, home / "made"


@pytest.mark.slow
class TestDemo:
    def test_every_check_held(self, made):
        done, _ = made
        assert "FAILED" not in done.stdout
        assert done.stdout.count("ok: ") == 10
        found = re.search(r"ok: at least 97%.*: ([0-9.]+)% of 360", done.stdout)
        assert float(found[1]) >= 100 * ACCURACY

    def test_it_names_what_to_try_next(self, made):
        done, directory = made
        assert "tensorboard --logdir made/tensorboard" in done.stdout
        assert "tenor serve made/digits.tnr" in done.stdout
        assert "curl -s http://127.0.0.1:8501/v1/models/digits:predict -d @made/request.json" in (
            done.stdout
        )
        assert "python3 -m http.server -b 127.0.0.1 -d made/web 8000" in done.stdout
        assert (directory / "request.json").is_file()

    def test_the_model_is_as_accurate_where_it_is_loaded(self, made):
        _, directory = made
        _, _, images, labels = tn.data.load_digits()
        model = tn.load(directory / "digits.tnr")
        right = np.argmax(model(images).numpy(), 1) == labels
        assert right.mean() >= ACCURACY
        assert model.verify().ok

    def test_the_page_answers_as_python_does(self, made, tmp_path):
        _, directory = made
        _, _, images, _ = tn.data.load_digits()
        body = "const model = await load(); return given.map((x) => model.predict(x));"
        given = jsonable(images[:, None])
        came = in_chromium(directory / "web", body, given, tmp_path)
        wanted = tn.load(directory / "digits.tnr")(images).numpy()
        np.testing.assert_allclose(np.reshape(came, wanted.shape), wanted, rtol=0, atol=1e-5)

    def test_the_request_gets_its_digit(self, made):
        done, directory = made
        digit = int(re.search(r"an image of a (\d)", done.stdout)[1])
        with serving(directory / "digits.tnr", directory / "again.log") as server:
            request = urllib.request.Request(
                f"{server.url}/v1/models/digits:predict",
                (directory / "request.json").read_bytes(),
                {"Content-Type": "application/x-www-form-urlencoded"},  # what curl -d sends
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                logits = json.loads(answer.read())["predictions"][0]
        assert int(np.argmax(logits)) == digit
        assert server.status == 0

    def test_the_event_files_show_the_whole_training(self, made):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        _, directory = made
        train, validation = (
            EventAccumulator(str(directory / "tensorboard" / name))
            for name in ("train", "validation")
        )
        train.Reload()
        validation.Reload()
        losses = [e.value for e in train.Scalars("epoch_loss")]
        assert losses[-1] < losses[0] / 4
        assert validation.Scalars("epoch_accuracy")[-1].value >= ACCURACY
        assert len(train.Scalars("epoch_learning_rate")) == len(losses)
        assert train.Tags()["histograms"]
        assert train.Tags()["images"] == ["samples"]

    def test_the_commands_work_on_what_it_made(self, made):
        _, directory = made
        assert "digits" in run("inspect", "digits.tnr", cwd=directory).stdout
        assert "bit for bit" in run("verify", "digits.tnr", cwd=directory).stdout
        done = run("predict", "digits.tnr", "request.json", cwd=directory)
        assert np.shape(json.loads(done.stdout)["output"]) == (1, 10)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a small model's file."""
    path = tmp_path_factory.mktemp("small") / "small.tnr"
    tn.manual_seed(0)
    tn.save.save(tn.nn.Linear(3, 2), path, example_inputs=np.zeros((2, 3), np.float32))
    return path


def test_verification_in_a_fresh_process(small, tmp_path):
    assert verify_afresh(small)[0]
    raw = bytearray(small.read_bytes())
    raw[-100] ^= 255
    damaged = tmp_path / "damaged.tnr"
    damaged.write_bytes(raw)
    held, said = verify_afresh(damaged)
    assert not held
    assert "FormatError" in said


def test_both_protocols_give_the_same_bits(small, tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    wanted = tn.load(small)(x).numpy()
    with serving(small, tmp_path / "log") as server:
        for ask in PROTOCOLS.values():
            assert _same(ask(server.url, "small", x), wanted)[0]
    assert server.status == 0


def test_a_server_that_cannot_start_says_why(tmp_path):
    missing = serving(tmp_path / "none.tnr", tmp_path / "log")
    with pytest.raises(ArgumentError, match="must start") as caught, missing:
        pass
    assert "none.tnr" in "".join("".join(caught.value.came).split()).replace("│", "")


def test_serve_stops_on_a_signal_and_says_where_it_was(small, tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "tenor.cli", "serve", str(small), "--port", str(port),
               "--name", "other"]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 60
        while b"serving" not in (tmp_path / "log").read_bytes():
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.05)
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/v2/models/other", timeout=60
        ) as answer:
            assert json.loads(answer.read())["name"] == "other"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert f"http://127.0.0.1:{port}" in (tmp_path / "log").read_text()


def test_two_models_on_one_port(small, tmp_path):
    other = tmp_path / "other.tnr"
    tn.save.save(tn.nn.Linear(1, 1), other, example_inputs=np.zeros((1, 1), np.float32), name="one")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "tenor.cli",
        "serve",
        str(small),
        str(other),
        "--port",
        str(port),
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 60
        while b"serving" not in (tmp_path / "log").read_bytes():
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.05)
        for name in ("small", "one"):
            url = f"http://127.0.0.1:{port}/v1/models/{name}"
            with urllib.request.urlopen(url, timeout=60) as answer:
                assert json.loads(answer.read())["model_version_status"][0]["state"] == "AVAILABLE"
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_other_bits_are_noticed():
    a = np.array([[1.0, 2.0]], np.float32)
    b = np.nextafter(a, np.float32(3))
    assert _same(a, a)[0]
    assert _same(b, a) == (False, "0 of 2 numbers, batch of 1")
    assert not _same(a[0], a)[0]
    minus = np.array([-0.0], np.float32)
    assert not _same(minus, -minus)[0]


def test_one_failed_check_is_a_failure(tmp_path):
    outcome = Outcome(tmp_path, tmp_path, tmp_path, tmp_path, tmp_path)
    assert not outcome.ok
    outcome.checks.append(Check("a", True, ""))
    assert outcome.ok
    outcome.checks.append(Check("b", False, ""))
    assert not outcome.ok


def test_a_failed_check_is_status_1_and_says_what(monkeypatch, tmp_path, capsys):
    from tenor.cli import demo

    def live(directory, say, *, epochs):
        say("FAILED: the sky is green: it is blue")
        checks = [Check("the sky is green", False, "it is blue")]
        return Outcome(directory, tmp_path, tmp_path, tmp_path, tmp_path, checks=checks)

    monkeypatch.setattr(demo, "live", live)
    assert demo.demo(tmp_path, None) == 1
    text = capsys.readouterr().out
    assert "not everything held" in text
    assert "it is blue" in text
    assert "curl" not in text
