"""The machines an object file is made for: one row each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tenor.errors import ArgumentError
from tenor.ir.target import BESIDE_AVX2, Target
from tenor.runtime import cpu

__all__ = ["TARGETS", "Machinery", "machinery"]


@dataclass(frozen=True)
class Machinery:
    """A machine, and how its files are made.

    Triples are written with four fields on ARM: with three, LLVM passes floats in integer
    registers, and such an object cannot be linked with others.

    Attributes:
        name: What it is asked for by.
        about: What it is, in a few words.
        target: What code is generated for.
        reloc: "pic" where an object may go into a shared library, else "static".
        compiler: The prefix of GCC's names for it; "" for the host's own.
        emulator: The program of QEMU that runs its Linux programs here; "" where there is none.
        lacks: Names of dtypes that nothing can be computed with.
    """

    name: str
    about: str
    target: Target
    reloc: str = "static"
    compiler: str = ""
    emulator: str = ""
    lacks: tuple[str, ...] = ()


def _x86_64(cpu: str, bits: int, registers: int, triple: str, *, fma: bool = True) -> Target:
    return Target(triple, cpu, "", bits, registers, has_fma=fma)


def _avx2(triple: str) -> Target:
    return replace(_x86_64("haswell", 256, 16, triple), choices=BESIDE_AVX2)


def _arm64(triple: str, cpu: str = "generic", features: str = "+neon") -> Target:
    return Target(triple, cpu, features, 128, 32)


def _cortex(triple: str, cpu: str, features: str, bits: int = 32, registers: int = 16) -> Target:
    return Target(triple, cpu, features, bits, registers)


LINUX: Final = "x86_64-unknown-linux-gnu"
ROWS: Final = (
    Machinery("x86_64-linux", "x86-64 with AVX2 (2013 and later), and what is found beside it",
              _avx2(LINUX), "pic"),
    Machinery("x86_64-avx512", "x86-64 with AVX-512",
              _x86_64("skylake-avx512", 512, 32, LINUX), "pic"),
    Machinery("x86_64-vnni", "x86-64 with AVX-512 and VNNI, for eight bits (2019 and later)",
              replace(_x86_64("cascadelake", 512, 32, LINUX), byte_dots=True), "pic"),
    Machinery("x86_64-baseline", "any x86-64",
              _x86_64("x86-64", 128, 16, LINUX, fma=False), "pic"),
    Machinery("x86_64-windows", "x86-64 with AVX2, COFF",
              _avx2("x86_64-pc-windows-gnu"), "pic"),
    Machinery("aarch64-linux", "64-bit ARM",
              _arm64("aarch64-unknown-linux-gnu"), "pic", "aarch64-linux-gnu-",
              "qemu-aarch64-static"),
    Machinery("aarch64-linux-dotprod", "64-bit ARM with sdot (Cortex-A55, A76 and later)",
              _arm64("aarch64-unknown-linux-gnu", features="+neon,+dotprod"), "pic",
              "aarch64-linux-gnu-", "qemu-aarch64-static"),
    Machinery("aarch64-android", "64-bit ARM, Android 5 and later",
              _arm64("aarch64-unknown-linux-android21"), "pic"),
    Machinery("aarch64-macos", "Apple silicon, Mach-O",
              _arm64("arm64-apple-macosx11.0.0", "apple-m1"), "pic"),
    Machinery("aarch64-ios", "iPhone, iPad, Mach-O",
              _arm64("arm64-apple-ios13.0.0", "apple-a12"), "pic"),
    Machinery("armv7-linux", "32-bit ARM with NEON and VFPv4 (Cortex-A7 and later), hard-float",
              Target("thumbv7a-unknown-linux-gnueabihf", "cortex-a7", "+neon,+vfp4", 128, 16),
              "pic", "arm-linux-gnueabihf-", "qemu-arm-static"),
    Machinery("cortex-m4", "Cortex-M4 with its FPU, bare metal",
              _cortex("thumbv7em-unknown-none-eabihf", "cortex-m4", "+vfp4d16sp"),
              compiler="arm-none-eabi-"),
    Machinery("cortex-m7", "Cortex-M7 with its single-precision FPU, bare metal",
              _cortex("thumbv7em-unknown-none-eabihf", "cortex-m7", "+fp-armv8d16sp,-fp64"),
              compiler="arm-none-eabi-"),
    Machinery("cortex-m33", "Cortex-M33 with its FPU, bare metal",
              _cortex("thumbv8m.main-unknown-none-eabihf", "cortex-m33", "+fp-armv8d16sp"),
              compiler="arm-none-eabi-"),
    Machinery("cortex-m55", "Cortex-M55 with vectors (MVE), bare metal",
              _cortex("thumbv8.1m.main-unknown-none-eabihf", "cortex-m55", "+mve.fp", 128, 8),
              compiler="arm-none-eabi-"),
    Machinery("riscv64-linux", "64-bit RISC-V (RV64GC)",
              Target("riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c", 32, 16), "pic",
              "riscv64-linux-gnu-", "qemu-riscv64-static"),
    Machinery("riscv32-bare", "32-bit RISC-V with an FPU (RV32IMAFC), bare metal",
              Target("riscv32-unknown-none-elf", "generic-rv32", "+m,+a,+f,+c", 32, 16),
              compiler="riscv64-unknown-elf-", lacks=("float16",)),
)  # fmt: skip
TARGETS: Final = {row.name: row for row in ROWS}
"""Each machine by its name."""
NATIVE: Final = "native"
"""Stands for the processor of the machine that exports."""


def machinery(name: str) -> Machinery:
    """Return the machine of a name.

    Raises:
        ArgumentError: There is none.
    """
    if name == NATIVE:
        return Machinery(name, "this machine's processor", cpu.host_target(), "pic")
    found = TARGETS.get(name)
    if found is None:
        raise ArgumentError(
            "export: target must be a machine Tenor knows.",
            came=repr(name),
            fix=f"choose from {', '.join((NATIVE, *TARGETS))}; for others, form='c' gives a C99 "
            "file",
        )
    return found
