"""Plans whose schedule was forged, checksums made right again: opened they may be looked at, but they do not run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.runtime.planfile import read_plan, write_plan

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
DATA = {"data": np.zeros((1, 1, 8, 8), np.float32)}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "digits.pkl"
    graphc.compile(DIGITS / "predict_net.pb", DIGITS / "init_net.pb").save(path)
    return path


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (r"units=\d+", "units=0", "units"),
        (r"units=\d+", f"units={2**40}", "units"),
        (r"buffer at 768 ", "buffer at 0 ", "overlap"),
        (r"buffer at 4608 ", f"buffer at {2**40} ", "buffer"),
        (r"(view \"conv2\" .* strides=\[1152, 576, )96", rf"\g<1>{2**40}", "view"),
        (r"(view \"conv2\" .* strides=\[1152, )576", rf"\g<1>{-(2**40)}", "view"),
        (r"(view \"conv2\" = arena\[4\]\+)448", rf"\g<1>{2**40}", "view"),
        (r"out\[0\]", f"out[0]+{2**40}", "address"),
        (r"in\[0\]", "in[7]", "address"),
        (r"(constant \"conv1_b\" at 640 bytes=)64", r"\g<1>640", "constants"),
    ],
)
def test_an_unsound_schedule_does_not_run(path: Path, tmp_path: Path, old: str, new: str, rule: str) -> None:
    body, tail = read_plan(path)
    segment = body["segments"][0]
    changed = re.sub(old, new, segment["schedule"], count=1)
    assert changed != segment["schedule"]
    forged = tmp_path / "forged.pkl"
    write_plan(forged, {**body, "segments": [{**segment, "schedule": changed}]}, [tail], tail.nbytes)
    plan = graphc.load(forged)
    with pytest.raises(graphc.PlanError, match=f"not sound: {rule}"):
        plan.run(DATA)
    with pytest.raises(graphc.PlanError, match=f"not sound: {rule}"):
        plan.executor()
