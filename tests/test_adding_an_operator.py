"""The code of docs/adding-an-operator.md runs and prints what the page says; what it quotes stands in the source."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from graphc.ir import Trait

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "adding-an-operator.md").read_text(encoding="utf-8")


def test_the_code_runs(tmp_path: Path) -> None:
    """In a process of its own, because operators stay declared; from a file, because loops are compiled from source."""
    blocks = re.findall(r"^```python run\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    (tmp_path / "example.py").write_text("\n\n".join(blocks), encoding="utf-8")
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert done.stdout == "".join(printed)


def test_what_the_page_quotes_is_in_the_source() -> None:
    quotes = re.findall(r"<!-- from (\S+) -->\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(quotes) == 2
    for path, text in quotes:
        assert text in (ROOT / path).read_text(encoding="utf-8")


def test_the_page_names_every_trait_that_a_record_may_have() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert named == {t.name for t in Trait if t not in (Trait.NONE, Trait.INTERNAL)}
