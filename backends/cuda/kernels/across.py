"""Combining a value of every thread: in a warp by exchange, in a block through shared memory."""

from __future__ import annotations

from graphc.backends.lines import Lines

WARP = 32


def across_warp(s: Lines, name: str, combine: str, threads: int = WARP) -> None:
    """Code after which ``name`` of each of ``threads`` neighbouring threads is the combination of all of theirs."""
    distance = threads // 2
    while distance:
        s(f"{name} = {combine.format(name, f'swap({name}, {distance})')}")
        distance //= 2


def across_block(s: Lines, name: str, combine: str, threads: int) -> None:
    """The same for a block, through the float ``words[warp]`` of each of its warps; all threads have to get here."""
    across_warp(s, name, combine)
    with s.block(f"if thread() & {WARP - 1} == 0:"):
        s(f"sst(words, thread() >> 5, {name})")
    s("barrier()")
    s(f"{name} = sld(words, thread() & {threads // WARP - 1})")
    across_warp(s, name, combine, threads // WARP)
    s("barrier()")


def team_for(elements: int, threads: int) -> int:
    """Threads that combine so many elements: a warp, or all threads of a block."""
    return WARP if elements <= 16 * WARP else threads


def across_team(s: Lines, name: str, combine: str, team: int) -> None:
    """``across_warp`` for a team of one warp, ``across_block`` for one that is a block."""
    if team == WARP:
        across_warp(s, name, combine)
    else:
        across_block(s, name, combine, team)
