"""The ``graphc`` command: its sub-commands, and how errors reach the user."""

from __future__ import annotations

import os
import sys

import click

from graphc.cli.bench import bench
from graphc.cli.catalogue import ops, passes
from graphc.cli.check import check
from graphc.cli.compile import compile_command
from graphc.cli.completion import completion
from graphc.cli.dump import dump
from graphc.cli.run import run
from graphc.ir import GraphcError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="graphc")
def graphc() -> None:
    """Compile, run and inspect Caffe2 models.

    \b
    graphc check predict_net.pb --init init_net.pb           what the net needs, what is missing
    graphc compile predict_net.pb --init init_net.pb -o plan.pkl
    graphc run plan.pkl zebra.jpg --mean 104,117,123 --bgr --size 227 --labels synset_words.txt
    graphc dump plan.pkl --stage kernels                     the generated source
    """


for command in (compile_command, run, dump, check, bench, passes, ops, completion):
    graphc.add_command(command)


def main() -> None:
    """Run the command line. Exit code 0: done; 1: checked and found wanting; 2: bad input or usage."""
    try:
        graphc(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except GraphcError as error:
        click.echo(f"graphc: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: say nothing more
        sys.exit(0)
    except (OSError, MemoryError) as error:
        click.echo(f"graphc: {error or type(error).__name__}", err=True)
        sys.exit(2)
