"""Programs shared by many sizes give the bits of programs made for one, and are few."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tenor as tn
from tenor.config import config
from tenor.engine import backend, family
from tenor.engine.trace import reset_trie
from tenor.runtime import cpu
from tests.properties.sizes_run import PROGRAMS, SIZES, run

AXES = "program x size"
ROOT = Path(__file__).resolve().parents[2]
FEW = 8
"""Sizes that are run on other processors."""
SCRIPT = Path(__file__).with_name("sizes_run.py")


@contextlib.contextmanager
def afresh(**values):
    """Change switches for a while, with nothing known of before."""
    before = {name: getattr(config, name) for name in values}
    for name, value in values.items():
        setattr(config, name, value)
    reset_trie()
    family.forget()
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)
        reset_trie()


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_shared_programs_give_the_same_bits(name, count):
    sizes = SIZES[:6] if name == "signals" else SIZES  # their convolutions know the length
    with afresh(symbolic=False):
        wanted = run(name, sizes)
    with afresh(symbolic=True):
        filled = family.counts["filled"]
        found = run(name, sizes)
        # A length that windows go along is known to the code, so each has a program of its own.
        assert family.counts["filled"] > filled or name == "signals"
    assert dict(zip(sizes, found, strict=True)) == dict(zip(sizes, wanted, strict=True))
    count("sizes", AXES, len(sizes))


@pytest.mark.parametrize("name", ["elementwise", "products"])
def test_a_few_sizes_give_the_same_bits(name, count):
    with afresh(symbolic=False):
        wanted = run(name, SIZES[:4])
    with afresh(symbolic=True):
        assert run(name, SIZES[:4]) == wanted
    count("sizes", AXES, 4)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_bit(threads, count):
    with afresh(symbolic=False, threads=1):
        wanted = run("language", [(8, 40), (8, 50), (9, 100), (16, 64)])
    with afresh(symbolic=True, threads=threads):
        assert run("language", [(8, 40), (8, 50), (9, 100), (16, 64)]) == wanted
    count("sizes", AXES, 4)


@pytest.mark.slow
@pytest.mark.skipif(cpu.machine() != "x86_64", reason="names x86 processors")
@pytest.mark.parametrize("name", ["haswell", "x86-64"])
def test_other_processors_give_the_same_bits(name, count):
    programs = ["inner", "products", "language"]
    with afresh(symbolic=True):
        wanted = [" ".join([p, *run(p, SIZES[:FEW])]) for p in programs]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(FEW), *programs],
        env={**os.environ, "TENOR_CPU": name, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == wanted
    count("sizes", AXES, len(programs) * FEW)


def compiled():
    """Return how many kernels have been compiled or read from the disk."""
    return cpu.stats["compiled"] + cpu.stats["from_disk"]


@pytest.mark.slow
def test_text_of_any_length_compiles_a_few_programs():
    """Training on text of 2 to 120 words: after some lengths, further ones compile nothing."""
    lengths = [(4, int(t)) for t in np.random.default_rng(0).permutation(np.arange(2, 121))]
    at = []
    with afresh(symbolic=True):
        made = family.counts["generic"]
        run("language", lengths, lambda: at.append(compiled()))
        generic = family.counts["generic"] - made
    alone = at[1] - at[0]  # the second step: the first one also makes the optimizer's state
    assert at[60] - at[0] < 7 * alone, "kernels are shared by lengths"
    assert at[-1] - at[60] < alone / 2, "hardly any length needs a kernel of its own"
    assert generic <= 12


def test_from_the_third_batch_size_on_next_to_nothing_is_compiled():
    with afresh(symbolic=True):
        at = []
        sizes = [(8, 8), (8, 9), (5, 11), (5, 9), (7, 9), (8, 7), (5, 7), (4, 9), (7, 7), (9, 9)]
        run("classifier", sizes, lambda: at.append(compiled()))
    assert at[-1] - at[4] <= 3, "a kernel whose dim becomes a whole number of vectors, say"


def test_a_program_that_never_varies_is_compiled_once():
    with afresh(symbolic=True):
        before = family.counts["generic"]
        for _ in range(3):
            (tn.ones(5, 6) * 2).numpy()
        assert family.counts["generic"] == before


def test_sizes_of_nothing():
    with afresh(symbolic=True):
        for n in (5, 7, 0, 3, 0):
            x = tn.zeros(n, 4) + 1
            assert (x @ tn.ones(4, 3)).numpy().tolist() == [[4.0] * 3] * n
            assert x.sum(0).numpy().tolist() == [n] * 4


def test_what_varies_with_the_size_may_do_so_in_odd_ways():
    """Numbers that follow from the size in no simple way are sizes of their own."""
    with afresh(symbolic=True):
        for n in (5, 9, 12, 17, 33, 34, 50, 7, 21):
            x = tn.arange(n).float()
            padded = tn.nn.functional.pad(x, (0, -n % 8))
            wanted = np.zeros(-(-n // 8) * 8, np.float32)
            wanted[:n] = np.arange(n)
            assert np.array_equal(padded.reshape(-1, 8).numpy(), wanted.reshape(-1, 8))
            assert float((x[: n // 2] * n).sum()) == sum(range(n // 2)) * n


def test_a_size_that_comes_back_often_gets_a_program_of_its_own(monkeypatch):
    monkeypatch.setattr(backend, "OFTEN", 5)
    with afresh(symbolic=True):
        own = family.counts["own"]
        w = tn.ones(3, 4)
        for n in (5, 7):
            (tn.tensor(np.ones((n, 3), np.float32)) @ w).numpy()
        x = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
        made = [(tn.tensor(x) @ w).numpy() for _ in range(7)]
        assert family.counts["own"] == own + 1
        assert all(np.array_equal(made[0], m) for m in made)


def test_models_of_other_widths_are_no_sizes():
    with afresh(symbolic=True):
        models = [tn.nn.Linear(4, width) for width in (8, 16, 24)]
        for model in models:
            model.weight.detach().numpy(), model.bias.detach().numpy()
        before = family.counts["generic"]
        for model in models:
            model(tn.ones(5, 4)).sum().backward()
            assert np.array_equal(model.weight.grad.numpy(), np.full(model.weight.shape, 5.0))
        assert family.counts["generic"] == before


@pytest.mark.parametrize(
    "function",
    [
        lambda x, k: x.softmax(k),
        lambda x, k: x.sum(k),
        lambda x, k: x.cumsum(k),
        lambda x, k: x.argmax(k),
        lambda x, k: tn.cat([x, x], k),
        lambda x, k: x.transpose(0, k) * 2,
        lambda x, k: x.sort(k)[0],
    ],
)
def test_which_dim_is_meant_is_no_size(function):
    """Programs of one structure over different dims are different programs."""
    with afresh(symbolic=True):
        for dims in ((3, 2), (2, 3)):
            for k in dims:
                for n in (2, 1, 3, 5):
                    x = np.random.default_rng(n).random((n, 4, 6, 7), np.float32)
                    shared = function(tn.tensor(x), k).numpy()
                    config.symbolic = False
                    reset_trie()
                    alone = function(tn.tensor(x), k).numpy()
                    config.symbolic = True
                    np.testing.assert_array_equal(shared, alone)
