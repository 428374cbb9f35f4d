"""What int8 costs in accuracy: nets quantised by ``graphc.quantize``, beside their float forms.

    python benchmarks/quantization_accuracy.py [--net squeezenet_v1.1] [--form caffe2] [--method NAME=VALUE ...]
        [--pictures FOLDER] [--json FILE]

Forms: ``caffe2`` is the NetDef pair, written, read again and compiled; ``native`` graphc's own operators. Calibration
data: the digits nets, 60 pictures of ``examples/digits`` moved by a pixel and dimmed, tested on the other 300 (for the
mnist net, which was trained on another data set, scaled to 20 x 20 in a frame of 28 x 28); the others, five crops of
each photograph in ``--pictures``, by default of those seven that scikit-image and scikit-learn bring (install both).
The squeezenets are tested on six photographs of known classes, which are not among them, against Caffe2's own answers.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import graphc
from graphc.plan import Plan

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "examples" / "digits"
MODELS = ROOT.parent / "shared" / "models"
PHOTOGRAPHS = (
    *(("skimage", f"data/{n}") for n in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")),
    *(("skimage", "data/rocket.jpg"), ("sklearn", "datasets/images/china.jpg")),
    ("sklearn", "datasets/images/flower.jpg"),
)
PLACES = ((0.0, 0.0), (1.0, 1.0), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0))
"""Of the crops: parts of what a scaled picture has more rows and columns than a crop."""
MEAN = (104, 117, 123)


@dataclass(frozen=True)
class Figures:
    """Top-1 hits of the float net and the int8 one among the samples, and of the one's first class by the other.

    probability: mean |difference| of the probability of the float net's first class. sqnr: dB of the output. psnr: of
    8-bit pictures. megabytes: of the weights in the graph, before and after.
    """

    net: str
    form: str
    method: str
    samples: int
    float_hits: int | None
    int8_hits: int | None
    agree: int | None
    probability: float | None
    sqnr: float
    psnr: float | None
    loss: float
    in_float: int
    megabytes: tuple[float, float]


@dataclass(frozen=True)
class Case:
    """A net, with calibration batches, test input and labels. exact: Caffe2's answer; None: graphc's in float."""

    predict: Path
    init: Path
    shape: tuple[int, ...]
    calibration: list[dict[str, np.ndarray]]
    data: np.ndarray
    labels: np.ndarray | None = None
    exact: np.ndarray | None = None


def photographs(folder: str | None) -> list[Path]:
    """Pictures to calibrate with."""
    if folder:
        return sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    found = []
    for package, name in PHOTOGRAPHS:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"give --pictures FOLDER, or install scikit-image and scikit-learn: no {package}")
        found.append(Path(spec.origin).parent / name)
    return found


def crops(paths: list[Path], rows: int, columns: int) -> Iterator[np.ndarray]:
    """(rows, columns, 3) uint8: five of each picture, whose shorter side is scaled to an eighth more than needed."""
    for path in paths:
        with Image.open(path) as picture:
            image = picture.convert("RGB")
        ratio = 1.125 * max(columns / image.width, rows / image.height)
        image = image.resize((round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BILINEAR)
        for x, y in PLACES:
            left, top = int((image.width - columns) * x), int((image.height - rows) * y)
            yield np.asarray(image.crop((left, top, left + columns, top + rows)))


def digits(frame: int, scaled: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 1, frame, frame) of 0 ... 1 with the digit scaled to ``scaled`` pixels, and labels."""
    with np.load(DIGITS / "test_images.npz") as file:
        images, labels = file["images"], file["labels"]
    border = (frame - scaled) // 2
    found = np.zeros((len(images), 1, frame, frame), np.float32)
    for i, image in enumerate(images):
        large = Image.fromarray(image).resize((scaled, scaled), Image.Resampling.BICUBIC)
        found[i, 0, border : border + scaled, border : border + scaled] = np.asarray(large, np.float32) / 255
    return found, labels


def digits_case(predict: Path, init: Path, name: str, frame: int, scaled: int) -> Case:
    """Calibrated on 60 pictures, tested on the others."""
    images, labels = digits(frame, scaled)
    moved = np.roll(images[:60], 1, axis=3) * np.float32(0.9)
    batches = [{name: moved[i : i + 10]} for i in range(0, 60, 10)]
    return Case(predict, init, (10, 1, frame, frame), batches, images[60:], labels[60:])


def squeezenet_case(name: str, pictures: list[Path]) -> Case:
    """Six photographs, with Caffe2's answers."""
    folder = MODELS / name
    mean = np.array(MEAN, np.float32).reshape(3, 1, 1)
    planes = [c[:, :, ::-1].transpose(2, 0, 1) - mean for c in crops(pictures, 227, 227)]
    with np.load(folder / "inputs.npz") as inputs, np.load(folder / "outputs.npz") as outputs:
        data, exact = inputs["data"], outputs[outputs.files[0]]
    batches = [{"data": p[None].astype(np.float32)} for p in planes]
    labels = np.array([340, 932, 985, 950, 779, 258])
    return Case(folder / "predict_net.pb", folder / "init_net.pb", (1, 3, 227, 227), batches, data, labels, exact)


