"""Pictures of the tutorials to arrays and answers to words; scaling against scikit-image's own numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphc.caffe2.tutorials import helpers
from graphc.caffe2.tutorials.resize import resize

SMALL = np.array([[0, 4, 8], [16, 20, 60]], float)
SCALED = {
    (4, 5): [[4.8, 5.6, 8, 15.8, 18.4]] * 2 + [[12.8, 13.6, 16, 34.6, 40.8]] * 2,
    (1, 2): [[9.0, 28.5]],
    (2, 3): SMALL.tolist(),
}
"""skimage.transform.resize(SMALL, shape, anti_aliasing=False) of scikit-image 0.26, four digits."""


@pytest.mark.parametrize("shape", SCALED)
def test_scaling(shape: tuple[int, int]) -> None:
    assert np.allclose(resize(SMALL, shape), SCALED[shape], atol=5e-5)
    assert np.allclose(resize(SMALL[:, :, None].astype(np.float32), shape)[:, :, 0], SCALED[shape], atol=5e-5)


def bilinear(picture: np.ndarray, y: float, x: float) -> Any:
    """One pixel between others, by the definition; the picture is mirrored at its edge pixels."""
    found = np.zeros(picture.shape[2])
    for iy, wy in ((int(np.floor(y)), 1 - y % 1), (int(np.floor(y)) + 1, y % 1)):
        for ix, wx in ((int(np.floor(x)), 1 - x % 1), (int(np.floor(x)) + 1, x % 1)):
            my, mx = (abs(i) if i < n else 2 * (n - 1) - i for i, n in zip((iy, ix), picture.shape))
            found += wy * wx * picture[min(my, picture.shape[0] - 1), min(mx, picture.shape[1] - 1)]
    return found


@pytest.mark.parametrize(("height", "width"), [(20, 31), (33, 21), (12, 12), (5, 9)])
def test_a_picture_to_the_input_of_a_model(height: int, width: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    size = 8
    found = helpers.loadToNCHW(str(tmp_path / "p.png"), 128, size)
    assert found.shape == (1, 3, size, size)
    assert found.dtype == np.float32
    aspect = width / height
    rows = size if aspect >= 1 else int(size / aspect)
    columns = size if aspect <= 1 else int(aspect * size)
    top, left = rows // 2 - size // 2, columns // 2 - size // 2
    for y, x in ((0, 0), (3, 5), (7, 7)):
        at = [(i + 0.5) * n / m - 0.5 for i, n, m in ((top + y, height, rows), (left + x, width, columns))]
        want = bilinear(pixels.astype(float), *at)[::-1] - 128
        assert np.allclose(found[0, :, y, x], want, atol=1e-3)


def test_kinds_of_pictures(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rgba = random.integers(0, 256, (6, 6, 4), np.uint8)
    grey = random.integers(0, 256, (6, 6), np.uint8)
    deep = random.integers(0, 65536, (6, 6)).astype(np.uint16)
    for name, pixels in {"rgba": rgba, "grey": grey, "deep": deep}.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    Image.fromarray(rgba[:, :, :3]).quantize(64).save(tmp_path / "table.png")
    load = {name: helpers.load(tmp_path / f"{name}.png") for name in ("rgba", "grey", "deep", "table")}
    assert all(picture.shape == (6, 6, 3) and picture.dtype == np.float32 for picture in load.values())
    assert np.allclose(load["rgba"], rgba[:, :, :3] / 255)
    assert np.allclose(load["grey"], grey[:, :, None] / 255)
    assert np.allclose(load["deep"], deep[:, :, None] / 65535)
    with Image.open(tmp_path / "table.png") as picture:
        assert np.allclose(load["table"], np.asarray(picture.convert("RGB")) / 255)
    with (tmp_path / "grey.png").open("rb") as file:
        assert np.array_equal(helpers.load(file), load["grey"])
    assert np.array_equal(helpers.load((tmp_path / "grey.png").as_uri().replace("file://", "")), load["grey"])


def test_steps() -> None:
    picture = np.arange(2 * 4 * 3, dtype=float).reshape(2, 4, 3)
    assert helpers.chw(picture)[1, 1, 2] == picture[1, 2, 1]
    assert helpers.bgr(helpers.chw(picture))[0, 0, 0] == picture[0, 0, 2]
    assert helpers.crop_center(picture, 2, 2).shape == (2, 2, 3)
    assert helpers.crop_center(picture, 2, 2)[0, 0, 0] == picture[0, 1, 0]
    planes = helpers.chw(picture) / 255
    each = np.array([1.0, 2.0, 3.0])
    assert np.allclose(helpers.removeMean(planes, each), helpers.removeMean(planes, each[:, None, None]))
    assert np.allclose(helpers.removeMean(planes, 5)[0, 0, 0], -5)
    assert helpers.batch(planes).shape == (1, 3, 2, 4)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>not here</html>")
    with pytest.raises(OSError, match=r"page\.jpg"):
        helpers.load(str(tmp_path / "page.jpg"))
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        helpers.load(str(tmp_path / "none.jpg"))


def test_answers_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    results = np.zeros((1, 1, 1000, 1, 1), np.float32)
    results[0, 0, [985, 309, 946], 0, 0] = 0.982, 0.01, 0.005
    assert helpers.parseResults(list(results)) == "The image contains a daisy with a 98.2 percent probability."
    assert capsys.readouterr().out.startswith("Raw top 3 results: [(985, 0.98")
    first, second = np.eye(1000)[:2]  # the classes that Caffe2's helper mistook and lost
    assert helpers.parseResults([first]) == "The image contains a tench, Tinca tinca with a 100.0 percent probability."
    assert "goldfish, Carassius auratus" in helpers.parseResults([second])
    (tmp_path / "inference_codes.txt").write_text("{0: 'zero, nought',\n 1: \"it's one\",\n 2: 'two'}\n")
    assert helpers.parseResults([first]) == "The image contains a zero, nought with a 100.0 percent probability."
    assert "contains a it's one with" in helpers.parseResults([second])
    assert "contains a two with" in helpers.parseResults([0.1, 0.2, 0.5])
    assert "contains a class 3 with a 50.0" in helpers.parseResults([0.1, 0.2, 0.1, 0.5])
    with pytest.raises(ValueError, match="no results"):
        helpers.parseResults([])


QUICK_START = """
from {package} import workspace
import numpy as np
import {package}.tutorials.helpers as helpers

