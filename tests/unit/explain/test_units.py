"""Numbers as people read them."""

import pytest

from tenor.explain.units import bytes_text, count_text, measured_text, seconds_text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 20, "1 MiB"), (5 << 50, "5120 TiB")],
)
def test_bytes(count, text):
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (2_500_000, "2.5 M"), (7 * 10**9, "7 G")]
)
def test_counts(count, text):
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (2.5, "2.5 s"), (0.0042, "4.2 ms"), (3.1e-5, "31 µs"), (2e-9, "2 ns"),
     (5e-10, "0.5 ns")],
)  # fmt: skip
def test_seconds(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.0, "< 1 ns"), (4.5e-13, "< 1 ns"), (2e-9, "2 ns")]
)
def test_measured(seconds, text):
    assert measured_text(seconds) == text
