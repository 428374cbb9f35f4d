"""Where installed models are, and what makes one importable."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

_MODULE = '''"""A model that graphc installed: its two nets."""

from pathlib import Path

from graphc.caffe2.models.installed import nets

init_net, predict_net = nets(Path(__file__).parent)
'''


def install_folder() -> Path:
    """The folder of this user's models: ``GRAPHC_MODELS_DIR``, or one in the platform's folder for data."""
    chosen = os.environ.get("GRAPHC_MODELS_DIR")
    return Path(chosen) if chosen else user_data_path("graphc") / "models"


def make_importable(folder: Path) -> None:
    """Let a model's folder be a module with ``init_net`` and ``predict_net``."""
    (folder / "__init__.py").write_text(_MODULE, encoding="utf-8")
