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


def defines(made, source):
    """Return what the programs call the model's parts."""
    stem, upper = made.name, made.name.upper()
    (given,), (answer,) = source.inputs.values(), source.outputs.values()
    return {
        "HEADER": f'"{stem}.h"', "RUN": f"{stem}_run", "ALIGNED": f"{upper}_ALIGNED",
        "WORKSPACE": f"{upper}_WORKSPACE_BYTES", "GIVEN": str(int(np.prod(given.shape))),
        "COUNT": str(int(np.prod(answer.shape))),
    }  # fmt: skip


def flags(names):
    """Return names as arguments of a compiler."""
    return [f"-D{name}={value}" for name, value in names.items()]


def answered(made, source, x):
    """Return what an exported model answers, on the machine it is for."""
    if made.target in BARE:
        return _bare(made, source, x)
    return _linux(made, source, x)


def _linux(made, source, x):
    row = TARGETS.get(made.target, TARGETS["x86_64-linux"])
    compiler = needs(f"{row.compiler}gcc")
    emulator = [needs(row.emulator)] if row.emulator else []
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
    (node,) = source.outputs.values()
    return np.fromfile(folder / "y.bin", np.float32).reshape(node.shape)


def _bare(made, source, x):
    board, processor, code, data = BARE[made.target]
    compiler, emulator = needs("arm-none-eabi-gcc"), needs("qemu-system-arm")
    folder, stem = made.files[0].parent, made.name
    words = ",".join(map(hex, x.view(np.uint32).ravel().tolist()))
    (folder / "given.h").write_text(f"static const uint32_t given[] = {{{words}}};\n")
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
    (node,) = source.outputs.values()
    return np.array([int(w, 16) for w in rest], np.uint32).view(np.float32).reshape(node.shape)
