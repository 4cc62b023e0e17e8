"""What a number in the configuration must not be."""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator


def _no_truth(value: Any) -> Any:
    """Python counts true as 1, and YAML reads yes and on as true."""
    if isinstance(value, bool):
        raise ValueError("not a number")
    return value


# What env_var and var render arrives as text, which pydantic reads as a number.
NoTruth = BeforeValidator(_no_truth)
