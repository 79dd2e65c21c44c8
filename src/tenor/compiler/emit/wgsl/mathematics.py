"""Functions a shader brings along, as WGSL text: one row each, with what it calls.

WGSL's own `exp`, `log`, `tanh`, `sin` and `pow` may be off by far more than a few ulps, so these
are ours: the reductions and minimax polynomials of `compiler/lower/exponential.py` and
`trigonometry.py`, written without relying on a fused multiply-add.

NaN and infinity have no literals, and an implementation may take it that there are none: they are
made by `bits` from integers that are no constants to the compiler, and asked for by their bits.
Subnormal numbers may be flushed to zero by a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["FUNCTIONS", "needed"]


def horner(x: str, coefficients: Sequence[float]) -> str:
    """Return a polynomial, highest power first, as text."""
    text = f"{coefficients[0]!r}"
    for c in coefficients[1:]:
        text = f"fma({text}, {x}, {c!r})"
    return text


EXP: Final = (0.0013814577832818031, 0.008368726819753647, 0.04166838899254799,
              0.1666652113199234, 0.4999999403953552)  # fmt: skip
"""p with e^r = 1 + r + r^2 p(r) for |r| <= ln(2)/2."""
TANH: Final = (-0.005233587231487036, 0.02019272930920124, -0.053595349192619324,
               0.13329625129699707, -0.3333321213722229)  # fmt: skip
"""p with tanh(x) = x + x^3 p(x^2) for |x| < 11/16."""
LOG: Final = (0.12007138133049011, -0.1284506469964981, 0.10754239559173584,
              -0.12195776402950287, 0.14304456114768982, -0.1667957901954651,
              0.1999959796667099, -0.24999819695949554, 0.3333333432674408)  # fmt: skip
"""p with log(1 + f) = f - f^2/2 + f^3 p(f) for |f| <= 1/3."""
ERF_SMALL: Final = (-6.666611170658143e-06, 6.400573329301551e-05, -0.00045661130570806563,
                    0.002846968360245228, -0.015130825340747833, 0.06691890954971313,
                    -0.2445884346961975, -0.100108802318573)  # fmt: skip
"""p with erf(x) = x + x p(x^2 - 3/4) for |x| < 5/4."""
ERF_TAIL: Final = (-0.00019496715685818344, 0.002089893911033869, -0.006900268141180277,
                   -0.0022403509356081486, 0.04989331588149071, 0.004644795320928097,
                   -0.4155438244342804, 0.6297737956047058)  # fmt: skip
"""q with erfc(x) = q(x - 1)^4 for 5/4 <= x <= 4."""
SIN: Final = (-0.00019516670727171004, 0.008332173340022564, -0.16666655242443085)
COS: Final = (2.4432431018794887e-05, -0.0013887309469282627, 0.04166664555668831)
TURN: Final = (0, 0x28BE60DB, 0x9391054A, 0x7F09D5F4, 0x7D4D3770, 0x36D8A566, 0x4F10E410,
               0x7F9458EA)  # fmt: skip
"""1/(2 pi) in words of 32 bits, one word of zeros in front."""

FUNCTIONS: Final[dict[str, tuple[str, str]]] = {
    "bits": ("", """
fn bits(x: u32) -> f32 { return bitcast<f32>(x); }"""),
    "is_nan": ("", """
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }"""),
    "quantized": ("is_nan", """
fn quantized(x: f32, low: f32, high: f32) -> i32 {
  let whole = i32(round(clamp(x, low, high)));
  return select(whole, i32(low), is_nan(x));
}"""),
    "is_inf": ("", """
fn is_inf(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u; }"""),
    "with_sign": ("", """
fn with_sign(x: f32, s: f32) -> f32 {
  return bitcast<f32>((bitcast<u32>(x) & 0x7fffffffu) | (bitcast<u32>(s) & 0x80000000u));
}"""),
    "round_f16": ("with_sign", """
fn round_f16(x: f32) -> f32 {
  let a = bitcast<u32>(x) & 0x7fffffffu;
  if (a > 0x7f800000u) { return x; }
  if (a >= 0x477ff000u) { return bitcast<f32>((bitcast<u32>(x) & 0x80000000u) | 0x7f800000u); }
  if (a < 0x38800000u) {
    return with_sign(round(bitcast<f32>(a) * 16777216.0) * 5.960464477539063e-08, x);
  }
  return with_sign(bitcast<f32>((a + 0xfffu + ((a >> 13u) & 1u)) & 0xffffe000u), x);
}"""),
    "round_bf16": ("is_nan", """
