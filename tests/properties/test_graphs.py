"""Random graphs: equal to the reference, and the same bits however they are compiled and run."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tenor.compiler.emit import reference
from tenor.compiler.lower import columns as columns_module
from tenor.compiler.lower import map as map_module
from tenor.compiler.lower import reduce as reduce_module
from tenor.ir.text import to_text
from tenor.runtime import executable, pool
from tests.ops.differential import EXACT, OPTIONAL, compiled, differing, drawn, run
from tests.properties.random_graphs import Maker

AXES = "random graph x way of compiling and running"
SKIPS = [(), *((name,) for name in OPTIONAL), OPTIONAL]
BATCH = 5
EXACT_SEEDS = range(0, 100, BATCH)
FREE_SEEDS = range(10_000, 10_060, BATCH)
WIDE_SEEDS = range(20_000, 20_020, BATCH)


def made(seed, *, exact, **limits):
    """Return a random graph, what it is given, and its run-time numbers."""
    maker = Maker(seed, exact=exact, **limits)
    graph = maker.graph(int(np.random.default_rng(seed).integers(3, 31)))
    return graph, drawn(maker.leaves, seed), [value for _, value in maker.scalars]


def check(graph, got, want, story):
    """Fail where outputs differ in a bit; all NaN are alike."""
    for k, (node, x, y) in enumerate(zip(graph.outputs, got, want, strict=True)):
        bad = differing(x, y, node.dtype, EXACT)
        assert not np.any(bad), (
            f"{story}: output {k}, {np.sum(bad)} of {bad.size} differ\n{to_text(graph)}"
        )


def ran(graph, arrays, scalars, skip=()):
    """Compile and run a graph."""
    outputs, status = run(graph, compiled(graph, skip), arrays, scalars)
    assert status == (0, 0), f"status {status}\n{to_text(graph)}"
    return outputs


@pytest.mark.parametrize("first", EXACT_SEEDS)
def test_a_graph_of_exact_operations_equals_the_reference(first, count):
    for seed in range(first, first + BATCH):
        graph, arrays, scalars = made(seed, exact=True)
        want = reference.run(graph, arrays, scalars)
        for skip in SKIPS:
            check(graph, ran(graph, arrays, scalars, skip), want, f"seed {seed} without {skip}")
            count("graphs", AXES)


@pytest.mark.parametrize("first", FREE_SEEDS)
def test_no_pass_changes_a_bit(first, count):
    for seed in range(first, first + BATCH):
        graph, arrays, scalars = made(seed, exact=False)
        want = ran(graph, arrays, scalars)
        for skip in SKIPS[1:]:
            check(graph, ran(graph, arrays, scalars, skip), want, f"seed {seed} without {skip}")
            count("graphs", AXES)


@pytest.fixture
def threads():
    """Restore the number of threads."""
    before = pool.get_num_threads()
    yield
    pool.set_num_threads(before)


@pytest.fixture
def small_tiles(monkeypatch):
    """Make tiles small and every kernel worth several threads, so that their seams are met."""
    for module in (map_module, reduce_module, columns_module):
        monkeypatch.setattr(module, "GRAIN", 64)
    monkeypatch.setattr(executable, "SERIAL_NS", 0)
    monkeypatch.setattr(executable, "ASLEEP_NS", 0)


@pytest.mark.parametrize("first", WIDE_SEEDS)
def test_threads_and_repetition_change_no_bit(first, threads, small_tiles, count):
    for seed in range(first, first + BATCH):
        graph, arrays, scalars = made(
            seed, exact=False, limit=20_000, extents=(1, 3, 17, 64, 100, 130)
        )
        ready = compiled(graph)
        pool.set_num_threads(1)
        want, _ = run(graph, ready, arrays, scalars)
        for number in (1, 2, 2, 3):
            pool.set_num_threads(number)
            got, status = run(graph, ready, arrays, scalars)
            assert status == (0, 0)
            check(graph, got, want, f"seed {seed}, {number} threads")
            count("graphs", AXES)


@pytest.mark.parametrize("first", WIDE_SEEDS)
def test_the_size_of_tiles_changes_no_bit(first, monkeypatch, count):
    for seed in range(first, first + BATCH):
        graph, arrays, scalars = made(
            seed, exact=False, limit=20_000, extents=(1, 3, 17, 64, 100, 130)
        )
        want = ran(graph, arrays, scalars)
        with monkeypatch.context() as patch:
            for module in (map_module, reduce_module, columns_module):
                patch.setattr(module, "GRAIN", 96)
            check(graph, ran(graph, arrays, scalars), want, f"seed {seed}")
            count("graphs", AXES)


PROCESS = """
import sys, hashlib
from tests.properties.test_graphs import digest
print(digest(range(int(sys.argv[1]), int(sys.argv[2]))))
"""


def digest(seeds):
    """Return a line for each seed: the hash of all output bits, and how kernels came about."""
    import hashlib

    from tenor.runtime import cpu

    lines = []
    for seed in seeds:
        graph, arrays, scalars = made(seed, exact=False)
        total = hashlib.sha256()
        for node, output in zip(graph.outputs, ran(graph, arrays, scalars), strict=True):
            total.update(np.where(output != output, node.dtype.numpy.type(0), output).tobytes())
        lines.append(total.hexdigest())
    return "\n".join([*lines, f"compiled {cpu.stats['compiled']}, read {cpu.stats['from_disk']}"])


def test_a_cold_and_a_warm_cache_give_the_same_bits(tmp_path, count):
    seeds = (30_000, 30_012)

    def process(**environment):
        root = Path(__file__).parents[2]
        given = {"PYTHONPATH": f"{root / 'src'}:{root}", "TENOR_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", PROCESS, *map(str, seeds)],
            env=given | environment, capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
        *lines, stats = done.stdout.splitlines()
        return lines, stats

    cold, first = process()
    warm, second = process(PYTHONHASHSEED="7")
    shutil.rmtree(tmp_path)
    without, third = process(TENOR_CACHE="0", PYTHONHASHSEED="8")
    count("graphs", AXES, 2 * len(cold))
    assert cold == warm == without
    assert len(cold) == seeds[1] - seeds[0]
    assert "read 0" in first
    assert "compiled 0" not in first
    assert "compiled 0," in second, "the same program was compiled again from the same cache"
    assert "read 0" in third


def test_a_graph_compiles_to_the_same_program_each_time():
    from tenor.compiler import compile
    from tenor.runtime import cpu

    for seed in range(40_000, 40_020):
        graph, _, _ = made(seed, exact=False)
        again, _, _ = made(seed, exact=False)
        one, two = (compile(g, cpu.host_target()) for g in (graph, again))
        assert (one.texts, one.launches, one.arena) == (two.texts, two.launches, two.arena)
