"""The ``graphc`` command: its sub-commands, and how errors reach the user."""

from __future__ import annotations

import os
import sys
import traceback

import click

from graphc.cli.allocate import allocate_command
from graphc.cli.bench import bench
from graphc.cli.catalogue import ops, passes
from graphc.cli.check import check
from graphc.cli.check_memory import check_memory_command
from graphc.cli.compare import compare_command
from graphc.cli.compile import compile_command
from graphc.cli.completion import completion
from graphc.cli.dump import dump
from graphc.cli.models import models
from graphc.cli.quantize import quantize_command
from graphc.cli.run import run
from graphc.cli.tune import tune_command
from graphc.ir import GraphcError
from graphc.tables import printable


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


for command in (
    compile_command,
    run,
    dump,
    check,
    check_memory_command,
    allocate_command,
    bench,
    compare_command,
    passes,
    ops,
    models,
    quantize_command,
    tune_command,
    completion,
):
    graphc.add_command(command)


def main() -> None:
    """Run the command line.

    Exit code 0: done; 1: checked and found wanting; 2: bad input or usage; 70: a defect of graphc; 130: interrupted.
    """
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
        click.echo("\n".join(map(printable, f"graphc: {error}".split("\n"))), err=True)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: say nothing more
        sys.exit(0)
    except OSError as error:
        click.echo(f"graphc: {_os_reason(error)}", err=True)
        sys.exit(2)
    except MemoryError as error:
        click.echo(
            f"graphc: out of memory: {error or 'a buffer'}\nhelp: use smaller inputs or a smaller batch", err=True
        )
        sys.exit(2)
    except Exception as error:
        sys.exit(_defect(error))


def _os_reason(error: OSError) -> str:
    """What the system refused, in words: file and reason."""
    named = error.strerror and error.filename is not None
    return f"{os.fsdecode(error.filename)}: {error.strerror}" if named else str(error) or type(error).__name__


def _defect(error: Exception) -> int:
    """Report an exception that is nobody's fault but graphc's; gives the exit code (sysexits' EX_SOFTWARE)."""
    if os.environ.get("GRAPHC_TRACEBACK"):
        traceback.print_exception(error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    click.echo(
        f"graphc: internal error, a defect of graphc and not of your input: {what[:500]}\n"
        "help: run again with GRAPHC_TRACEBACK=1 and report what it prints, with the net if you can",
        err=True,
    )
    return 70
