"""The examples of docs/caffe2-api.md print what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "caffe2-api.md"
EXAMPLES = re.findall(
    r"```python\n((?:(?!```).)*)```\n\nIt prints\n\n```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
)


@pytest.mark.parametrize(("code", "output"), EXAMPLES, ids=[f"example {i}" for i in range(len(EXAMPLES))])
def test_the_examples(tmp_path: Path, code: str, output: str) -> None:
    (tmp_path / "example.py").write_text(code)
    run = subprocess.run(
        [sys.executable, "-m", "graphc.caffe2", "example.py"], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert run.stdout == output, run.stderr
