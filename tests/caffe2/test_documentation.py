"""The example of docs/caffe2-api.md prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "caffe2-api.md"


def test_the_example(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    code, output = re.search(r"```python\n(.*?)```\n\nIt prints\n\n```\n(.*?)```", text, re.S).groups()  # type: ignore[union-attr]
    (tmp_path / "example.py").write_text(code)
    run = subprocess.run(
        [sys.executable, "-m", "graphc.caffe2", "example.py"], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert run.stdout == output, run.stderr
