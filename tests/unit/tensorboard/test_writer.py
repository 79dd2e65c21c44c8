"""What the stock TensorBoard reads of what we write."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
import threading

import numpy as np
import PIL.Image
import pytest
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.tensorboard import EventWriter


def read(logdir):
    sizes = {"scalars": 0, "histograms": 0, "images": 0, "tensors": 0, "compressedHistograms": 0}
    found = EventAccumulator(str(logdir), size_guidance=sizes)
    found.Reload()
    return found


# -- scalars ----------------------------------------------------------------------------------
def test_scalars(tmp_path):
    values = [0.1, -3.5, float("inf"), 1e300, 2**70]
    with EventWriter(tmp_path / "run") as writer:
        for step, value in enumerate(values):
            writer.add_scalar("train/loss", value, step, wall_time=100.5 + step)
    events = read(tmp_path / "run").Scalars("train/loss")
    with np.errstate(over="ignore"):
        assert [e.value for e in events] == [float(np.float32(v)) for v in values]
    assert [e.step for e in events] == [0, 1, 2, 3, 4]
    assert [e.wall_time for e in events] == [100.5 + i for i in range(5)]


@pytest.mark.parametrize("value", [3, True, np.float16(3), np.array([[3]]), np.int64(3)])
def test_what_counts_as_a_scalar(tmp_path, value):
    with EventWriter(tmp_path) as writer:
        writer.add_scalar("x", value, 7)
    (event,) = read(tmp_path).Scalars("x")
    assert event.value == float(np.asarray(value).item())
    assert event.step == 7
    assert event.wall_time > 1e9


def test_nan_is_kept(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.add_scalar("x", float("nan"), 0)
    assert np.isnan(read(tmp_path).Scalars("x")[0].value)


# -- histograms -------------------------------------------------------------------------------
def test_histogram(tmp_path):
    values = np.random.default_rng(0).standard_normal((100, 7)).astype(np.float32)
    with EventWriter(tmp_path) as writer:
        writer.add_histogram("w", values, 3, bins=10)
    (event,) = read(tmp_path).Histograms("w")
    found = event.histogram_value
    counts, edges = np.histogram(values.astype(float), 10)
    assert event.step == 3
    assert list(found.bucket) == counts.tolist()
    np.testing.assert_allclose(found.bucket_limit, edges[1:])
    assert (found.min, found.max, found.num) == (values.min(), values.max(), 700)
    np.testing.assert_allclose(found.sum, values.astype(float).sum())
    np.testing.assert_allclose(found.sum_squares, (values.astype(float) ** 2).sum())


@pytest.mark.parametrize("bins", [1, "auto", [0.0, 0.5, 2.0]])
def test_bins(tmp_path, bins):
    with EventWriter(tmp_path) as writer:
        writer.add_histogram("w", [0.0, 0.25, 1.0], 0, bins)
    found = read(tmp_path).Histograms("w")[0].histogram_value
    assert sum(found.bucket) == 3


def test_what_is_not_finite_is_left_out(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.add_histogram("w", [1.0, np.nan, 2.0, np.inf, -np.inf], 0)
        writer.add_histogram("none", [np.nan], 0)
        writer.add_histogram("empty", [], 0)
        writer.add_histogram("bools", [True, False, True], 0, bins=2)
    found = read(tmp_path)
    assert found.Histograms("w")[0].histogram_value.num == 2
    assert found.Histograms("none")[0].histogram_value.num == 0
    assert found.Histograms("empty")[0].histogram_value.num == 0
    assert list(found.Histograms("bools")[0].histogram_value.bucket) == [1, 2]


# -- images -----------------------------------------------------------------------------------
def decoded(logdir, tag):
    (event,) = read(logdir).Images(tag)
    picture = PIL.Image.open(io.BytesIO(event.encoded_image_string))
    assert picture.size == (event.width, event.height)
    return np.asarray(picture), picture.mode


@pytest.mark.parametrize(
    ("shape", "mode"),
    [((5, 7), "L"), ((5, 7, 1), "L"), ((5, 7, 2), "LA"), ((5, 7, 3), "RGB"), ((1, 1, 4), "RGBA")],
)
def test_images(tmp_path, shape, mode):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with EventWriter(tmp_path) as writer:
        writer.add_image("x", pixels, 0)
        writer.add_image("turned", pixels.swapaxes(0, 1), 0)
    found, found_mode = decoded(tmp_path, "x")
    assert found_mode == mode
    np.testing.assert_array_equal(found.reshape(shape), pixels)
    turned, _ = decoded(tmp_path, "turned")
    np.testing.assert_array_equal(turned, found.swapaxes(0, 1))


def test_float_and_bool_images(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.add_image("f", np.array([[0.0, 0.5, 1.0, 2.0, -1.0, np.nan, np.inf]]), 0)
        writer.add_image("h", np.ones((1, 2), np.float16), 0)
        writer.add_image("b", np.array([[True, False]]), 0)
    assert decoded(tmp_path, "f")[0].tolist() == [[0, 128, 255, 255, 0, 0, 255]]
    assert decoded(tmp_path, "h")[0].tolist() == [[255, 255]]
    assert decoded(tmp_path, "b")[0].tolist() == [[255, 0]]


# -- text -------------------------------------------------------------------------------------
def test_text(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.add_text("notes", "**bold** ü", 2)
    found = read(tmp_path)
    assert found.SummaryMetadata("notes").plugin_data.plugin_name == "text"
    (event,) = found.Tensors("notes")
    assert event.step == 2
    assert tensor_util.make_ndarray(event.tensor_proto).tolist() == ["**bold** ü".encode()]


# -- the file ---------------------------------------------------------------------------------
def test_flushed_events_are_seen_while_the_writer_is_open(tmp_path):
    with EventWriter(tmp_path, flush_seconds=1e9) as writer:
        writer.add_scalar("x", 1, 0)
        before = read(tmp_path).Tags()["scalars"]
        writer.flush()
        assert read(tmp_path).Tags()["scalars"] == ["x"]
    assert before == []


def test_two_writers_make_two_files(tmp_path):
    with EventWriter(tmp_path) as a, EventWriter(tmp_path) as b:
        assert a.path != b.path
    assert len(list(tmp_path.iterdir())) == 2


def test_the_file_says_its_version(tmp_path):
    with EventWriter(tmp_path) as writer:
        pass
    (event,) = event_file_loader.EventFileLoader(str(writer.path)).Load()
    assert event.file_version == "brain.Event:2"


def test_closing(tmp_path):
    writer = EventWriter(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(ArgumentError, match="open writer"):
        writer.add_scalar("x", 1, 0)


def test_threads(tmp_path):
    with EventWriter(tmp_path) as writer:

        def work(number):
            for step in range(50):
                writer.add_scalar(f"t{number}", step, step)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = read(tmp_path)
    for i in range(4):
        assert [e.value for e in found.Scalars(f"t{i}")] == list(range(50))


def test_a_full_disk_is_reported_by_the_call_that_meets_it(tmp_path, monkeypatch):
    writer = EventWriter(tmp_path, flush_seconds=0)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer._records, "write", full)
        with pytest.raises(OSError, match="No space"):
            writer.add_scalar("x", 1, 0)
    writer.add_scalar("y", 1, 1)
    writer.close()
    assert read(tmp_path).Tags()["scalars"] == ["y"]


# -- refusals ---------------------------------------------------------------------------------
def test_refusals(tmp_path):
    with EventWriter(tmp_path) as writer:
        with pytest.raises(ShapeError, match="one number"):
            writer.add_scalar("x", [1, 2], 0)
        with pytest.raises(DTypeError, match="numbers"):
            writer.add_scalar("x", "1", 0)
        with pytest.raises(DTypeError, match="numbers"):
            writer.add_histogram("x", [1j], 0)
        with pytest.raises(ArgumentError, match="tag"):
            writer.add_scalar("", 1, 0)
        for shape in [(3, 8, 8), (4,), (0, 4, 3), (1, 2, 3, 4)]:
            with pytest.raises(ShapeError, match="height"):
                writer.add_image("x", np.zeros(shape), 0)
        with pytest.raises(DTypeError, match="uint8"):
            writer.add_image("x", np.zeros((4, 4), np.int32), 0)
    assert read(tmp_path).Tags()["scalars"] == []


SCRIPT = """
import sys
{before}
import tenor.tensorboard
assert not any(m == "tensorboard" or m.startswith("tensorboard.") for m in sys.modules)
{after}
"""


def run(before, after):
    code = SCRIPT.format(before=before, after=after)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_import_is_lazy_and_a_missing_package_is_named(tmp_path):
    result = run(
        "sys.modules['tensorboard'] = None; del sys.modules['tensorboard']",
        "sys.modules['tensorboard'] = None\n"
        "try: tenor.tensorboard.EventWriter('x')\n"
        "except ImportError as error: print(error)",
    )
    assert result.returncode == 0, result.stderr
    assert "tenor[tensorboard]" in result.stdout


def test_tensorflow_is_not_imported(tmp_path):
    finder = (
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name.partition('.')[0] != 'tensorflow', name\n"
        "sys.meta_path.insert(0, Finder())"
    )
    used = (
        f"with tenor.tensorboard.EventWriter({str(tmp_path)!r}) as writer:\n"
        "    writer.add_scalar('a', 1, 0); writer.add_histogram('b', [1], 0)\n"
        "    writer.add_image('c', [[1.0]], 0); writer.add_text('d', 'x', 0)"
    )
    result = run(finder, used)
    assert result.returncode == 0, result.stderr
