"""C99 functions that stand at the top of a file where they are used."""

from __future__ import annotations

from typing import Final

__all__ = ["HEAD", "ROUTINES", "saturating"]

HEAD: Final = """\
#if defined(__GNUC__)
#define T_ALIAS __attribute__((__may_alias__))
#else
#define T_ALIAS
#endif
typedef unsigned char t_byte;
typedef t_byte *T_ALIAS t_ptr;
typedef float T_ALIAS t_f32;
typedef double T_ALIAS t_f64;
typedef uint8_t T_ALIAS t_i8;
typedef uint16_t T_ALIAS t_i16;
typedef uint16_t T_ALIAS t_f16;
typedef uint16_t T_ALIAS t_bf16;
typedef uint32_t T_ALIAS t_i32;
typedef uint64_t T_ALIAS t_i64;
"""
ROUTINES: Final = {
    "bits_of_float": """\
static uint32_t bits_of_float(float x) {
    union { float x; uint32_t bits; } u;
    u.x = x;
    return u.bits;
}""",
    "float_of_bits": """\
static float float_of_bits(uint32_t bits) {
    union { float x; uint32_t bits; } u;
    u.bits = bits;
    return u.x;
}""",
    "bits_of_double": """\
static uint64_t bits_of_double(double x) {
    union { double x; uint64_t bits; } u;
    u.x = x;
    return u.bits;
}""",
    "double_of_bits": """\
static double double_of_bits(uint64_t bits) {
    union { double x; uint64_t bits; } u;
    u.bits = bits;
    return u.x;
}""",
    "float_of_half": """\
static float float_of_half(uint16_t half) {
    union { float x; uint32_t bits; } u;
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7fffu;
    if (rest < 0x400u) { /* zero, or rest * 2^-24 */
        u.x = (float)rest * 5.9604644775390625e-8f;
    } else {
        u.bits = (rest << 13) + (rest < 0x7c00u ? 0x38000000u : 0x70000000u);
    }
    u.bits |= sign;
    return u.x;
}""",
    "half_of_float": """\
static uint16_t half_of_float(float x) { /* to the nearest, ties to even */
    union { float x; uint32_t bits; } u, small;
    uint32_t sign, rest;
    u.x = x;
    sign = u.bits >> 16 & 0x8000u;
    rest = u.bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (rest >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (rest < 0x38800000u) { /* below 2^-14: the sum's last bits count in 2^-24 */
        small.bits = rest;
        small.x += 0.5f;
        return (uint16_t)(sign | (small.bits - 0x3f000000u));
    }
    rest += 0xfffu + (rest >> 13 & 1u);
    return (uint16_t)(sign | (rest - 0x38000000u) >> 13);
}""",
    "ctlz": """\
static int ctlz(uint64_t x, int width) {
    int count = 0;
    while (count < width && !(x >> (width - 1 - count) & 1u)) count++;
    return count;
}""",
    "cttz": """\
static int cttz(uint64_t x, int width) {
    int count = 0;
    while (count < width && !(x >> count & 1u)) count++;
    return count;
}""",
    "ctpop": """\
static int ctpop(uint64_t x, int width) {
    int count = 0;
    for (; width > 0; width--, x >>= 1) count += (int)(x & 1u);
    return count;
}""",
}


def saturating(source: str, signed: str, bits: int, *, unsigned: bool) -> tuple[str, str]:
    """Return the name and text of a function from a float to the nearest integer in range.

    Args:
        source: "float" or "double".
        signed: The signed integer's type.
        bits: Its width.
        unsigned: Whether the integer has no sign.
    """
    kind = f"u{signed}" if unsigned else signed
    stem = kind.removesuffix("_t")
    tail = "f" if source == "float" else ""
    top = 2.0 ** (bits if unsigned else bits - 1)
    low = "0" if unsigned else f"{stem.upper()}_MIN"
    under = f"x <= 0.0{tail}" if unsigned else f"x <= {-top!r}{tail}"
    name = f"{stem}_of_{source}"
    return name, (
        f"static {kind} {name}({source} x) {{\n"
        f"    if (x != x) return 0;\n"
        f"    if ({under}) return {low};\n"
        f"    return x >= {top!r}{tail} ? {stem.upper()}_MAX : ({kind})x;\n}}"
    )