INIT_NET, PREDICT_NET, IMAGE = {files}
with open(INIT_NET, "rb") as f:
    init_net = f.read()
with open(PREDICT_NET, "rb") as f:
    predict_net = f.read()
p = workspace.Predictor(init_net, predict_net)
img = helpers.loadToNCHW(IMAGE, 128, 227)
results = p.run([img])
print(np.asarray(results).shape)
response = helpers.parseResults(results)
print(response)
"""


def quick_start(shared: Path, package: str) -> str:
    model = shared / "models" / "squeezenet_v1.1"
    files = str(model / "init_net.pb"), str(model / "predict_net.pb"), str(shared / "photos" / "daisy.jpg")
    return QUICK_START.format(package=package, files=files)


def is_the_answer_of_the_article(output: str) -> bool:
    shape, best, answer = output.splitlines()
    classes = [item.split(",")[0] for item in best.split("(")[1:]]
    ok = shape == "(1, 1, 1000, 1, 1)" and classes == ["985", "309", "946"]
    return ok and answer.startswith("The image contains a daisy with a 97.")


def test_the_quick_start(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(quick_start(shared, "graphc.caffe2"), "quick_start.py", "exec"), {"__name__": "__main__"})
    assert is_the_answer_of_the_article(capsys.readouterr().out)


def test_the_quick_start_as_it_was_written(shared: Path, tmp_path: Path) -> None:
    script = quick_start(shared, "caffe2.python")
    (tmp_path / "quick_start.py").write_text(script + "import helpers as beside\nassert beside is helpers\n")
    command = [sys.executable, "-m", "graphc.caffe2", "quick_start.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert is_the_answer_of_the_article(run.stdout), run.stderr
