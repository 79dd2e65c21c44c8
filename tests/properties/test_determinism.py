"""The promise of ARCHITECTURE.md: one program, the same bits, however and wherever it is run."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.compiler import PASSES
from tenor.config import config
from tenor.engine.flush import counts
from tenor.engine.trace import reset_trie
from tests.ops.rows import reference
from tests.properties.training_run import BATCH, Network, fingerprint, train

AXES = "way of running x tensor"
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("training_run.py")
DOCS = ROOT / "docs" / "numerics.md"
STATED = {
    name: float(ulps)
    for name, ulps in re.findall(
        r"^\| (The reference interpreter|Immediate mode) \| ([0-9]+) \|",
        DOCS.read_text(encoding="utf-8"), re.MULTILINE,
    )
}  # fmt: skip
"""How far a training run may be off, in ulps of a tensor's largest element."""
OPTIONAL = [step.name for step in PASSES if not step.required]


@pytest.fixture(scope="module")
def wanted():
    """What the recorded program computes the first time."""
    reset_trie()
    return train()


@contextlib.contextmanager
def setting(**values):
    """Change switches for a while, with no plan of before."""
    before = {name: getattr(config, name) for name in values}
    for name, value in values.items():
        setattr(config, name, value)
    reset_trie()
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)
        reset_trie()


def same_bits(got, want):
    """Fail with the names of the tensors whose bits differ; return how many there are."""
    assert list(got) == list(want)
    wrong = [name for name in want if got[name].tobytes() != want[name].tobytes()]
    assert not wrong, f"{len(wrong)} of {len(want)} differ: {wrong}"
    return len(want)


# -- in one process -------------------------------------------------------------------------------
def test_the_program_does_what_it_should(wanted):
    assert {name for name in wanted if name.startswith("loss")} == {"loss 0", "loss 1", "loss 2"}
    assert all(np.isfinite(a).all() for a in wanted.values())
    assert len({a.tobytes() for name, a in wanted.items() if name.startswith("loss")}) == 3


def test_replayed(wanted, count):
    built = counts["plans"]
    count("bits", AXES, same_bits(train(), wanted))
    assert counts["plans"] == built, "a second run is replayed: nothing is compiled"


def test_recorded_anew(wanted, count):
    reset_trie()
    count("bits", AXES, same_bits(train(), wanted))


def test_compiled(wanted, count):
    count("bits", AXES, same_bits(train("compiled"), wanted))


def test_looked_at_on_the_way(wanted, count):
    count("bits", AXES, same_bits(train("looked at"), wanted))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads, wanted, count):
    with setting(threads=threads):
        count("bits", AXES, same_bits(train(), wanted))


def test_another_seed_gives_other_numbers(wanted, monkeypatch):
    monkeypatch.setattr("tests.properties.training_run.SEED", 6)
    assert train()["loss 0"].tobytes() != wanted["loss 0"].tobytes()


# -- other programs of the same computation -------------------------------------------------------
@pytest.mark.parametrize("skipped", [*([name] for name in OPTIONAL), OPTIONAL], ids=" ".join)
def test_no_pass_changes_a_bit(skipped, wanted, count):
    with setting(skip_passes=frozenset(skipped)):
        built = counts["plans"]
        count("bits", AXES, same_bits(train(), wanted))
        assert counts["plans"] > built, "plans of before would show nothing"


def test_the_reference_interpreter_is_within_the_stated_distance(wanted, count):
    with reference():
        count("distance", AXES, close(train(), wanted, STATED["The reference interpreter"]))


def test_immediate_mode_is_within_the_stated_distance(wanted, count):
    with tn.immediate():
        found = train()
    count("distance", AXES, close(found, wanted, STATED["Immediate mode"]))
    assert found["loss 0"].tobytes() == wanted["loss 0"].tobytes(), "forward passes agree in bits"


def close(got, want, ulps):
    """Fail where a tensor is further off than so many ulps of its largest element."""
    for name, b in want.items():
        a = got[name].astype(np.float64)
        if b.dtype.kind != "f":
            assert np.array_equal(a, b), name
            continue
        off = np.abs(a - b).max() / np.spacing(np.abs(b).max())
        assert off <= ulps, f"{name} is {off:.1f} ulp off, not {ulps} at most"
    return len(want)


# -- in processes of their own --------------------------------------------------------------------
def alone(cache, *way, **env):
    return run_alone([SCRIPT, *way], cache, **env).splitlines()


def run_alone(command, cache, **env):
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "TENOR_CACHE_DIR": str(cache), **env},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cold_and_warm_processes(wanted, tmp_path, count):
    want = fingerprint(wanted)
    assert alone(tmp_path, TENOR_THREADS="1") == want
    kept = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert kept, "the cold process leaves what it compiled"
    written = {p: p.stat().st_mtime_ns for p in kept}
    assert alone(tmp_path, TENOR_THREADS="2", PYTHONHASHSEED="7") == want
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == written
    assert alone(tmp_path, "compiled") == want
    count("bits", AXES, 3 * len(want))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86-64 processors")
@pytest.mark.parametrize("cpu", ["haswell", "x86-64"])
def test_code_for_other_processors(cpu, wanted, tmp_path, count):
    """AVX2 instead of AVX-512; nothing beyond SSE2, where a fused multiply-add is a call."""
    want = fingerprint(wanted)
    assert alone(tmp_path, TENOR_CPU=cpu) == want
    count("bits", AXES, len(want))


