"""The examples of saved models, each in a process of its own; the quick start of the page for people from Caffe2."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "coming-from-caffe2.md"


def run(script: Path, *arguments: str, cwd: Path) -> str:
    """What a script prints."""
    command = [sys.executable, "-I", "-m", "graphc.caffe2", str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_predictor_export(tmp_path: Path) -> None:
    said = run(ROOT / "examples" / "predictor_export.py", "digits.minidb", cwd=tmp_path)
    assert "exported 8 parameters; the first picture is a" in said
    assert "loaded: 357 of 360 right" in said
    assert (tmp_path / "digits.minidb").stat().st_size > 80_000


def test_draw_net(tmp_path: Path) -> None:
    said = run(ROOT / "examples" / "draw_net.py", "digits.png", cwd=tmp_path)
    assert '"FC (op#8)" -> "Softmax (op#9)";' in said
    assert "digits.Softmax(['fc4'], ['softmax'])" in said
    with Image.open(tmp_path / "digits.png") as picture:
        assert picture.width > picture.height > 50
    assert (tmp_path / "digits.svg").read_text().count("<polygon") == 10 + 19
    assert (tmp_path / "digits.dot").read_text().count("->") == 28


def without_digits(text: str) -> str:
    """Numbers to three digits: the last ones are the processor's."""
    return re.sub(r"\d+\.\d+(e-\d+)?", lambda m: f"{float(m[0]):.3g}", text)


def test_the_quick_start_of_the_page(shared: Path, tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    code, output = re.search(r"```python\n(.*?)```\n\nIt prints\n\n```\n(.*?)```", text, re.S).groups()  # type: ignore[union-attr]
    for name in ("init_net.pb", "predict_net.pb"):
        shutil.copy(shared / "models" / "squeezenet_v1.1" / name, tmp_path)
    shutil.copy(shared / "photos" / "daisy.jpg", tmp_path / "flower.jpg")
    (tmp_path / "quick_start.py").write_text(code)
    assert without_digits(run(tmp_path / "quick_start.py", cwd=tmp_path)) == without_digits(output)
    files = [str(tmp_path / name) for name in ("flower.jpg", "init_net.pb", "predict_net.pb")]
    assert without_digits(run(ROOT / "examples" / "quick_start.py", *files, cwd=tmp_path)) == without_digits(output)
