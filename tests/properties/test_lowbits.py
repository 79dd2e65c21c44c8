"""bfloat16 and int8 keep the promise about bits, and bfloat16 rounds once."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.compiler import PASSES
from tenor.config import config
from tenor.engine.trace import reset_trie
from tests.properties.lowbits_run import answers

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("lowbits_run.py")
OPTIONAL = [step.name for step in PASSES if not step.required]
AXES = "way of running x tensor"


@pytest.fixture(scope="module")
def wanted():
    reset_trie()
    return {name: np.array(value) for name, value in answers().items()}


def same_bits(found, wanted):
    assert list(found) == list(wanted)
    wrong = [n for n in wanted if np.asarray(found[n]).tobytes() != wanted[n].tobytes()]
    assert not wrong, wrong
    return len(wanted)


def test_replayed(wanted, count):
    count("bits", AXES, same_bits(answers(), wanted))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads, wanted, count, monkeypatch):
    monkeypatch.setattr(config, "threads", threads)
    reset_trie()
    count("bits", AXES, same_bits(answers(), wanted))


@pytest.mark.parametrize("skipped", [*([name] for name in OPTIONAL), OPTIONAL], ids=" ".join)
def test_no_pass_changes_a_bit(skipped, wanted, count, monkeypatch):
    monkeypatch.setattr(config, "skip_passes", frozenset(skipped))
    reset_trie()
    count("bits", AXES, same_bits(answers(), wanted))
    monkeypatch.undo()
    reset_trie()


def test_a_row_has_the_bits_it_has_in_a_batch(wanted):
    np.testing.assert_array_equal(wanted["one row"][0], wanted["int8"][4])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of x86-64")
@pytest.mark.parametrize("cpu", ["haswell", "x86-64"])
def test_another_processor_gives_the_same_bits(cpu, wanted, tmp_path, count):
    def run(**env):
        done = subprocess.run(
            [sys.executable, "-W", "error", SCRIPT], capture_output=True, text=True, timeout=300,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "TENOR_CACHE_DIR": str(tmp_path),
                 **env}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    here, there = run(), run(TENOR_CPU=cpu)
    assert len(here) == len(wanted)
    assert there == here
    count("bits", AXES, len(here))


# -- bfloat16 is rounded once ---------------------------------------------------------------------
SHAPES = [(1, 1, 1), (1, 40, 9), (3, 70, 33), (1, 1100, 50), (9, 1037, 65), (33, 600, 20),
          (0, 3, 4), (3, 0, 4), (64, 700, 130)]  # fmt: skip


def halves(*shape, seed=0):
    return tn.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=tn.bfloat16)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_product_is_the_float32_product_rounded_once(shape, count):
    """The sums are float32's, bit for bit: a bfloat16 operand is a float32 one of fewer bits."""
    m, k, n = shape
    x, w = halves(m, k), halves(k, n, seed=1)
    turned = tn.tensor(np.ascontiguousarray(w.float().numpy().T), dtype=tn.bfloat16)
    once = (x.float() @ w.float()).to(tn.bfloat16).tolist()
    for name, made in {
        "plain": x @ w,
        "transposed": x @ turned.T,
        "batched": tn.matmul(x.expand(2, m, k), w.expand(2, k, n))[1],
        "linear": tn.nn.functional.linear(x, turned),
        "autocast": _lowered(x, w),
    }.items():
        assert made.dtype is tn.bfloat16
        assert made.tolist() == once, name
        count("bits", "product x layout")


def _lowered(x, w):
    with tn.autocast("cpu"):
        return x.float() @ w.float()


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_a_convolution_is_the_float32_one_rounded_once(kernel, monkeypatch):
    monkeypatch.setattr(config, "winograd", False)  # float32's own way of 3 x 3 taps
    reset_trie()
    x, w = halves(2, 40, 9, 8), halves(36, 40, kernel, kernel, seed=1)
    conv = tn.nn.functional.conv2d
    made = conv(x, w, padding=1)
    assert made.tolist() == conv(x.float(), w.float(), padding=1).to(tn.bfloat16).tolist()
    reset_trie()


def test_a_product_is_within_one_rounding_of_the_true_one():
    x, w = halves(20, 3000), halves(3000, 30, seed=1)
    true = x.float().numpy().astype(np.float64) @ w.float().numpy().astype(np.float64)
    off = np.abs((x @ w).float().numpy() - true)
    assert (off <= 2.0**-8 * np.abs(true) + 1e-4).all()


