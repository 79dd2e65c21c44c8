"""Which of several x86-64 processors code meets: asked once, and remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tenor.ir.target import Target

__all__ = ["ASKED", "processor"]

ASKED: Final = "tenor.processor"
"""The function that tells the number of the first of a target's choices that is there."""
READ: Final = (
    "53"                # push rbx
    "b807000000"        # mov eax, 7
    "31c9"              # xor ecx, ecx
    "0fa2"              # cpuid
    "4189d8"            # mov r8d, ebx
    "4189c9"            # mov r9d, ecx
    "b807000000"        # mov eax, 7
    "b901000000"        # mov ecx, 1
    "0fa2"              # cpuid
    "4189c2"            # mov r10d, eax
    "31c9"              # xor ecx, ecx
    "0f01d0"            # xgetbv
    "448907"            # mov [rdi], r8d
    "44894f04"          # mov [rdi + 4], r9d
    "44895708"          # mov [rdi + 8], r10d
    "89470c"            # mov [rdi + 12], eax
    "5b"                # pop rbx
)  # fmt: skip
"""Machine code that stores four words: EBX and ECX of CPUID's leaf 7, EAX of its second part, and
the registers that the system saves. It runs ahead of a function's body ("prologue data" of LLVM):
assembly text would need LLVM's parser for x86, which is there on x86 alone."""
WANTED: Final = {
    # AVX512F, BW and VL; AVX512-VNNI; nothing; vectors of 512 bits and masks
    "+avx512vnni": (1 << 16 | 1 << 30 | 1 << 31, 1 << 11, 0, 0xE6),
    "+avx512vl": (1 << 16 | 1 << 30 | 1 << 31, 0, 0, 0xE6),
    # AVX-VNNI; vectors of 256 bits
    "+avxvnni": (0, 0, 1 << 4, 0x6),
}  # fmt: skip
"""The last of a choice's features -> the bits of each word that have to be set."""
TEXT: Final = """\
define internal x86_64_sysvcc i32 @{asked}.read(ptr %to) noinline #0 prologue {code} {{
{tests}
}}
define internal i32 @{asked}.first() noinline #0 {{
  %to = alloca [4 x i32], align 16
  %found = call x86_64_sysvcc i32 @{asked}.read(ptr %to)
  store atomic i32 %found, ptr @{asked}.known monotonic, align 4
  ret i32 %found
}}
define internal i32 @{asked}() noinline #0 {{
entry:
  %known = load atomic i32, ptr @{asked}.known monotonic, align 4
  %is = icmp ne i32 %known, 0
  br i1 %is, label %done, label %ask
ask:
  %found = call i32 @{asked}.first()
  br label %done
done:
  %all = phi i32 [ %known, %entry ], [ %found, %ask ]
  %number = sub i32 %all, 1
  ret i32 %number
}}"""


def processor(target: Target) -> list[str]:
    """Return the definitions of what tells which of a target's choices is there.

    A word of the module holds the number and one, 0 while nobody has asked: CPUID takes many
    thousand cycles in a virtual machine. Threads that ask at once store the same.
    """
    code = bytes.fromhex(READ)
    data = f'[{len(code)} x i8] c"' + "".join(f"\\{byte:02x}" for byte in code) + '"'
    lines = []
    for i in range(4):
        lines += [f"  %p{i} = getelementptr i32, ptr %to, i64 {i}",
                  f"  %x{i} = load volatile i32, ptr %p{i}, align 4"]  # fmt: skip
    answer = str(len(target.choices) + 1)
    for at, choice in reversed([*enumerate(target.choices)]):
        parts = []
        for i, bits in enumerate(WANTED[choice.features.rpartition(",")[2]]):
            parts.append(f"%has{at}.{i}")
            lines += [f"  %and{at}.{i} = and i32 %x{i}, {bits}",
                      f"  {parts[-1]} = icmp eq i32 %and{at}.{i}, {bits}"]  # fmt: skip
        whole = parts[0]
        for i, part in enumerate(parts[1:]):
            lines.append(f"  %all{at}.{i} = and i1 {whole}, {part}")
            whole = f"%all{at}.{i}"
        lines.append(f"  %answer{at} = select i1 {whole}, i32 {at + 1}, i32 {answer}")
        answer = f"%answer{at}"
    lines.append(f"  ret i32 {answer}")
    return [
        f"@{ASKED}.known = internal global i32 0, align 4",
        TEXT.format(asked=ASKED, code=data, tests="\n".join(lines)),
    ]
