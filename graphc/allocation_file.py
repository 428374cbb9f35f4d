"""Allocation problems in CSV files, one buffer a row: ``id,lower,upper,size``, alive from lower up to before upper."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from graphc.ir import FileError
from graphc.passes.memory.allocation import Lifetime
from graphc.runtime.atomic import replacing

COLUMNS = ("id", "lower", "upper", "size")
LARGEST = 2**62
HELP = "the columns are id,lower,upper,size, in any order, named in the first line"


@dataclass(frozen=True)
class AllocationProblem:
    """header, rows: the table as text, to be written again. lifetimes: in the order of the rows.

    capacity: bytes, from a file name such as ``net.1048576.csv``; None if it tells none.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lifetimes: tuple[Lifetime, ...]
    capacity: int | None


def read_problem(path: str | Path) -> AllocationProblem:
    """Read a problem; raises ``FileError`` that names the line and what is wrong with it."""
    lines = [(k, row) for k, row in _table(Path(path)) if any(cell.strip() for cell in row)]
    if not lines:
        raise FileError(f"{path} has no buffers", HELP)
    header = tuple(cell.strip() for cell in lines[0][1])
    if len(header) == len(COLUMNS) and all(_number(cell) is not None for cell in header[1:]):
        header = COLUMNS  # no header: the first line is a buffer
    else:
        lines = lines[1:]
    at = _column_numbers(path, header)
    seen: dict[str, int] = {}
    lifetimes = []
    for k, row in lines:
        if len(row) != len(header):
            raise FileError(f"{path}, line {k}: {len(row)} cells instead of {len(header)}", HELP)
        name = row[at["id"]].strip()
        if name in seen:
            raise FileError(f"{path}, line {k}: id '{name[:40]}' is that of line {seen[name]} too", "ids are unique")
        seen[name] = k
        lifetimes.append(_lifetime(f"{path}, line {k}", {c: row[at[c]] for c in COLUMNS[1:]}))
    if not lifetimes:
        raise FileError(f"{path} has no buffers", "write one a line below the names of the columns")
    rows = tuple(tuple(row) for _, row in lines)
    return AllocationProblem(header, rows, tuple(lifetimes), _capacity(Path(path)))


def write_offsets(path: str | Path, problem: AllocationProblem, offsets: Sequence[int]) -> None:
    """Write the problem's rows with a column ``offset``, which replaces one of that name; atomically.

    Raises ``FileError`` where the file cannot be written.
    """
    kept = [i for i, name in enumerate(problem.header) if name.lower() != "offset"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([problem.header[i] for i in kept] + ["offset"])
    for row, offset in zip(problem.rows, offsets):
        table.writerow([row[i] for i in kept] + [offset])
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def _table(path: Path) -> list[tuple[int, list[str]]]:
    """Line numbers and cells."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:
            raise FileError(f"{path} is not a text file", HELP)
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        return [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}", "check the path") from None
    except UnicodeDecodeError:
        raise FileError(f"{path} is not a text file in UTF-8", HELP) from None
    except csv.Error as error:
        raise FileError(f"{path}, line {reader.line_num}: {error}", HELP) from None


def _column_numbers(path: str | Path, header: Sequence[str]) -> dict[str, int]:
    names = [name.lower() for name in header]
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise FileError(f"{path}, line 1: no column {', '.join(missing)}", HELP)
    twice = [column for column in COLUMNS if names.count(column) > 1]
    if twice:
        raise FileError(f"{path}, line 1: column {twice[0]} is there twice", "keep one of them")
    return {column: names.index(column) for column in COLUMNS}


def _lifetime(where: str, cells: dict[str, str]) -> Lifetime:
    numbers = {column: _number(cell.strip()) for column, cell in cells.items()}
    for column, number in numbers.items():
        if number is None:
            raise FileError(f"{where}: {column} '{cells[column][:40]}' is not a whole number", "write digits only")
        if abs(number) >= LARGEST:
            raise FileError(f"{where}: {column} {cells[column][:40]} is beyond 2^62", "count in a larger unit")
    lower, upper, size = (numbers[column] or 0 for column in COLUMNS[1:])
    if size < 0:
        raise FileError(f"{where}: size {size} is negative", "a size is 0 or more")
    if lower >= upper:
        raise FileError(
            f"{where}: the buffer lives from {lower} up to before {upper}, which is never", "upper is exclusive"
        )
    return Lifetime(size, lower, upper - 1)


def _number(cell: str) -> int | None:
    return int(cell) if re.fullmatch(r"[+-]?[0-9]{1,1000}", cell, re.ASCII) else None


def _capacity(path: Path) -> int | None:
    found = re.fullmatch(r".*\.([0-9]{1,18})\.csv", path.name, re.ASCII | re.IGNORECASE)
    return int(found[1]) if found else None
