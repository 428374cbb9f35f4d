"""Fixtures: where the shared test data is, and skipping without it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real Caffe2's nets and answers; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs real Caffe2's data in {SHARED.name}/ beside the checkout")
    return SHARED
