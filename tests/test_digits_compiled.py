"""The digits example compiled: levels of optimisation, another batch, another target, a saved plan.

The expected probabilities were computed in double precision, so the tolerance is what float32 costs over a few hundred
summands: the scores differ by some 1e-5 at most, a probability by at most as much.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "digits"
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def test_set() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "test_images.npz") as file:
        return dict(file)


def as_input(images: np.ndarray) -> np.ndarray:
    return (images[:, None] / np.float32(255)).astype(np.float32)


def compiled(**options: object) -> graphc.Plan:
    return graphc.compile(
        str(FOLDER / "predict_net.pb"), str(FOLDER / "init_net.pb"), inputs={"data": (1, 1, 8, 8)}, **options
    )


@pytest.mark.parametrize("level", [0, 2])
def test_answers_are_those_of_the_net(level: int, test_set: dict[str, np.ndarray]) -> None:
    plan = compiled(level=level)
    for i in range(3):
        answer = plan.run({"data": as_input(test_set["images"][i : i + 1])})["softmax"]
        np.testing.assert_allclose(answer, test_set["expected"][i : i + 1], atol=TOLERANCE)


def test_another_batch_needs_no_compilation(test_set: dict[str, np.ndarray]) -> None:
    plan = compiled()
    answers = plan.run({"data": as_input(test_set["images"])})["softmax"]
    np.testing.assert_allclose(answers, test_set["expected"], atol=TOLERANCE)
    assert (answers.argmax(axis=1) == test_set["labels"]).sum() == 357


def test_the_portable_target_agrees(test_set: dict[str, np.ndarray]) -> None:
    answers = compiled(target="portable").run({"data": as_input(test_set["images"])})["softmax"]
    np.testing.assert_allclose(answers, test_set["expected"], atol=TOLERANCE)


def test_a_saved_plan_gives_the_same_answers(test_set: dict[str, np.ndarray], tmp_path: Path) -> None:
    plan, data = compiled(), as_input(test_set["images"][:5])
    plan.save(tmp_path / "digits.pkl")
    again = graphc.load(tmp_path / "digits.pkl")
    np.testing.assert_array_equal(again.run({"data": data})["softmax"], plan.run({"data": data})["softmax"])