def style_case(pictures: list[Path]) -> Case:
    """One picture of 240 x 320 in and out, as bytes."""
    folder = MODELS / "style_animals"
    with np.load(folder / "inputs.npz") as inputs, np.load(folder / "outputs.npz") as outputs:
        data, exact = inputs["data_int8_bgra"], outputs["styled_int8_bgra"]
    opaque = np.full((240, 320, 1), 255, np.uint8)
    images = [np.concatenate([c[:, :, ::-1], opaque], axis=2)[None] for c in crops(pictures, 240, 320)]
    batches = [{"data_int8_bgra": image} for image in images[::2]]
    return Case(folder / "predict_net.pb", folder / "init_net.pb", data.shape, batches, data, None, exact)


CASES: dict[str, Callable[[list[Path]], Case]] = {
    "digits": lambda _: digits_case(DIGITS / "predict_net.pb", DIGITS / "init_net.pb", "data", 8, 8),
    "mnist": lambda _: digits_case(MODELS / "mnist/predict_net.pb", MODELS / "mnist/init_net.pb", "1", 28, 20),
    "squeezenet_v1.1": lambda pictures: squeezenet_case("squeezenet_v1.1", pictures),
    "squeezenet_v1.0": lambda pictures: squeezenet_case("squeezenet_v1.0", pictures),
    "style_animals": style_case,
}


def read_again(found: graphc.Quantized, case: Case, name: str) -> Plan:
    """A plan of the pair as it is on disk."""
    with tempfile.TemporaryDirectory() as folder:
        found.save(folder)
        pair = [f"{folder}/{part}_net.pb" for part in ("predict", "init")]
        return graphc.compile(*pair, inputs={name: case.data})


def figures(net: str, form: str, method: dict[str, Any], case: Case) -> Figures:
    """Quantise and compare."""
    name = next(iter(case.calibration[0]))
    inputs = {name: np.zeros(case.shape, case.data.dtype)}
    found = graphc.quantize(case.predict, case.init, case.calibration, inputs=inputs, native=form == "native", **method)
    plan = found.compile() if form == "native" else read_again(found, case, name)
    exact = case.exact
    if exact is None:
        (exact,) = graphc.compile(case.predict, case.init, inputs=inputs).run({name: case.data}).values()
    (got,) = plan.run({name: case.data}).values()
    wanted, result = (a.astype(np.float64) for a in (exact, got))
    noise = np.mean(np.square(result - wanted))
    report = found.report
    common = {
        "sqnr": round(float(10 * np.log10(np.mean(np.square(wanted)) / noise)), 2),
        "loss": round(report.loss, 5),
        "in_float": len(found.table.in_float),
        "megabytes": (report.float_bytes / 1e6, report.int8_bytes / 1e6),
    }
    text = " ".join(f"{k}={v}" for k, v in method.items())
    if case.labels is None:
        psnr = round(float(10 * np.log10(255**2 / noise)), 2)
        return Figures(net, form, text, len(case.data), None, None, None, None, psnr=psnr, **common)
    rows = [a.reshape(len(case.data), -1) for a in (wanted, result)]
    top, i = rows[0].argmax(1), np.arange(len(case.data))
    hits = [int((r.argmax(1) == case.labels).sum()) for r in rows]
    change = _probabilities(rows[1])[i, top] - _probabilities(rows[0])[i, top]
    agree, probability = int((rows[1].argmax(1) == top).sum()), round(float(np.abs(change).mean()), 4)
    return Figures(net, form, text, len(i), *hits, agree, probability, psnr=None, **common)


def _probabilities(rows: np.ndarray) -> np.ndarray:
    """The rows where they sum to 1, else their softmax."""
    if np.allclose(rows.sum(1), 1, atol=1e-3):
        return rows
    exponents = np.exp(rows - rows.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


def table(rows: list[Figures]) -> str:
    """Markdown."""
    names = ("net", "form", "method", "top-1 float", "int8", "agree", "mean abs dp", "output dB", "PSNR dB", "in float")
    head = f"| {' | '.join((*names, 'weights MB'))} |"
    lines = [head, "| --- " * 3 + "| ---: " * 8 + "|"]
    for f in rows:
        counts = [f"{n}/{f.samples}" if n is not None else "" for n in (f.float_hits, f.int8_hits, f.agree)]
        rest = [f.probability, f.sqnr, f.psnr, f.in_float]
        cells = [f.net, f.form, f.method or "default", *counts, *("" if v is None else str(v) for v in rest)]
        lines.append(f"| {' | '.join(cells)} | {f.megabytes[0]:.2f} -> {f.megabytes[1]:.2f} |")
    return "\n".join(lines)


def parse_method(items: list[str]) -> dict[str, Any]:
    """Arguments of ``quantize`` from NAME=VALUE; values are JSON, or else text."""
    method = {}
    for item in items:
        name, _, value = item.partition("=")
        try:
            method[name] = json.loads(value)
        except json.JSONDecodeError:
            method[name] = value
    return method


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", action="append", choices=list(CASES), help="Default: all.")
    parser.add_argument("--form", action="append", choices=["caffe2", "native"], help="Default: both.")
    parser.add_argument("--method", action="append", default=[], nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--pictures", help="A folder of photographs to calibrate with.")
    parser.add_argument("--json", help="Write the figures here.")
    options = parser.parse_args()
    rows = []
    for net in options.net or CASES:
        case = CASES[net]([] if net in ("digits", "mnist") else photographs(options.pictures))
        for form in options.form or ("caffe2", "native"):
            for method in options.method or [[]]:
                rows.append(figures(net, form, parse_method(method), case))
                print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(f) for f in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
