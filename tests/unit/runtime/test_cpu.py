"""Machine code: the cache on disk, linking, and code for other machines."""

import ctypes
import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from tenor.compiler import compile
from tenor.config import config
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.target import Target
from tenor.runtime import cpu
from tests.unit.runtime.programs import buffers, loaded, values

ROOT = Path(__file__).parents[3]
TEXT = "define void @{}(ptr %a) {{\n  store i64 {}, ptr %a\n  ret void\n}}\n"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return an empty cache directory."""
    monkeypatch.setattr(config, "cache_dir", tmp_path)
    monkeypatch.setattr(config, "cache", True)
    return tmp_path


def compiled_and_read(text):
    """Return the object of a text, and how many were compiled and read for it."""
    before = dict(cpu.stats)
    body = cpu.object_code(text, cpu.host_target())
    return (
        body,
        cpu.stats["compiled"] - before["compiled"],
        cpu.stats["from_disk"] - before["from_disk"],
    )


def test_an_object_is_compiled_once_and_then_read(cache):
    text = TEXT.format("once", 1)
    first, compiled, read = compiled_and_read(text)
    assert (compiled, read) == (1, 0)
    second, compiled, read = compiled_and_read(text)
    assert (compiled, read) == (0, 1)
    assert first == second
    assert len(list(cache.rglob("*.o"))) == 1
    assert list(cache.rglob("tmp*")) == []


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "header", "garbage"])
def test_a_damaged_object_is_compiled_anew_and_replaced(cache, damage):
    text = TEXT.format("damaged", 2)
    body, _, _ = compiled_and_read(text)
    (path,) = cache.rglob("*.o")
    whole = path.read_bytes()
    path.write_bytes({
        "truncated": whole[:-10],
        "flipped": whole[:-10] + bytes([whole[-10] ^ 1]) + whole[-9:],
        "empty": b"",
        "header": whole[:10],
        "garbage": b"\x7fELF" + b"\0" * 500,
    }[damage])  # fmt: skip
    again, compiled, read = compiled_and_read(text)
    assert (again, compiled, read) == (body, 1, 0)
    assert path.read_bytes() == whole


def test_without_the_cache_nothing_is_read_or_written(cache, monkeypatch):
    monkeypatch.setattr(config, "cache", False)
    text = TEXT.format("off", 3)
    for _ in range(2):
        _, compiled, read = compiled_and_read(text)
        assert (compiled, read) == (1, 0)
    assert list(cache.rglob("*")) == []


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    monkeypatch.setattr(config, "cache_dir", blocked)
    monkeypatch.setattr(config, "cache", True)
    _, compiled, _ = compiled_and_read(TEXT.format("blocked", 4))
    assert compiled == 1
    assert blocked.read_text() == "not a directory"


def test_objects_for_other_targets_have_names_of_their_own(cache):
    text = TEXT.format("targets", 5)
    host = cpu.host_target()
    plain = Target(host.triple, "x86-64" if cpu.machine() == "x86_64" else "generic", "", 128)
    cpu.object_code(text, host)
    cpu.object_code(text, plain)
    assert len(list(cache.rglob("*.o"))) == 2


def test_symbols_are_linked_once():
    texts, symbols = (
        [TEXT.format("linked_a", 6), TEXT.format("linked_b", 7)],
        ["linked_a", "linked_b"],
    )
    first = cpu.libraries_of(texts, symbols)
    before = cpu.stats["linked"]
    assert cpu.libraries_of(texts, symbols) == first
    assert cpu.libraries_of(texts[::-1], symbols[::-1]) == first[::-1]
    assert cpu.stats["linked"] == before
    assert len({library.addresses[s] for library, s in zip(first, symbols, strict=True)}) == 2


def mappings():
    """Return how many stretches of memory this process has."""
    return len(Path("/proc/self/maps").read_text(encoding="utf-8").splitlines())


def linked(numbers, name):
    texts = [TEXT.format(f"{name}_{i}", i) for i in numbers]
    return [cpu.libraries_of([t], [f"{name}_{i}"])[0] for i, t in zip(numbers, texts, strict=True)]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts mappings by /proc")
def test_code_that_nobody_holds_is_unloaded(cache):
    linked(range(3), "first")
    gc.collect()
    before = mappings()
    held = linked(range(60), "held")
    assert mappings() >= before + 60
    del held
    gc.collect()
    assert mappings() <= before + 6


def test_code_stays_loaded_when_another_linker_takes_over(cache, monkeypatch):
    monkeypatch.setattr(cpu, "LINKED", 3)
    monkeypatch.setattr(cpu, "_linker", cpu._Linker())
    made, libraries = [], []
    for i in range(10):
        libraries += linked([i], "turns")
        made += [cpu._linker.jit] * (cpu._linker.left == 2)
    assert [jit.closed for jit in made] == [True, True, True, False]
    cell = ctypes.c_int64()
    for i in (*range(10), 0):
        address = libraries[i].addresses[f"turns_{i}"]
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(ctypes.addressof(cell))
        assert cell.value == i


def test_code_is_held_by_what_runs_it(cache):
    text = TEXT.format("kept", 5)
    (library,) = cpu.libraries_of([text], ["kept"])
    cpu.libraries_of([TEXT.format("other", 5)], ["other"])
    assert cpu.libraries_of([text], ["kept"])[0] is library
    cell = ctypes.c_int64()
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library.addresses["kept"])(ctypes.addressof(cell))
    assert cell.value == 5
    before = cpu.stats["linked"]
    del library
    gc.collect()
    cpu.libraries_of([text], ["kept"])
    assert cpu.stats["linked"] == before + 1


FORKS = """
import os, threading
import tenor as tn

