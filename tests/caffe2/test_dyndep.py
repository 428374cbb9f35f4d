"""Libraries of operators that scripts ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphc.caffe2 import dyndep


def test_libraries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="is not loaded: graphc has its own operators"):
        dyndep.InitOpsLibrary("/usr/lib/libcaffe2_detectron_ops_gpu.so")
    with pytest.warns(UserWarning, match="is not loaded"):
        dyndep.InitOpsLibrary("@/caffe2/caffe2/distributed:file_store_handler_ops", trigger_lazy=False)
    assert "/usr/lib/libcaffe2_detectron_ops_gpu.so" in dyndep.GetImportedOpsLibraries()
    dyndep.InitOpsLibrary("my_ops.so")
    assert capsys.readouterr().out == "Ignoring my_ops.so as it is not a valid file.\n"
    (tmp_path / "my_ops.so").write_bytes(b"\x7fELF")
    with pytest.raises(RuntimeError, match=r"cannot load operators from .*my_ops\.so(.|\n)*graphc\.register_operator"):
        dyndep.InitOpsLibrary(str(tmp_path / "my_ops.so"))
