"""A few hundred cases of the mutation fuzzer; ``tests/fuzz_netdef.py`` runs more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZER = Path(__file__).resolve().parent.parent / "fuzz_netdef.py"


def run_fuzzer(*options: object) -> str:
    """In a process of its own: a crash would end it, and the limits are for it alone."""
    command = [sys.executable, "-I", str(FUZZER), *map(str, options)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    return result.stdout


def test_small_nets() -> None:
    assert "400 cases from 3 nets" in run_fuzzer("--cases", 400, "--seed", 3, "--compile")


def test_shared_nets(shared: Path) -> None:
    output = run_fuzzer("--cases", 200, "--seed", 4, "--compile", "--nets", shared / "models", "--most-bytes", 100_000)
    assert "FAILED" not in output
    assert "accepted" in output
