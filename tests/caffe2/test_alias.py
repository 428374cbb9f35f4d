"""The name caffe2, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from caffe2.python import core, workspace, scope, utils
from caffe2.proto import caffe2_pb2
import caffe2.python.core as again
from caffe2.python.core import Net
import graphc.caffe2.core
import numpy as np

assert again is core is graphc.caffe2.core and core.__spec__.name == "graphc.caffe2.core"
workspace.FeedBlob("x", np.array(["a"]))
workspace.RunOperatorOnce(core.CreateOperator("ConstantFill", [], "y", shape=[2], value=3.0))
print(__name__, sys.argv[1:], workspace.FetchBlob("y").tolist(), Net("n").Name())
for statement in ("from caffe2.python import nothing", "import caffe2.python.workspcae"):
    try:
        exec(statement)
    except ImportError as error:
        print(error)
try:
    workspace.FechBlob
except AttributeError as error:
    print(error)
"""


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, timeout=120)


def test_a_script_and_a_module(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    run = python("-m", "graphc.caffe2", "script.py", "--flag", "1", cwd=tmp_path)
    lines = run.stdout.splitlines()
    assert lines[0] == "__main__ ['--flag', '1'] [3.0, 3.0] n", run.stderr
    assert lines[1].startswith("graphc has no module 'caffe2.python.nothing'; it has caffe2.proto, caffe2.python.")
    assert lines[2].endswith("did you mean caffe2.python.workspace?")
    assert lines[3].startswith("graphc's 'graphc.caffe2.workspace' has no 'FechBlob'; near names: FetchBlob")
    assert python("-m", "graphc.caffe2", "-m", "script", "a", cwd=tmp_path).stdout.startswith("__main__ ['a']")


def test_modules_that_are_absent_have_a_reason(tmp_path: Path) -> None:
    code = """
import sys
import graphc.caffe2.as_caffe2
for name in ("trt.transform", "onnx.backend", "examples.char_rnn", "models.seq2seq.train", "mkl.rewrite_graph"):
    try:
        __import__("caffe2.python." + name)
    except ImportError as error:
        print(error)
for name in ("six", "mock", "future"):
    sys.modules.pop(name, None)
sys.path[:] = []
import six
"""
    found = python("-c", code, cwd=tmp_path)
    reasons = ["for hardware", "reads models of ONNX", "a script", "builds translators", "rewrites nets"]
    for line, reason in zip(found.stdout.splitlines(), reasons, strict=True):
        assert f"': {reason}" in line
    assert "the script needs the package six: pip install 'graphc[scripts]'" in found.stderr


def test_wrong_command_lines(tmp_path: Path) -> None:
    for arguments, said in (((), "usage:"), (("none.py",), "no such script")):
        run = python("-m", "graphc.caffe2", *arguments, cwd=tmp_path)
        assert run.returncode == 2
        assert said in run.stderr


def test_another_caffe2_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "caffe2.py").write_text("")
    code = "import sys; sys.path.insert(0, ''); import caffe2; import graphc.caffe2.as_caffe2"
    run = python("-c", code, cwd=tmp_path)
    assert "caffe2 was imported from" in run.stderr
    assert run.returncode == 1


def test_tests_are_the_files_of_the_user(tmp_path: Path) -> None:
    tests = tmp_path / "caffe2" / "python" / "operator_test"
    tests.mkdir(parents=True)
    (tests / "helper_of_tests.py").write_text("value = 5\n")
    (tests / "some_test.py").write_text("from caffe2.python.operator_test.helper_of_tests import value\n")
    code = "import graphc.caffe2.as_caffe2\nfrom caffe2.python.operator_test import {}\nprint({})"
    found = python("-c", code.format("some_test", "some_test.value, some_test.__name__"), cwd=tmp_path)
    assert found.stdout == "5 caffe2.python.operator_test.some_test\n", found.stderr
    assert python("-c", code.format("helper_of_tests as h", "h.value"), cwd=tests).stdout == "5\n"
    assert "no module" in python("-c", "import graphc.caffe2.as_caffe2, caffe2.python.other_test", cwd=tests).stderr
