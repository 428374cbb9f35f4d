"""The package as users get it: every module is in the wheel, with its data, and can be imported from there alone."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from graphc.backends.cuda.compile import MEANING

ROOT = Path(__file__).resolve().parent.parent
NAMES = {"graphc": "graphc", "ir": "graphc.ir", "passes": "graphc.passes", "backends": "graphc.backends"}
"""Folder -> import name, as ``package_dir`` in setup.cfg maps them."""


WITH_THE_EXTRA = tuple(f"graphc.backends.cuda.{name}" for name in MEANING)
"""Modules of compile workers that import what ``graphc[cuda]`` installs."""


def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def packages_in_tree() -> set[str]:
    """Import names of the folders that have an ``__init__.py``."""
    folders = (init.parent.relative_to(ROOT) for root in NAMES for init in (ROOT / root).rglob("__init__.py"))
    return {".".join((NAMES[folder.parts[0]], *folder.parts[1:])) for folder in folders}


def modules_in_tree() -> set[str]:
    """Paths inside the wheel of all modules."""
    files = (file.relative_to(ROOT) for root in NAMES for file in (ROOT / root).rglob("*.py"))
    return {"/".join((NAMES[file.parts[0]].replace(".", "/"), *file.parts[1:])) for file in files}


def test_every_package_is_listed() -> None:
    """setuptools cannot find packages through a mapping; an editable install would hide that one is missing."""
    listed = config()["options"]["packages"].split()
    assert set(listed) == packages_in_tree()
    assert len(listed) == len(set(listed))


def test_the_mapping_is_the_one_that_the_code_assumes() -> None:
    lines = config()["options"]["package_dir"].strip().splitlines()
    mapping = {folder.strip(): name.strip() for name, folder in (line.split("=") for line in lines)}
    assert mapping == NAMES


def test_every_folder_with_modules_is_a_package() -> None:
    for root in NAMES:
        for module in (ROOT / root).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), f"{module.parent.relative_to(ROOT)} lacks __init__.py"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that an old ``build/`` cannot slip modules into it."""
    pytest.importorskip("setuptools", "70.1", reason="building a wheel needs setuptools 70.1")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in NAMES:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(out)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("graphc-*.whl")
    return path


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name for name in inside if name.endswith(".py")} == modules_in_tree()
    assert "graphc/py.typed" in inside
    assert {name.split("/")[0] for name in inside} == {"graphc"}


def test_the_wheel_states_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(info).decode()
        assert any(name.endswith("LICENSE") for name in archive.namelist())
        scripts = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
    assert "graphc = graphc.__main__:main" in scripts
    assert "Requires-Python: >=3.10" in metadata
    assert "# graphc" in metadata, "README.md is the long description"


def test_every_module_imports_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    names = sorted(path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in modules_in_tree())
    script = (
        "import importlib, sys\n"
        "folder, *names = sys.argv[1:]\n"
        "sys.path.insert(0, folder)\n"
        "for name in names:\n"
        "    module = importlib.import_module(name)\n"
        "    assert module.__file__.startswith(folder), module.__file__\n"
    )
    ordinary = [name for name in names if not name.endswith("__main__") and name not in WITH_THE_EXTRA]
    command = [sys.executable, "-c", script, str(tmp_path), *ordinary]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
