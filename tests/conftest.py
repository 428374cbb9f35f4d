"""Fixtures: where the shared test data is, and skipping without it. Collection of ``.gir`` files; golden files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# one kernel cache for all tests and the processes that they start, apart from the user's, kept between runs
os.environ.setdefault("GRAPHC_CACHE_DIR", str(ROOT / "build" / "kernel-cache"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what comes out into .gir and golden files")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix != ".gir":
        return None
    from gir import GirFile  # loads all passes, which most tests do without

    return GirFile.from_parent(parent, path=file_path)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real Caffe2's nets and answers; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs real Caffe2's data in {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)``: the text equals ``tests/golden/<name>``, which ``--update-golden`` writes."""

    def check(name: str, text: str) -> None:
        path = ROOT / "tests" / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no golden file {name}: pytest --update-golden writes it"
        assert text == path.read_text(encoding="utf-8"), f"differs from golden file {name}"

    return check