def compile_new(stop):
    k = 0
    while not stop:
        k += 1
        y = tn.ones(7 + k % 50)
        for j in range(k % 7 + 1):
            y = (y * 2 + k).sin()
        y.sum().item()

stop = []
thread = threading.Thread(target=compile_new, args=(stop,))
thread.start()
for k in range(40):
    child = os.fork()
    if child == 0:
        x = tn.rand(131 + k)
        for _ in range(k % 5):
            x = (x * 3.5).cos()
        os._exit(0 if abs(x.sum().item()) < 1e9 else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.append(1)
thread.join()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_forked_while_a_thread_compiles_can_compile(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS],
        env={"PYTHONPATH": str(ROOT / "src"), "TENOR_CACHE_DIR": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "done\n"


PROCESS = """
import numpy as np
from tests.unit.runtime.test_cpu import example
from tests.unit.runtime.programs import buffers, loaded, values
from tenor.runtime import cpu
graph = example()
x = np.random.default_rng(0).normal(size=(50, 60)).astype(np.float32)
outputs, code, _ = loaded(graph).run(buffers(x), [])
print([v.tobytes().hex() for v in values(graph, outputs)], code)
print(cpu.stats)
"""


def example():
    """Return a graph of several kernels with sums and functions, but no contraction."""
    b = GraphBuilder()
    x = b.leaf((50, 60), dt.float32)
    e = b.exp(b.sub(x, b.expand(b.max(x, (1,)), (50, 60))))
    soft = b.div(e, b.expand(b.sum(e, (1,)), (50, 60)))
    return b.graph(soft, b.sum(soft, (0,)), b.cumsum(x, 0), b.argmax(x, 1), b.emit(ops.TANH, (x,)))


def process(cache, **environment):
    """Run the example in a fresh process; return what it computed, and the counts."""
    done = subprocess.run(
        [sys.executable, "-c", PROCESS],
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "TENOR_CACHE_DIR": str(cache), **environment},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    bits, stats = done.stdout.splitlines()
    return bits, stats


def test_a_second_process_reads_what_the_first_compiled(tmp_path):
    first, cold = process(tmp_path)
    second, warm = process(tmp_path)
    assert first == second
    assert "'from_disk': 0" in cold
    assert "'compiled': 0" in warm
    assert "'from_disk': 0" not in warm


def test_a_process_survives_a_cache_full_of_garbage(tmp_path):
    first, _ = process(tmp_path)
    for path in tmp_path.rglob("*.o"):
        path.write_bytes(b"garbage")
    second, stats = process(tmp_path)
    assert first == second
    assert "'from_disk': 0" in stats


@pytest.mark.skipif(cpu.machine() != "x86_64", reason="names an x86 processor")
@pytest.mark.skipif(cpu.host_target().vector_bits < 256, reason="cannot run AVX2")
def test_another_vector_width_gives_the_same_bits(tmp_path):
    here, _ = process(tmp_path)
    narrow, stats = process(tmp_path, TENOR_CPU="haswell")
    assert "'from_disk': 0" in stats
    assert here == narrow


TARGETS = {
    "avx512": (Target.x86_64_avx512(), b"\x3e\x00"),
    "x86-64-v4": (Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32), b"\x3e\x00"),
    "avx2": (Target.x86_64_avx2(), b"\x3e\x00"),
    "aarch64": (Target.aarch64(), b"\xb7\x00"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_code_for_other_machines_is_valid(name, cache):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target, machine = TARGETS[name]
    b = GraphBuilder()
    x, y = b.leaf((37, 64), dt.float32), b.leaf((64, 33), dt.float32)
    h, i = b.leaf((37, 64), dt.bfloat16), b.leaf((9,), dt.int64)
    index = b.emit(ops.WRAP_INDEX, (i,), (37, "index"))
    graph = b.graph(
        b.matmul(x, y), b.sum(b.sin(x), (0,)), b.argmax(x, 1), b.pow(x, b.neg(x)), b.add(h, h),
        b.take(x, index, 0), b.cumsum(x, 1), b.emit(ops.ARGSORT, (x,), (1, False)),
        b.emit(ops.TOPK, (x,), (1, 3, True)), b.permute(x, (1, 0)), b.cast(x, dt.float16),
        b.cast(x, dt.int32), b.emit(ops.MOD, (x, x)), b.emit(ops.ERF, (x,)),
    )  # fmt: skip
    program = compile(graph, target)
    assert len(program.texts) >= 8
    for text in program.texts:
        llvm.parse_assembly(text).verify()
        body = cpu.object_code(text, target)
        assert body.startswith(b"\x7fELF\x02")
        assert body[18:20] == machine


def test_the_host_is_described():
    host = cpu.host_target()
    assert host.triple.startswith(cpu.machine())
    assert host.vector_bits in (128, 256, 512)
    assert host.lanes(32) == host.vector_bits // 32


def test_a_loaded_program_stays_callable_when_others_are_loaded():
    b = GraphBuilder()
    x = b.leaf((7,), dt.float32)
    first = b.graph(b.mul(x, b.const(1.2345, dt.float32)))
    ready = loaded(first)
    for k in range(5):
        b = GraphBuilder()
        y = b.leaf((7,), dt.float32)
        loaded(b.graph(b.mul(y, b.const(k + 0.987, dt.float32))))
    made = values(first, ready.run(buffers(np.ones(7, np.float32)), [])[0])[0]
    assert np.array_equal(made, np.full(7, 1.2345, np.float32))


def test_the_cache_is_kept_small_by_removing_the_oldest(tmp_path):
    for i in range(10):
        path = tmp_path / f"{i:02}" / "kernel.o"
        path.parent.mkdir()
        path.write_bytes(bytes(100))
        os.utime(path, (i, i))
    assert cpu.prune(tmp_path, 1100) == 100
    assert len(list(tmp_path.glob("*/*"))) == 10
    assert cpu.prune(tmp_path, 800) == 200
    assert sorted(p.parent.name for p in tmp_path.glob("*/*")) == [
        "04",
        "05",
        "06",
        "07",
        "08",
        "09",
    ]


def test_a_cache_with_room_is_looked_at_seldom(cache, monkeypatch):
    """Each look goes over all files, so a process that fills the cache must not look all along."""
    looks = []
    monkeypatch.setattr(cpu, "_room", {"written": 0, "enough": 0})
    monkeypatch.setattr(cpu, "BETWEEN_PRUNES", 3)
    monkeypatch.setattr(cpu, "stats", dict.fromkeys(cpu.stats, 0))
    nbytes = len(cpu.object_code(TEXT.format("room_0", 0), cpu.host_target()))
    monkeypatch.setattr(config, "cache_bytes", 40 * (nbytes + 100))
    monkeypatch.setattr(cpu, "prune", lambda *a, real=cpu.prune: looks.append(1) or real(*a))
    for i in range(1, 60):
        cpu.object_code(TEXT.format(f"room_{i}", i), cpu.host_target())
    assert 2 <= len(looks) < 10
    assert len(list(cache.rglob("*.o"))) <= 45


def test_a_library_about_to_go_is_not_handed_out_again():
    """Its code would be unloaded under the thread that got it."""
    symbol = "going"
    (held,) = cpu.libraries_of([TEXT.format(symbol, 5)], [symbol])
    last = [held]
    del held
    with cpu.lock:
        thread = threading.Thread(target=last.clear)
        thread.start()
        while last:
            time.sleep(0.001)
        assert cpu._linked.get(symbol) is None
    thread.join()


STRESS = """
import threading
import tenor as tn

tn.config.max_plans = 4

def work(i):
    for k in range(40):
        (tn.ones(3, k % 7 + 1) * k + i).exp().sum().item()

threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
"""


def test_threads_that_make_others_forget_their_plans(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TENOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", STRESS], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(cpu.machine() != "x86_64", reason="features of x86-64")
def test_a_target_says_whether_it_multiplies_bytes(monkeypatch):
    def dots(name, features):
        monkeypatch.setattr(config, "cpu", name)
        monkeypatch.setattr(config, "features", features)
        return cpu.host_target.__wrapped__().byte_dots

    assert dots("cascadelake", "+avx2,+fma,+avx512f,+avx512bw,+avx512vnni")
    assert not dots("skylake-avx512", "+avx2,+fma,+avx512f,+avx512bw")
    assert dots("alderlake", "+avx2,+fma,+avxvnni")
    assert not dots("haswell", "+avx2,+fma")
    assert not dots("haswell", "")
