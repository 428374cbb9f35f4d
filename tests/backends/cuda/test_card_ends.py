"""Forks, interrupts and memory that comes back at a bad moment, in the real runtime on the driver without a card."""

from __future__ import annotations

from pathlib import Path

import pytest
import test_null_driver
from test_null_driver import start

from graphc.plan import Plan

driver, plan = test_null_driver.driver, test_null_driver.plan

HEAD = """
import faulthandler, gc, os, sys, threading
import numpy as np
import graphc
from graphc.runtime.nvidia import NvidiaCard
faulthandler.dump_traceback_later(60, exit=True)  # where something waits for ever
x = np.load(sys.argv[2])
def loaded():
    return graphc.load(sys.argv[1], allow_native=True)
plan = loaded()
y = plan.run({"x": x}, on_card=True)["y"]
"""

FORK = """
def told(what):
    try:
        what()
    except graphc.RunError as error:
        print("process was forked" in str(error), "'spawn'" in str(error))
taken, done = threading.Event(), threading.Event()
def turn():
    with plan.code.card._turn, plan.code.card._staged:
        taken.set()
        done.wait()
other = threading.Thread(target=turn)
other.start()
taken.wait()
if not (child := os.fork()):
    told(lambda: plan.run({"x": x}))
    told(y.numpy)
    told(lambda: plan.code.card.upload(y.owner, x))
    told(lambda: plan.with_card(1).run({"x": x}))
    told(lambda: loaded().run({"x": x}))
    del plan, y
    gc.collect()
    sys.stdout.flush()
    os._exit(0)
print(os.waitpid(child, 0)[1])
done.set()
print(plan.run({"x": x})["y"].shape)
"""


def test_a_forked_process_is_told_that_cuda_does_not_follow(driver: Path, plan: Plan, tmp_path: Path) -> None:
    """Also if another thread had a turn at the card, which nobody ends there; nothing is said at the end."""
    quiet = "ignore:This process:DeprecationWarning"  # Python's own word on forks with threads, from 3.12 on
    done, _ = start(HEAD + FORK, driver, plan, tmp_path, NULL_DEVICES="2", PYTHONWARNINGS=quiet)
    assert done.stdout.splitlines() == [*["True True"] * 5, "0", "(1, 4, 3, 3)"], done.stdout + done.stderr
    assert not done.stderr


INTERRUPT = """
wait = NvidiaCard.wait
def interrupted(self, what="a run"):
    if what.startswith("a run of"):
        NvidiaCard.wait = wait
        raise KeyboardInterrupt
    return wait(self, what)
for on_card in (False, True):
    NvidiaCard.wait = interrupted
    try:
        plan.run({"x": x})
    except KeyboardInterrupt:
        gc.collect()
        print(plan.run({"x": x}, on_card=on_card)["y"].shape)
"""


def test_an_interrupted_wait_keeps_what_the_card_still_copies(driver: Path, plan: Plan, tmp_path: Path) -> None:
    done, _ = start(HEAD + INTERRUPT, driver, plan, tmp_path)
    assert done.stdout.splitlines() == ["(1, 4, 3, 3)"] * 2, done.stdout + done.stderr


RETURNED = """
other = plan.run({"x": x}, on_card=True)["y"]
y.__cuda_array_interface__, other.__cuda_array_interface__
del y
card = plan.code.card
class Driver:
    def __getattr__(self, name):
        return getattr(real, name)
    def cuCtxSynchronize(self):
        global other
        done = real.cuCtxSynchronize()
        other = None
        return done
real, card._driver = card._driver, Driver()
for _ in range(3):
    card.allocate(8)
    print(len(card._shared.returned))
"""


def test_what_comes_back_while_the_card_is_waited_for_waits_in_turn(driver: Path, plan: Plan, tmp_path: Path) -> None:
    """Another thread drops an output: whoever read it may have been given work since the wait began."""
    done, _ = start(HEAD + RETURNED, driver, plan, tmp_path)
    assert done.stdout.split() == ["1", "0", "0"], done.stdout + done.stderr


@pytest.mark.parametrize("lost", [False, True])
def test_threads_of_a_card_that_is_lost_on_the_way(driver: Path, plan: Plan, tmp_path: Path, lost: bool) -> None:
    """Runs of all kinds, and plans that go away: a run gives its outputs or says that the card is lost; none hangs."""
    code = """
from cuda.bindings import driver as d
told = set()
def work(number):
    mine, before, kept = loaded() if number % 2 else plan, d.cuCtxGetCurrent()[1], []
    for turn in range(20):
        asked = {"on_card": turn % 2 == 0} | ({"stream": 1 + number % 3} if number % 3 < 2 else {})
        try:
            kept = [*kept[-3:], mine.run({"x": x}, **asked)["y"]]
        except graphc.RunError as error:
            told.add(str(error).split(" used")[0] if " used any more" in str(error) else "failed")
        assert int(d.cuCtxGetCurrent()[1]) == int(before)
        if turn == 10 and number % 2:
            mine = loaded()
        if turn == 12 and number == 0 and LOST:
            os.environ["NULL_FAULT"] = "pool"
threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
for each in threads: each.start()
for each in threads: each.join()
try:
    plan.run({"x": x})
except graphc.RunError as error:
    told.add(str(error).split(" used")[0])
print(sorted(told - {"failed", "card 0 cannot be"}))
"""
    done, _ = start(HEAD + code.replace("LOST", str(lost)), driver, plan, tmp_path)
    assert done.stdout.strip() == str(["card 0 (null card) cannot be"] if lost else []), done.stdout + done.stderr
    assert "Error" not in done.stderr
