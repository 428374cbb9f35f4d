"""Calls of a library on the real runtime: made ready once, recorded once, replayed (``test_null_driver.py``)."""

from __future__ import annotations

import os
from pathlib import Path

import test_null_driver
from emulated import TARGET, emulated_plan, on_emulated_card
from one_net import nets
from test_card_plans import OPS, WEIGHTS, X

import graphc

driver = test_null_driver.driver

LIBRARY = """
class Thing:
    def __init__(self, **named): pass
    def __getattr__(self, name): return Thing()
    def __call__(self, *given, **named): return Thing()
class pygraph(Thing):
    def execute(self, places, workspace, handle): print("done at", workspace % 256)
def __getattr__(name): return Thing()
def set_stream(handle, stream): print("stream", stream > 0)
"""
"""A module ``cudnn`` that agrees to everything."""


def test_runs_replay_what_was_recorded(driver: Path, tmp_path: Path) -> None:
    predict, init = nets(OPS, {"x": X}, "y", WEIGHTS)
    graph = graphc.import_model(predict, init, {"x": X})
    plan = graphc.compile_graph(graph, target=TARGET, prepare=False, engine={"r": "CUDNN"})
    on_emulated_card(plan)
    (tmp_path / "cudnn.py").write_text(LIBRARY, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done, launches = test_null_driver.start(test_null_driver.RUN, driver, plan, tmp_path, PYTHONPATH=path)
    assert not done.returncode, done.stderr
    assert done.stdout.splitlines() == ["stream True", "done at 0"] * 2
    assert [str(name).split("_")[0] for name, *_ in launches] == ["pool", "softmax"] * 2


def test_others_wait_for_the_card_while_a_run_is_recorded(driver: Path, tmp_path: Path) -> None:
    """A stream that records must not be waited for; a recording that fails leaves none behind."""
    code = """
from graphc.runtime.card import Request
from graphc.runtime.nvidia import NvidiaCard
card = NvidiaCard("sm_90a", lambda major, minor: True)
def failing(stream):
    raise ValueError("no such convolution")
card.record([Request(lambda stream: card.wait(), "r")])
try:
    card.record([Request(failing, "r")])
except Exception as error:
    kept = error
place = card.allocate(64)
print(card.download(place.address, 64).size, kept)
"""
    plan = emulated_plan(OPS, {"x": X}, "y", WEIGHTS)
    done, _ = test_null_driver.start(code, driver, plan, tmp_path)
    assert not done.returncode, done.stderr
    assert done.stdout.startswith("64 card 0 (null card) failed at recording a run: no such convolution")
