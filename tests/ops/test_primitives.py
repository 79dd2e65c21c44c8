"""Every primitive, compiled, against the reference interpreter: dtypes x shapes x modes."""

import pytest

from tenor.ir import dtype as dt
from tenor.ir.op import OPS
from tests.ops.differential import AXES, complaint, seed_of
from tests.ops.primitives import contraction, elementwise, index, movement, order, reduce, source

FAMILIES = (source, elementwise, reduce, movement, index, contraction, order)
CASES = {name: case for family in FAMILIES for name, case in family.CASES.items()}
# The dtypes of the fast tier: each kind, each way to compute, one and several bytes.
QUICK = (dt.float32, dt.bfloat16, dt.int64, dt.uint8, dt.bool_)
PAIRS = [
    pytest.param(name, dtype, marks=() if dtype in QUICK else pytest.mark.slow)
    for name, case in CASES.items()
    for dtype in case.dtypes
]


def missing(cases):
    """Return the primitives nobody tries."""
    return [name for name in OPS if name not in cases]


def test_every_primitive_has_a_case():
    assert missing(CASES) == [], f"tests/ops/primitives has no row for {missing(CASES)}"
    assert set(CASES) <= set(OPS)


def test_a_primitive_without_a_case_is_named():
    assert missing({name: None for name in OPS if name != "fold"}) == ["fold"]


@pytest.mark.parametrize(("name", "dtype"), PAIRS, ids=lambda p: getattr(p, "name", p))
def test_a_primitive_gives_what_the_reference_gives(name, dtype, count):
    case, found = CASES[name], []
    for sample in case.samples(dtype):
        for mode in sample.modes:
            seed = seed_of(name, dtype.name, sample.label)
            problem = complaint(sample, mode, case.tolerance, seed)
            count("ops", AXES)
            if problem:
                found.append(f"{sample.label}, {mode}: {problem}")
    assert not found, f"{name} {dtype.name}: {len(found)} wrong\n" + "\n".join(found[:20])
