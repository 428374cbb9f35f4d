"""``graphc models``: models of Caffe2's zoo, and architectures with seeded weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from graphc.cli.options import json_option
from graphc.ir import FileError
from graphc.zoo import (
    ARCHITECTURES,
    ZOO_NAMES,
    architecture,
    download_model,
    identify,
    identities,
    install_folder,
    is_valid_name,
    make_importable,
    mirrors,
    write_model,
)

folder_option = click.option(
    "-o", "--output", "folder", type=click.Path(file_okay=False, path_type=Path), help="The folder to make NAME in."
)
install_option = click.option(
    "-i", "--install", is_flag=True, help="Into this user's models, from where caffe2.python.models imports it."
)
force_option = click.option("-f", "--force", is_flag=True, help="Replace what is there.")


@click.group()
def models() -> None:
    """List, download, build and recognise models.

    \b
    graphc models list
    graphc models download -i squeezenet
    graphc models build resnet50 -o nets
    graphc models identify init_net.pb
    """


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """The models of the zoo with their sizes, and the architectures that can be built."""
    sizes = {name: sum(file.size for file in files.values()) for name, files in identities().items()}
    here = [name for name in sizes if (install_folder() / name).is_dir()]
    if as_json:
        zoo = [{"name": n, "bytes": size, "installed": n in here} for n, size in sizes.items()]
        click.echo(json.dumps({"zoo": zoo, "architectures": list(ARCHITECTURES)}, indent=1))
        return
    for name, size in sizes.items():
        click.echo(f"{size / 1e6:9.2f} MB  {name}{'  (installed)' if name in here else ''}")
    click.echo(f"architectures: {', '.join(ARCHITECTURES)}")
    click.echo(f"{len(sizes)} models of the zoo: graphc models download NAME; architectures: graphc models build NAME")


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@folder_option
@install_option
@force_option
@click.option("--mirror", multiple=True, help="A URL or folder to ask before all others. Repeatable.")
def download(names: tuple[str, ...], folder: Path | None, install: bool, force: bool, mirror: tuple[str, ...]) -> None:
    """Download models of Caffe2's zoo, compare them with the zoo's checksums, and put each into a folder of its name.

    A broken transfer continues where it stopped; a model is there as a whole or not at all. Exit code 2 if one is not.
    """
    where = _where(folder, install)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    for name in names:
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
            known = name in identities()

            def bar(file: str, name: str = name, bars: Progress = bars) -> _Bar:
                return _Bar(bars, f"{name}/{file}")

            target = download_model(name, where, sources=mirrors(mirror), force=force, importable=install, progress=bar)
        click.echo(f"{target}{'' if known else ': no checksums of this model are known'}")


class _Bar:
    """A ``graphc.zoo`` progress as a bar."""

    def __init__(self, bars: Progress, name: str) -> None:
        self._bars, self._name = bars, name
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int | None) -> None:
        if self._task is None:
            self._task = self._bars.add_task(self._name)
        self._bars.update(self._task, completed=done, total=total)


@models.command()
@click.argument("name")
@folder_option
@install_option
@force_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the weights.")
def build(name: str, folder: Path | None, install: bool, force: bool, seed: int) -> None:
    """Write an architecture with random weights: init_net.pb, predict_net.pb and value_info.json."""
    net = architecture(name, seed)
    target = _where(folder, install) / name
    if not is_valid_name(name) or (target.exists() and not force):
        raise FileError(f"{target} exists already", "force its replacement (-f)")
    write_model(net, target)
    if install:
        make_importable(target)
    weights = sum(w.size for w in net.weights.values())
    alias = f" ({ZOO_NAMES[name]})" if name in ZOO_NAMES else ""
    click.echo(f"{target}{alias}: {len(net.layers)} operators, {weights:,} weights, data {list(net.shapes['data'])}")


@models.command("identify")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def identify_files(files: tuple[Path, ...]) -> None:
    """Say which files of the zoo FILES are, by size and checksum. Exit code 1 if one is none of them."""
    unknown = 0
    for path in files:
        found = identify(path)
        unknown += not found
        click.echo(f"{path}: {', '.join(found) or 'no file of the zoo'}")
    if unknown:
        sys.exit(1)


def _where(folder: Path | None, install: bool) -> Path:
    if folder is not None and install:
        raise click.UsageError("give -o FOLDER or -i, not both")
    return install_folder() if install else folder or Path()
