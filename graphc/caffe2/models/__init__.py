"""``caffe2.python.models``: installed models, each a module with ``init_net`` and ``predict_net``.

``python -m graphc.caffe2.models.download -i squeezenet`` installs one, into the folder of this user's models
(``GRAPHC_MODELS_DIR``), where it is found as a part of this package.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from graphc.zoo import install_folder

__path__ = [*__path__, str(install_folder())]


class _Missing(MetaPathFinder):
    """Asked when nobody else has found a model: says how to install it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ``ModuleNotFoundError`` for a model; without its ``name``, so that Python passes the message on."""
        model = name.removeprefix(__name__ + ".")
        if model != name and not model.startswith("_"):
            raise ModuleNotFoundError(
                f"model {model} is not installed; help: python -m graphc.caffe2.models.download -i "
                f"{model.replace('.', '/')}"
            )
        return None


sys.meta_path.append(_Missing())
