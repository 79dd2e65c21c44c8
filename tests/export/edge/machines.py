"""Programs around an exported model, run on the machine it was exported for or on its emulator."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tenor.export.edge import TARGETS

HERE = Path(__file__).parent
BARE = {
    # QEMU's machine, GCC's processor, where code and data lie
    "cortex-m4": ("mps2-an386", "cortex-m4 -mfpu=fpv4-sp-d16", "0", "0x21000000"),
    "cortex-m55": ("mps3-an547", "cortex-m55", "0", "0x31000000"),
}


def needs(tool):
    """Return the path of a tool; without it the test is skipped."""
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed")
    return found


def done(command, **more):
    """Run a command that must succeed."""
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, **more)
    assert made.returncode == 0, f"{command}\n{made.stdout}\n{made.stderr}"
    return made.stdout


def places(nodes):
    """Return where values lie in one block, each at a multiple of 64 bytes; and its bytes."""
    sizes = [-(-int(np.prod(n.shape)) * n.dtype.itemsize // 64) * 64 for n in nodes]
    return [sum(sizes[:i]) for i in range(len(sizes))], sum(sizes)


def defines(made, source):
    """Return what the programs call the model's parts."""
    stem, upper = made.name, made.name.upper()
    inputs, given = places(source.inputs.values())
    outputs, answer = places(source.outputs.values())
    return {
        "HEADER": f'"{stem}.h"', "RUN": f"{stem}_run", "ALIGNED": f"{upper}_ALIGNED",
        "WORKSPACE": f"{upper}_WORKSPACE_BYTES", "GIVEN": given, "ANSWER": answer,
        "INPUTS": "{" + ",".join(f"(const uint8_t *)given+{at}" for at in inputs) + "}",
        "OUTPUTS": "{" + ",".join(f"answer+{at}" for at in outputs) + "}",
    }  # fmt: skip


def block(source, given):
    """Return inputs as the one block the programs are given."""
    starts, nbytes = places(source.inputs.values())
    made = np.zeros(nbytes, np.uint8)
    for at, array in zip(starts, given, strict=True):
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        made[at : at + raw.size] = raw
    return made


def parted(source, raw):
    """Return outputs from the block the programs write."""
    starts, _ = places(source.outputs.values())
    found = []
    for at, node in zip(starts, source.outputs.values(), strict=True):
        size = int(np.prod(node.shape)) * node.dtype.itemsize
        found.append(raw[at : at + size].view(node.dtype.numpy).reshape(node.shape))
    return found


def flags(names):
    """Return names as arguments of a compiler."""
    return [f"-D{name}={value}" for name, value in names.items()]


def answered(made, source, given, emulator=()):
    """Return what an exported model answers, on the machine it is for, or on an emulator's."""
    if made.target in BARE:
        return parted(source, _bare(made, source, block(source, given)))
    return parted(source, _linux(made, source, block(source, given), emulator))


def _linux(made, source, x, emulator):
    row = TARGETS.get(made.target, TARGETS["x86_64-linux"])
    compiler = needs(f"{row.compiler}gcc")
    emulator = [*emulator] or ([needs(row.emulator)] if row.emulator else [])
    folder = made.files[0].parent
    names = defines(made, source) | {"WEIGHTS": f"{made.name.upper()}_WEIGHTS_BYTES"}
    code = next(f for f in made.files if f.suffix in (".o", ".c"))
    strict = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O1"]
    static = ["-static"] if emulator else []
    done([compiler, *strict, *flags(names), f"-I{folder}", "-o", folder / "program",
          HERE / "linux.c", code, *static, "-lm"])  # fmt: skip
    x.tofile(folder / "x.bin")
    weights = next(f for f in made.files if f.suffix == ".bin")
    done([*emulator, folder / "program", weights, folder / "x.bin", folder / "y.bin"])
    return np.fromfile(folder / "y.bin", np.uint8)


def _bare(made, source, x):
    board, processor, code, data = BARE[made.target]
    compiler, emulator = needs("arm-none-eabi-gcc"), needs("qemu-system-arm")
    folder, stem = made.files[0].parent, made.name
    words = ",".join(map(hex, x.view(np.uint32).tolist()))
    (folder / "given.h").write_text(f"static const ALIGNED uint32_t given[] = {{{words}}};\n")
    names = defines(made, source)
    names |= {"WEIGHTS": f'"{stem}_weights.h"', "STEM_weights": f"{stem}_weights"}
    run = done([
        compiler, f"-mcpu={processor.split()[0]}", *processor.split()[1:], "-mthumb",
        "-mfloat-abi=hard", "-std=gnu99", "-O1", "-ffreestanding", "-nostdlib", "-nostartfiles",
        *flags(names), f"-I{folder}", f"-Wl,--defsym=CODE={code},--defsym=DATA={data}",
        "-Wl,--no-warn-rwx-segments", "-Wl,-T", HERE / "bare.ld", "-o", folder / "program.elf",
        HERE / "bare.c", folder / f"{stem}.o",
    ])  # fmt: skip
    assert run == ""
    said = done([
        emulator, "-M", board, "-display", "none", "-serial", "none", "-monitor", "none",
        "-chardev", "stdio,id=host", "-semihosting-config", "enable=on,target=native,chardev=host",
        "-kernel", folder / "program.elf",
    ], stdin=subprocess.DEVNULL)  # fmt: skip
    status, *rest = said.split()
    assert status == "0" * 8, said
    return np.array([int(w, 16) for w in rest], np.uint32).view(np.uint8)