# -- saved ----------------------------------------------------------------------------------------
LOADS = """
import sys, numpy as np, tenor as tn
model = tn.load(sys.argv[1])
x = np.load(sys.argv[2])
np.save(sys.argv[3], np.asarray(model(tn.tensor(x)).numpy()))
"""


def images(count, seed=1):
    numbers = np.random.default_rng(seed)
    return numbers.standard_normal((count, 1, 10, 10)).astype(np.float32)


def test_a_saved_model_in_a_fresh_process(tmp_path, count):
    tn.manual_seed(3)
    model = Network().eval()
    with tn.no_grad():
        model(tn.tensor(images(4)))
    tn.save(model, tmp_path / "m.tnr", example_inputs=(tn.tensor(images(3)),))
    script = tmp_path / "loads.py"
    script.write_text(LOADS, encoding="utf-8")
    for rows in (1, 5, BATCH):
        x = images(rows, seed=rows)
        with tn.no_grad():
            want = model(tn.tensor(x)).numpy()
        np.save(tmp_path / "x.npy", x)
        run_alone([script, tmp_path / "m.tnr", tmp_path / "x.npy", tmp_path / "y.npy"], tmp_path)
        assert np.load(tmp_path / "y.npy").tobytes() == want.tobytes()
        count("bits", "saved model x batch")


# -- rows -----------------------------------------------------------------------------------------
def layer(make, *shape):
    tn.manual_seed(2)
    made = make()
    return made.eval() if isinstance(made, nn.Module) else made, shape


ROWS = {
    "linear": layer(lambda: nn.Linear(37, 19), 37),
    "linear, wide": layer(lambda: nn.Linear(130, 67), 130),
    "linear, deep": layer(lambda: nn.Linear(1031, 3), 1031),
    "linear, large": layer(lambda: nn.Linear(512, 1024), 512),
    "linear of a sequence": layer(lambda: nn.Linear(7, 5), 3, 7),
    "conv1d": layer(lambda: nn.Conv1d(3, 5, 3, padding=1), 3, 17),
    "conv2d": layer(lambda: nn.Conv2d(3, 8, 3, padding=1), 3, 9, 11),
    "conv2d, strided": layer(lambda: nn.Conv2d(4, 6, 3, stride=2, groups=2), 4, 9, 9),
    "conv2d, many channels": layer(lambda: nn.Conv2d(32, 40, 3, padding=1), 32, 9, 11),
    "conv2d, many channels, strided": layer(lambda: nn.Conv2d(64, 72, 3, stride=2), 64, 9, 9),
    "conv2d, 1 x 1": layer(lambda: nn.Conv2d(16, 8, 1), 16, 5, 5),
    "softmax": layer(lambda: lambda x: tn.softmax(x, -1), 101),
    "softmax, long": layer(lambda: lambda x: tn.softmax(x * 3, -1), 5000),
    "log_softmax": layer(lambda: lambda x: tn.log_softmax(x, -1), 33),
    "layer norm": layer(lambda: nn.LayerNorm(65), 65),
    "layer norm, then a chain": layer(
        lambda: lambda x: nn.functional.layer_norm(x, (300,)).tanh().exp().sin().exp().sin().exp(),
        300,
    ),
    "group norm": layer(lambda: nn.GroupNorm(2, 6), 6, 5),
    "batch norm, evaluated": layer(lambda: nn.BatchNorm1d(31), 31),
    "sum": layer(lambda: lambda x: x.sum(-1), 1001),
    "sum of few": layer(lambda: lambda x: x.sum(-1) + x.var(-1), 3, 5),
    "softmax of ten": layer(lambda: lambda x: tn.softmax(x * 3, -1), 10),
    "sum, very long": layer(lambda: lambda x: x.sum(-1), 140_000),
    "group norm of images": layer(lambda: nn.GroupNorm(1, 3), 3, 112, 112),
    "mean, variance": layer(lambda: lambda x: x.mean(-1) + x.var(-1), 77),
    "attention": layer(
        lambda: lambda x: nn.functional.scaled_dot_product_attention(x, x, x), 2, 9, 8
    ),
    "attention in one pass": layer(
        lambda: lambda x: nn.functional.scaled_dot_product_attention(x, x, x), 2, 70, 8
    ),
    "attention in one pass, causal": layer(
        lambda: lambda x: nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True), 70, 9
    ),
    "max pool": layer(lambda: nn.MaxPool2d(2), 2, 6, 6),
    "network": layer(Network, 1, 10, 10),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_the_same_alone_and_in_any_batch(name, count):
    function, shape = ROWS[name]
    x = np.random.default_rng(4).standard_normal((67, *shape)).astype(np.float32)
    with tn.no_grad():
        alone = [function(tn.tensor(x[k : k + 1])).numpy().copy() for k in range(4)]
        for rows in (2, 3, 4, 7, 8, 16, 33, 67):
            batch = function(tn.tensor(x[:rows])).numpy()
            for k in range(min(rows, 4)):
                assert batch[k].tobytes() == alone[k][0].tobytes(), f"row {k} of {rows}"
                count("bits", "layer x batch x row")
