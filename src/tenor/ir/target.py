"""What code is generated for: an LLVM triple and a feature record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["BESIDE_AVX2", "Target"]

WASM: Final = ",".join(
    f"+{name}"
    for name in (
        "simd128", "bulk-memory", "bulk-memory-opt", "nontrapping-fptoint", "sign-ext",
        "mutable-globals",
    )
)  # fmt: skip
"""What every engine with SIMD has."""


DSP: Final = frozenset(("thumbv7em", "armv7em"))
"""Families that always have ARM's dsp instructions."""


@dataclass(frozen=True)
class Target:
    """A machine to generate code for.

    Attributes:
        triple: LLVM's name of architecture and system.
        cpu: LLVM's name of the processor.
        features: LLVM's feature string.
        vector_bits: Width of a vector register.
        registers: Number of vector registers.
        has_fma: Whether a * b + c rounds once in one instruction.
        byte_dots: Whether one instruction adds products of four unsigned and four signed bytes to
            a 32-bit sum (x86's VNNI).
        choices: Machines that have more, the best first and those with wider vectors before
            others, of which code asks at run time which it meets: the innermost loops of products
            are written for them too.
    """

    triple: str
    cpu: str = ""
    features: str = ""
    vector_bits: int = 128
    registers: int = 16
    has_fma: bool = True
    byte_dots: bool = False
    choices: tuple[Target, ...] = ()

    @property
    def pointer_bytes(self) -> int:
        """Bytes of a pointer."""
        family = self.triple.partition("-")[0]
        wide = ("x86_64", "amd64", "aarch64", "arm64", "riscv64", "wasm64", "powerpc64", "s390x")
        return 8 if family.startswith(wide) else 4

    @property
    def stacked(self) -> bool:
        """Whether code is for a stack machine.

        LLVM puts all loads of a chain of multiply-adds before the chain there, and an engine keeps
        that order: chains are to be short.
        """
        return self.triple.startswith("wasm")

    @property
    def dots(self) -> str:
        """How products of narrow integers are added up.

        "vnni": four unsigned and four signed bytes an instruction (x86); "sdot": four signed bytes
        (aarch64 with dotprod); "pairs": two 16-bit numbers, in vectors (x86's pmaddwd and wasm's
        i32x4.dot_i16x8_s); "smlad": four signed bytes of general registers, by two instructions
        (ARM with dsp); "asked": as the machine that is met does it (x86); "": one.
        """
        family = self.triple.partition("-")[0]
        if family in ("x86_64", "i686", "i386"):
            return "asked" if self.choices else "vnni" if self.byte_dots else "pairs"
        if family.startswith("wasm"):
            return "pairs" if "+simd128" in self.features or "simd" in self.features else ""
        if family in ("aarch64", "arm64"):
            return "sdot" if "+dotprod" in self.features else ""
        narrow = family.startswith(("thumb", "arm")) and self.vector_bits < 64
        return "smlad" if narrow and (family in DSP or "+dsp" in self.features) else ""

    def lanes(self, bits: int) -> int:
        """Return how many elements of so many bits a vector register holds."""
        return max(1, self.vector_bits // bits)

    @classmethod
    def x86_64_avx2(cls) -> Target:
        """Return an x86-64 machine with AVX2 and FMA."""
        return cls("x86_64-unknown-linux-gnu", "haswell", "", 256, 16)

    @classmethod
    def x86_64_avx512(cls) -> Target:
        """Return an x86-64 machine with AVX-512."""
        return cls("x86_64-unknown-linux-gnu", "skylake-avx512", "", 512, 32)

    @classmethod
    def aarch64(cls) -> Target:
        """Return a 64-bit ARM machine with NEON."""
        return cls("aarch64-unknown-linux-gnu", "generic", "+neon", 128, 32)

    @classmethod
    def wasm32(cls, *, relaxed: bool = False) -> Target:
        """Return WebAssembly with 128-bit SIMD, as every browser since 2023 runs it.

        Args:
            relaxed: With relaxed SIMD too, whose a * b + c is one instruction.
        """
        # has_fma stays False: llvm.fma would be a call of a C library, llvm.fmuladd is relaxed_madd
        features = f"{WASM},+relaxed-simd" if relaxed else WASM
        # An engine keeps some of the processor's 16 for itself, and puts values into memory early:
        # tiles for 12 ran up to 1.7 times faster than tiles for 16.
        return cls("wasm32-unknown-unknown", "generic", features, 128, 12, has_fma=False)


X86_64: Final = "x86_64-unknown-linux-gnu"
AVX512: Final = "+avx512f,+avx512bw,+avx512vl"
BESIDE_AVX2: Final = (
    Target(X86_64, "", f"{AVX512},+avx512vnni", 512, 32, byte_dots=True),
    Target(X86_64, "", AVX512, 512, 32),
    Target(X86_64, "", "+avxvnni", 256, 16, byte_dots=True),
)
"""What a processor with AVX2 may have beside it, as choices of one."""