fn round_bf16(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let word = bitcast<u32>(x);
  return bitcast<f32>((word + 0x7fffu + ((word >> 16u) & 1u)) & 0xffff0000u);
}"""),
    "maximum": ("is_nan", """
fn maximum(a: f32, b: f32) -> f32 { return select(select(b, a, a > b), a, is_nan(a)); }"""),
    "minimum": ("is_nan", """
fn minimum(a: f32, b: f32) -> f32 { return select(select(b, a, a < b), a, is_nan(a)); }"""),
    "sign_of": ("is_nan", """
fn sign_of(x: f32) -> f32 { return select(sign(x), x, is_nan(x)); }"""),
    "power_of_two": ("", """
fn power_of_two(k: i32) -> f32 { return bitcast<f32>((k + 127) << 23u); }"""),
    "exp_rest": ("", f"""
fn exp_rest(x: f32, k: i32) -> f32 {{
  // Two numbers for one n: its two products would be made one, whose parts are there for a reason.
  let r = fma(f32(k * 2), 1.06097220e-4, fma(f32(k), -0.693359375, x));
  return fma(r * r, {horner("r", EXP)}, r);
}}"""),
    "exponential": ("bits is_nan power_of_two exp_rest", """
fn exponential(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  if (x > 89.0) { return bits(0x7f800000u); }
  if (x < -104.0) { return 0.0; }
  let k = i32(floor(fma(x, 1.44269504, 0.5)));
  let half = k >> 1u;
  return (1.0 + exp_rest(x, k)) * power_of_two(half) * power_of_two(k - half);
}"""),
    "exponential_less_one": ("bits is_nan power_of_two exp_rest", """
fn exponential_less_one(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  if (x > 89.0) { return bits(0x7f800000u); }
  if (x < -18.0) { return -1.0; }
  if (abs(x) < 1e-30) { return x; }
  let k = i32(floor(fma(x, 1.44269504, 0.5)));
  let half = power_of_two(k - 1);
  return 2.0 * fma(half, exp_rest(x, k), half - 0.5);
}"""),
    "logistic": ("exponential", """
fn logistic(x: f32) -> f32 {
  let s = exponential(-abs(x));
  return select(1.0, s, x < 0.0) / (1.0 + s);
}"""),
    "hyperbolic_tangent": ("is_nan exponential with_sign", f"""
fn hyperbolic_tangent(x: f32) -> f32 {{
  if (is_nan(x)) {{ return x; }}
  let a = min(abs(x), 10.0);
  let z = a * a;
  let small = fma(z * a, {horner("z", TANH)}, a);
  let large = 1.0 - 2.0 / (exponential(a + a) + 1.0);
  return with_sign(select(large, small, a < 0.6875), x);
}}"""),
    "error_function": ("is_nan with_sign", f"""
fn error_function(x: f32) -> f32 {{
  if (is_nan(x)) {{ return x; }}
  let a = min(abs(x), 4.0);
  let z = fma(a, a, -0.75);
  let t = a - 1.0;
  let small = fma(a, {horner("z", ERF_SMALL)}, a);
  let root = {horner("t", ERF_TAIL)};
  let square = root * root;
  let large = fma(-square, square, 1.0);
  return with_sign(select(large, small, a < 1.25), x);
}}"""),
    "log_parts": ("", f"""
fn log_parts(e: f32, y: f32) -> f32 {{
  let z = y * y;
  let rest = fma(z, -0.5, fma(e, -2.12194440e-4, y * z * ({horner("y", LOG)})));
  return fma(e, 0.693359375, y + rest);
}}"""),
    "log_edges": ("bits is_nan is_inf", """
fn log_edges(x: f32, made: f32) -> f32 {
  if (is_nan(x)) { return x; }
  if (x > 0.0) { return select(made, x, is_inf(x)); }
  return select(bits(0x7fc00000u), bits(0xff800000u), x == 0.0);
}"""),
    "logarithm": ("log_parts log_edges", """
fn logarithm(x: f32) -> f32 {
  let tiny = x < 1.1754943508222875e-38;
  let i = bitcast<i32>(select(x, x * 16777216.0, tiny));
  let e = (i - 0x3f2aaaab) >> 23u;
  let m = bitcast<f32>(i - (e << 23u));
  return log_edges(x, log_parts(f32(select(e, e - 24, tiny)), m - 1.0));
}"""),
    "logarithm_of_one_more": ("log_parts logarithm", """
