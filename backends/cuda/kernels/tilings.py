"""Where the tiling of a problem is decided: by a table of what was measured, else by the families' models."""

from __future__ import annotations

from graphc.backends.cuda.kernels import conv_tile, tensor_tile, warpgroup_tile
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.cuda.tiling import Problem, Tile, Tiling
from graphc.backends.cuda.tuning import REMEDY, Tuning
from graphc.ir import GraphcError, LoweringError

FAMILIES = (conv_tile.candidates, tensor_tile.candidates, warpgroup_tile.candidates)


def candidates(problem: Problem, target: CudaTarget) -> list[Tiling]:
    """All tilings that serve a problem, the one of the least predicted time first, of equal ones the one listed first.

    None where no family serves it.
    """
    found = [tiling for family in FAMILIES for tiling in family(problem, target)]
    return sorted(found, key=lambda tiling: tiling.clocks(problem, target))


def decide(problem: Problem, target: CudaTarget) -> Tiling | None:
    """The tiling that the target's table names, else the first candidate; None where there is none.

    Raises ``LoweringError`` where the table names one that does not serve the problem.
    """
    found = candidates(problem, target)
    tuned = target.tuning.tiling(str(problem))
    if tuned is None:
        return found[0] if found else None
    for tiling in found:
        if str(tiling) == tuned:
            return tiling
    raise LoweringError(
        f"the table of tilings says '{tuned}' for '{problem}', which no kernel of {target.name} does", REMEDY
    )


def parts_for(tile: Tile, problem: Problem, target: CudaTarget) -> int:
    """Into how many parts a kernel of this tile cuts the sums of a problem.

    As was decided where that is for this tile, else as the model says. Raises ``LoweringError`` for a tile that no
    family has for the problem.
    """
    decided = decide(problem, target)
    if decided is not None and decided.tile == tile:
        return decided.parts
    parts = [tiling.parts for tiling in candidates(problem, target) if tiling.tile == tile]
    if not parts:
        raise LoweringError(
            f"no kernel of {target.name} has the tile '{tile}' for '{problem}'", "compile the net again"
        )
    return parts[0]


def require_known(tuning: Tuning, target: CudaTarget, name: str) -> None:
    """Raise ``GraphcError`` unless kernels of the target do all that a table says; name: of its file."""
    for text, found in tuning.entries.items():
        try:
            problem = Problem.parse(text)
        except (ValueError, TypeError):
            raise GraphcError(
                f"{name} has an entry for '{text:.100}', which is no problem of a tiling", REMEDY
            ) from None
        if found.tiling not in map(str, candidates(problem, target)):
            raise GraphcError(
                f"{name} says '{found.tiling:.100}' for '{text}', which no kernel of {target.name} does", REMEDY
            )
