"""docs/operators.md says what the records say."""

from __future__ import annotations

from pathlib import Path

from graphc.catalogue import entries, markdown

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operators.md"


def test_the_page_is_up_to_date() -> None:
    found, want = PAGE.read_text(encoding="utf-8").splitlines(), markdown(entries()).splitlines()
    new = [line[:100] for line in want if line not in set(found)]
    told = "regenerate it: python -m graphc ops --markdown > docs/operators.md; new or changed lines: "
    assert found == want, told + "; ".join(new[:5])