# -- autocast -------------------------------------------------------------------------------------
def results(m):
    """Return the dtype of each operation's result under autocast, in a library."""
    f, x, h = m.nn.functional, m.ones(4, 6), m.ones(4, 6).to(m.bfloat16)
    image, signs = m.ones(2, 3, 5, 5), m.ones(4, 6).to(m.bfloat16)
    steps = {
        "matmul": lambda: x @ x.T, "mixed": lambda: h @ x.T, "mm": lambda: m.mm(x, x.T),
        "bmm": lambda: m.bmm(x[None], x.T[None]), "addmm": lambda: m.addmm(m.ones(4), x, x.T),
        "baddbmm": lambda: m.baddbmm(m.ones(1, 4, 4), x[None], x.T[None]),
        "addbmm": lambda: m.addbmm(m.ones(4, 4), x[None], x.T[None]),
        "einsum": lambda: m.einsum("ij,kj->ik", x, x), "linear": lambda: f.linear(x, x, m.ones(4)),
        "linear of halves": lambda: f.linear(h, x),
        "conv1d": lambda: f.conv1d(x[None], m.ones(2, 4, 3)),
        "conv2d": lambda: f.conv2d(image, m.ones(2, 3, 3, 3)),
        "conv_transpose2d": lambda: f.conv_transpose2d(image, m.ones(3, 2, 3, 3)),
        "attention": lambda: f.scaled_dot_product_attention(x[None], x[None], x[None]),
        "float64": lambda: x.double() @ x.double().T, "relu": lambda: f.relu(h),
        "add": lambda: h + x, "cat": lambda: m.cat([h, x]), "exp": lambda: h.exp(),
        "mean": lambda: h.mean(), "layer_norm": lambda: f.layer_norm(h, (6,)),
        "mse_loss": lambda: f.mse_loss(h, h), "l1_loss": lambda: f.l1_loss(h, h),
        "smooth_l1_loss": lambda: f.smooth_l1_loss(h, h), "huber": lambda: f.huber_loss(h, h),
        "cross_entropy": lambda: f.cross_entropy(h, m.tensor([0, 1, 2, 3])),
        "nll_loss": lambda: f.nll_loss(h, m.tensor([0, 1, 2, 3])),
        "bce": lambda: f.binary_cross_entropy(h, h),
        "bce of logits": lambda: f.binary_cross_entropy_with_logits(h, h),
        "kl_div": lambda: f.kl_div(h, h), "poisson": lambda: f.poisson_nll_loss(h, h),
        "hinge": lambda: f.hinge_embedding_loss(h, signs),
        "margin": lambda: f.margin_ranking_loss(h, h, signs),
        "soft margin": lambda: f.soft_margin_loss(h, signs),
        "cosine": lambda: f.cosine_embedding_loss(h, h, m.ones(4)),
        "triplet": lambda: f.triplet_margin_loss(h, h, h),
        "grid_sample": lambda: f.grid_sample(
            image.to(m.bfloat16), m.zeros(2, 4, 4, 2), align_corners=False),
    }  # fmt: skip
    with m.autocast("cpu", dtype=m.bfloat16):
        return {name: str(step().dtype).rpartition(".")[2] for name, step in steps.items()}


@pytest.mark.filterwarnings("ignore:reduction")  # PyTorch on kl_div
def test_autocast_gives_the_dtypes_pytorch_gives(count):
    ours, theirs = results(tn), results(torch)
    assert ours == theirs
    count("autocast", "operation", len(ours))


def test_master_weights_stay_float32_and_follow_pytorchs():
    rng = np.random.default_rng(0)
    weight, x, y = (rng.standard_normal(s).astype(np.float32) for s in ((8, 8), (16, 8), (16, 8)))
    found = []
    for m in (tn, torch):
        model = m.nn.Linear(8, 8, bias=False)
        with m.no_grad():
            model.weight.copy_(m.tensor(weight))
        optimizer = m.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            with m.autocast("cpu", dtype=m.bfloat16):
                loss = m.nn.functional.mse_loss(model(m.tensor(x)), m.tensor(y))
            loss.backward()
            optimizer.step()
        assert str(model.weight.dtype).endswith("float32")
        found.append(model.weight.detach().numpy())
    np.testing.assert_allclose(found[0], found[1], atol=4e-3)
