"""What scripts ask about CUDA devices: there are none, and seeding them seeds the one stream."""

from __future__ import annotations

from tenor.tensor.random import manual_seed, seed

__all__ = ["device_count", "is_available", "manual_seed", "manual_seed_all", "seed"]


def is_available() -> bool:
    """Tell whether there is a device to use: Tenor runs on the CPU."""
    return False


def device_count() -> int:
    """Return the number of devices."""
    return 0


manual_seed_all = manual_seed
