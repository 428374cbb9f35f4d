"""Writes a net of the benchmark: ``python benchmarks/make_model.py mlp build/benchmarks caffe2 onnx_file``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import numpy as np
from model_files import ModelFiles
from nets import NETS


def main() -> None:
    """Write the input, the number of multiply-adds and the formats asked for, each stamped when it is whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NETS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("formats", nargs="+")
    arguments = parser.parse_args()
    files, net = ModelFiles(arguments.name, arguments.folder), NETS[arguments.name]()
    files.folder.mkdir(parents=True, exist_ok=True)
    np.save(files.input_path, net.example())
    files.macs_path.write_text(str(net.macs))
    for name in arguments.formats:
        importlib.import_module(f"formats.{name}").write(net, files)
        files.stamp(name).touch()


if __name__ == "__main__":
    main()
