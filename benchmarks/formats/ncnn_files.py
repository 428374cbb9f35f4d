"""ncnn's two files, converted from ONNX with pnnx, the converter of the ncnn project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from model_files import ModelFiles

from formats import onnx_file
from graphc.zoo.layers import Net


def write(net: Net, files: ModelFiles) -> None:
    """Write structure and weights in float32; raises ``OSError`` where pnnx is missing or fails."""
    beside_python = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", "")
    converter = shutil.which("pnnx", path=beside_python)
    if converter is None:
        raise FileNotFoundError("pnnx is not installed: pip install pnnx")
    with tempfile.TemporaryDirectory(dir=files.folder) as folder:
        source = Path(folder) / f"{files.name}.onnx"
        onnx_file.write_onnx(net, source)
        done = subprocess.run([converter, str(source), "fp16=0"], capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"pnnx does not convert {net.name}: {(done.stdout + done.stderr)[-1000:]}")
        for made in files.ncnn:
            os.replace(Path(folder) / made.name, made)
