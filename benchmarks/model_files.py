"""Where the files of the benchmark's nets are, and that they are there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "build" / "benchmarks"


@dataclass(frozen=True)
class ModelFiles:
    """The files of one net."""

    name: str
    folder: Path = FOLDER

    def path(self, suffix: str) -> Path:
        return self.folder / (self.name + suffix)

    @property
    def predict_net(self) -> Path:
        return self.path("_predict_net.pb")

    @property
    def init_net(self) -> Path:
        return self.path("_init_net.pb")

    @property
    def plan(self) -> Path:
        return self.path(".plan.pkl")

    @property
    def int8_plan(self) -> Path:
        return self.path(".int8.pkl")

    @property
    def onnx(self) -> Path:
        return self.path(".onnx")

    @property
    def int8_onnx(self) -> Path:
        return self.path(".int8.onnx")

    @property
    def int8_openvino(self) -> Path:
        return self.path(".int8.xml")

    @property
    def ncnn(self) -> tuple[Path, Path]:
        """Structure and weights, as pnnx names them."""
        return self.path(".ncnn.param"), self.path(".ncnn.bin")

    @property
    def input_path(self) -> Path:
        return self.path(".input.npy")

    @property
    def reference_path(self) -> Path:
        return self.path(".reference.npy")

    @property
    def macs_path(self) -> Path:
        return self.path(".macs")

    def stamp(self, format: str) -> Path:
        """Exists once the format is written completely."""
        return self.path(f".{format}.done")

    def lacks(self, format: str) -> bool:
        """Whether a format is not there, or was made by other code than that of now."""
        stamp = self.stamp(format)
        makers = [*(HERE.parent / "graphc" / "zoo").glob("*.py"), *(HERE / "formats").glob("*.py")]
        return not stamp.exists() or stamp.stat().st_mtime < max(m.stat().st_mtime for m in makers)


def ensure(name: str, formats: Sequence[str], folder: Path = FOLDER) -> ModelFiles:
    """The files of a net with all formats asked for; what is missing is made by a process that ends and frees memory.

    formats: modules of ``formats``. Raises ``CalledProcessError`` where making one fails.
    """
    files = ModelFiles(name, folder)
    missing = [f for f in formats if files.lacks(f)]
    if missing:
        print(f"making {name}: {', '.join(missing)}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, str(HERE / "make_model.py"), name, str(folder), *missing], check=True)
    return files


def read_reference(files: ModelFiles) -> np.ndarray:
    """The output that PyTorch computes in float64."""
    return np.asarray(np.load(files.reference_path))