fn logarithm_of_one_more(x: f32) -> f32 {
  // No trick with what 1 + x loses: it is among what a compiler may reassociate away.
  if (abs(x) < 1e-30) { return x; }
  return select(logarithm(1.0 + x), log_parts(0.0, x), abs(x) < 0.33);
}"""),
    "high_word": ("", """
fn high_word(a: u32, b: u32) -> u32 {
  let p = (a & 0xffffu) * (b & 0xffffu);
  let q = (a >> 16u) * (b & 0xffffu) + (p >> 16u);
  let r = (a & 0xffffu) * (b >> 16u) + (q & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (q >> 16u) + (r >> 16u);
}"""),
    "far_angle": ("high_word", f"""
fn far_angle(x: f32) -> vec2<f32> {{
  // Payne and Hanek: the fraction of a turn, from as many bits of 1/(2 pi) as matter.
  var turn = array<u32, 8>({", ".join(f"{w:#x}u" for w in TURN)});
  let i = bitcast<u32>(x);
  let m = (i & 0x7fffffu) | 0x800000u;
  let at = ((i >> 23u) & 255u) - 118u;
  let w = at >> 5u;
  let s = at & 31u;
  let g0 = (turn[w] << s) | ((turn[w + 1u] >> 1u) >> (31u - s));
  let g1 = (turn[w + 1u] << s) | ((turn[w + 2u] >> 1u) >> (31u - s));
  let g2 = (turn[w + 2u] << s) | ((turn[w + 3u] >> 1u) >> (31u - s));
  let more = high_word(m, g2);
  let low = m * g1 + more;
  let high = m * g0 + high_word(m, g1) + select(0u, 1u, low < more);
  let quarter = (high + 0x20000000u) >> 30u;
  let rest = bitcast<i32>(high - (quarter << 30u));
  let r = fma(f32(low), 5.421010862427522e-20, f32(rest) * 2.3283064365386963e-10);
  return vec2<f32>(f32(quarter), r * 6.283185307179586);
}}"""),
    "circular": ("bits is_nan is_inf far_angle", f"""
fn circular(x: f32, quarters: i32) -> f32 {{
  if (is_nan(x) || is_inf(x)) {{ return bits(0x7fc00000u); }}
  let a = abs(x);
  var k = i32(floor(fma(min(a, 1000.0), 0.6366197723675814, 0.5)));
  var r = fma(f32(k), -1.5703125, a);  // see exp_rest
  r = fma(f32(k * 2), -2.4187564849853516e-04, r);
  r = fma(f32(k * 4), -1.887447487192162e-08, r);
  if (a > 1000.0) {{
    let far = far_angle(a);
    k = i32(far.x);
    r = far.y;
  }}
  if (x < 0.0) {{
    k = -k;
    r = -r;
  }}
  k += quarters;
  let z = r * r;
  let sine = fma(z * r, {horner("z", SIN)}, r);
  let cosine = fma(z * z, {horner("z", COS)}, fma(z, -0.5, 1.0));
  let value = select(sine, cosine, (k & 1) != 0);
  return select(value, -value, (k & 2) != 0);
}}"""),
    "sine": ("circular", """
fn sine(x: f32) -> f32 { if (x == 0.0) { return x; } return circular(x, 0); }"""),
    "cosine": ("circular", """
fn cosine(x: f32) -> f32 { return circular(x, 1); }"""),
    "power": ("bits is_nan is_inf with_sign exponential logarithm", """
fn power(x: f32, y: f32) -> f32 {
  if (x == 1.0 || y == 0.0) { return 1.0; }
  if (is_nan(x) || is_nan(y)) { return bits(0x7fc00000u); }
  let a = abs(x);
  let whole = is_inf(y) || floor(y) == y;
  let odd = whole && !is_inf(y) && floor(y * 0.5) != y * 0.5;
  if (x < 0.0 && !is_inf(x) && !whole) { return bits(0x7fc00000u); }
  var made = 0.0;
  if (is_inf(a)) { made = select(0.0, bits(0x7f800000u), y > 0.0); }
  else if (a == 0.0) { made = select(bits(0x7f800000u), 0.0, y > 0.0); }
  else if (a == 1.0) { made = 1.0; }
  else { made = exponential(clamp(y, -1e30, 1e30) * logarithm(a)); }
  return select(made, with_sign(made, x), odd);
}"""),
    "remainder": ("bits is_nan is_inf", """
fn remainder(a: f32, b: f32) -> f32 {
  // a - trunc(a/b) b exactly: a long division of the fractions, eight bits a round.
  if (is_nan(a) || is_nan(b) || is_inf(a) || b == 0.0) { return bits(0x7fc00000u); }
  let ia = bitcast<u32>(a) & 0x7fffffffu;
  let ib = bitcast<u32>(b) & 0x7fffffffu;
  if (ia < ib) { return a; }
  let ea = max(ia >> 23u, 1u);
  let eb = max(ib >> 23u, 1u);
  let mb = select(ib & 0x7fffffu, (ib & 0x7fffffu) | 0x800000u, ib >= 0x800000u);
  var m = select(ia & 0x7fffffu, (ia & 0x7fffffu) | 0x800000u, ia >= 0x800000u) % mb;
  var left = ea - eb;
  while (left > 0u) {
    let step = min(left, 8u);
    m = (m << step) % mb;
    left -= step;
  }
  let sign = bitcast<u32>(a) & 0x80000000u;
  if (m == 0u) { return bitcast<f32>(sign); }
  let up = 23u - firstLeadingBit(m);
  if (up >= eb) { return bitcast<f32>(sign | (m << (eb - 1u))); }
  return bitcast<f32>(sign | ((eb - up) << 23u) | ((m << up) & 0x7fffffu));
}"""),
    "modulo": ("remainder", """
fn modulo(a: f32, b: f32) -> f32 {
  let r = remainder(a, b);
  return select(r, r + b, r != 0.0 && (r < 0.0) != (b < 0.0));
}"""),
    "floor_divide": ("remainder with_sign", """
fn floor_divide(a: f32, b: f32) -> f32 {
  let quotient = a / b;
  if (b == 0.0) { return quotient; }
  let r = remainder(a, b);
  let exact = (a - r) / b - select(0.0, 1.0, r != 0.0 && (r < 0.0) != (b < 0.0));
  if (exact == 0.0) { return with_sign(0.0, quotient); }
  let down = floor(exact);
  return select(down, down + 1.0, exact - down > 0.5);
}"""),
    "floor_divide_i32": ("", """
fn floor_divide_i32(a: i32, b: i32) -> i32 {
  if (b == 0) { return 0; }
  if (b == -1) { return -a; }
  let q = a / b;
  return select(q, q - 1, a - q * b != 0 && (a < 0) != (b < 0));
}"""),
    "modulo_i32": ("", """
fn modulo_i32(a: i32, b: i32) -> i32 {
  if (b == 0 || b == -1) { return 0; }
  let r = a - a / b * b;
  return select(r, r + b, r != 0 && (r < 0) != (b < 0));
}"""),
    "floor_divide_u32": ("", """
fn floor_divide_u32(a: u32, b: u32) -> u32 { if (b == 0u) { return 0u; } return a / b; }"""),
    "modulo_u32": ("", """
fn modulo_u32(a: u32, b: u32) -> u32 { if (b == 0u) { return 0u; } return a % b; }"""),
    "power_u32": ("", """
fn power_u32(a: u32, b: u32) -> u32 {
  var made = 1u;
  var base = a;
  var left = b;
  while (left != 0u) {
    if ((left & 1u) != 0u) { made *= base; }
    base *= base;
    left = left >> 1u;
  }
  return made;
}"""),
    "power_i32": ("power_u32", """
fn power_i32(a: i32, b: i32) -> i32 {
  if (b >= 0) { return bitcast<i32>(power_u32(bitcast<u32>(a), bitcast<u32>(b))); }
  if (a == 1) { return 1; }
  if (a == -1) { return select(1, -1, (b & 1) != 0); }
  return 0;
}"""),
    "word_of": ("", """
fn word_of(x: f32) -> i32 {
  return select(i32(x), bitcast<i32>(u32(x)), x >= 2147483648.0);
}"""),
}  # fmt: skip
"""By name: the functions it calls, and its text."""


def needed(names: Iterable[str]) -> list[str]:
    """Return the texts of functions and of what they call, each once, callees first."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        if name not in found:
            for callee in FUNCTIONS[name][0].split():
                add(callee)
            found[name] = None

    for name in sorted(names):
        add(name)
    return [FUNCTIONS[name][1].strip() for name in found]
