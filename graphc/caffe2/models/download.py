"""``caffe2.python.models.download``: ``python -m graphc.caffe2.models.download [-i] [-f] [--mirror URL] NAME...``.

Without ``-i`` a model goes to the folder ``NAME``, with it to this user's models, from where
``from caffe2.python.models import NAME`` has it. Files are compared with the zoo's checksums; a broken transfer
continues when it is asked for again. Unlike Caffe2's the command fails (exit code 1) where a model could not be had,
and asks nobody anything where no one can answer. ``graphc models download`` does the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphc.caffe2.models.installed import nets
from graphc.frontends.netdef.schema import Message
from graphc.ir import FileError, GraphcError
from graphc.zoo import download_model, fetch, install_folder, is_valid_name, mirrors

DOWNLOAD_BASE_URL = "https://s3.amazonaws.com/download.caffe2.ai/models/"
"""Asked first; a script may set another one."""
DOWNLOAD_COLUMNS = 70


def progressBar(percentage: int) -> None:
    """Print a bar of ``DOWNLOAD_COLUMNS`` characters over the line."""
    bar = "#" * (DOWNLOAD_COLUMNS * percentage // 100)
    sys.stdout.write(f"\r[{bar.ljust(DOWNLOAD_COLUMNS)}] {percentage}%")
    sys.stdout.flush()


def deleteDirectory(top_dir: str) -> None:
    """Remove a folder and everything in it."""
    shutil.rmtree(top_dir)


def downloadFromURLToFile(url: str, filename: str, show_progress: bool = True) -> None:
    """Download one file; raises ``FileError`` where there is none, or a web page instead."""
    print(f"Downloading from {url}\nWriting to {filename}")
    fetch([url], Path(filename), None, _Bar() if show_progress else _silent)
    if show_progress:
        print()


class _Bar:
    """A progress that prints the bar when the percentage changes."""

    def __init__(self) -> None:
        self._shown = -1

    def __call__(self, done: int, total: int | None) -> None:
        percentage = 100 * done // total if total else 0
        if percentage != self._shown:
            self._shown = percentage
            progressBar(percentage)


def _silent(done: int, total: int | None) -> None:
    """A progress that prints nothing."""


def getURLFromName(name: str, filename: str) -> str:
    """Where Caffe2's server had a file of a model."""
    return f"{DOWNLOAD_BASE_URL}{name}/{filename}"


def validModelName(name: str) -> bool:
    """The name may be that of a model."""
    return is_valid_name(name)


def downloadModel(model: str, args: Any) -> None:
    """Download a model to the folder of its name, or with ``args.install`` to the installed ones.

    What is there is replaced with ``args.force``, or if the user agrees. ``args.mirror``, which a script's own
    arguments need not have: URLs and folders to ask before all others. Raises ``FileError``.
    """
    folder = install_folder() if args.install else Path()
    target = folder / model
    if target.exists() and not args.force:
        if not sys.stdin.isatty():
            raise FileError(f"{target} exists already", "force its replacement (-f)")
        if input("Model already exists, continue? [y/N] ").strip().upper() not in ("Y", "YES"):
            print("Cancelling download...")
            return
    print(f"Downloading {model}")
    found = download_model(
        model,
        folder,
        sources=mirrors([*getattr(args, "mirror", []), DOWNLOAD_BASE_URL]),
        force=True,
        importable=args.install,
        progress=_bar_of if sys.stdout.isatty() else lambda file: _silent,
    )
    print(f"Model is in {found}")


def _bar_of(file: str) -> _Bar:
    print(f"\n{file}")
    return _Bar()


class ModelDownloader:
    """Models with the types and shapes of their inputs, in the folder that an environment variable names.

    Without it they are in ``models`` of ``CAFFE2_HOME``, ``~/.caffe2`` by default.
    """

    def __init__(self, model_env_name: str = "CAFFE2_MODELS") -> None:
        self.model_env_name = model_env_name

    def _model_dir(self, model: str) -> str:
        home = os.path.expanduser(os.getenv("CAFFE2_HOME", "~/.caffe2"))
        return os.path.join(os.getenv(self.model_env_name, os.path.join(home, "models")), model)

    def _download(self, model: str) -> None:
        folder = Path(self._model_dir(""))
        download_model(model, folder, sources=mirrors([DOWNLOAD_BASE_URL]), files=["value_info.json"])

    def get_c2_model_dbg(self, model_name: str) -> tuple[Message, Message, dict[str, Any], str]:
        """``get_c2_model``, and a text that says where the model came from."""
        folder = Path(self._model_dir(model_name))
        if not folder.exists():
            self._download(model_name)
        init_net, predict_net = nets(folder)
        init_net.name, predict_net.name = model_name + "_init", model_name
        value_info = json.loads((folder / "value_info.json").read_text(encoding="utf-8"))
        return init_net, predict_net, value_info, f"get_c2_model debug:\nmodel folder: {folder}\n"

    def get_c2_model(self, model_name: str) -> tuple[Message, Message, dict[str, Any]]:
        """``(init_net, predict_net, value_info)``, downloaded if need be; value_info: [type, shape] by input.

        Raises ``FileError``.
        """
        return self.get_c2_model_dbg(model_name)[:3]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if every model is there, 1 if one is not, 130 if the user stopped it."""
    parser = argparse.ArgumentParser(description="Download or install pretrained models.")
    parser.add_argument("model", nargs="+", help="Model to download/install.")
    parser.add_argument("-i", "--install", action="store_true", help="Install the model.")
    parser.add_argument("-f", "--force", action="store_true", help="Force a download/installation.")
    parser.add_argument("--mirror", action="append", default=[], help="URL or folder to ask first. Repeatable.")
    args = parser.parse_args(arguments)
    failed = 0
    for model in args.model:
        try:
            if not validModelName(model):
                raise FileError(f"'{model}' is not a valid model name.")
            downloadModel(model, args)
        except GraphcError as error:
            print(f"Abort: {error}", file=sys.stderr)
            failed = 1
        except KeyboardInterrupt:
            print("Killing download...", file=sys.stderr)
            return 130
    return failed


if __name__ == "__main__":
    sys.exit(main())
