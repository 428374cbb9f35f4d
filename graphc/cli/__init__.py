"""The command line: one sub-command a file."""

from graphc.cli.app import main as main
