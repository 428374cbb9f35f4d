"""``caffe2.python.build``: how Caffe2 was built, as tests ask; graphc has the rules of all operators."""

from __future__ import annotations

CAFFE2_NO_OPERATOR_SCHEMA = False
build_options: dict[str, str] = {"CAFFE2_NO_OPERATOR_SCHEMA": "OFF", "USE_CUDA": "OFF"}
