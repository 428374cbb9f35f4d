"""Preferences for engines: Caffe2's ways to choose between implementations, which graphc accepts.

An engine that computes other answers (DNNLOWP) counts where an operator names it; the others change no answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Preference = Mapping[int, Sequence[str]]
"""Device type -> engines, the best first."""


def SetGlobalEnginePref(pref: Preference) -> None:
    """Prefer engines for all operators."""


def SetPerOpEnginePref(pref: Mapping[int, Mapping[str, Sequence[str]]]) -> None:
    """Prefer engines by device type and operator."""


def SetEnginePref(per_op_pref: Mapping[int, Mapping[str, Sequence[str]]], global_pref: Preference) -> None:
    """Both of them."""


def SetOpEnginePref(op_type: str, pref: Preference) -> None:
    """Prefer engines for an operator."""
