"""Options of commands that take pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from graphc.cli.options import parse_numbers
from graphc.pictures import Preparation

_OPTIONS = (
    click.option("--size", type=click.IntRange(1), help="Height and width of pictures (default: of the input)."),
    click.option("--resize", type=click.IntRange(1), help="Scale the shorter side to this before cutting."),
    click.option("--mean", callback=parse_numbers, help="Subtract per channel, e.g. 104,117,123 (in the order fed)."),
    click.option("--scale", callback=parse_numbers, default="1", help="Then multiply, e.g. 1/255."),
    click.option("--bgr", is_flag=True, help="Feed blue, green, red, as Caffe models expect."),
    click.option("--grey", is_flag=True, help="Feed one grey channel."),
)


def picture_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say how pictures become inputs; the command gets them as ``preparation``, whose size is 0 where
    none is given. Raises ``click.BadParameter`` for a scale of several numbers.
    """

    @wraps(command)
    def prepared(
        size: int | None,
        resize: int | None,
        mean: tuple[float, ...],
        scale: tuple[float, ...],
        bgr: bool,
        grey: bool,
        **others: Any,
    ) -> None:
        if len(scale) != 1:
            raise click.BadParameter("give one number, such as 1/255", param_hint="--scale")
        command(preparation=Preparation(size or 0, resize or 0, mean, scale[0], bgr, grey), **others)

    for option in reversed(_OPTIONS):
        prepared = option(prepared)
    return prepared
