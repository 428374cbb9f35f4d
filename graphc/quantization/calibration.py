"""Calibration data: a folder of pictures or .npz files, an .npz file, what a Python iterable gives; as batches."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graphc.ir import DType, FileError, Graph, GraphcError, TensorType, Value
from graphc.ir.infer import infer_node
from graphc.ir.types import dims_agree
from graphc.pictures import Preparation, load_picture

Batch = Mapping[str, np.ndarray]
Batches = list[Batch]
Source = str | os.PathLike[str] | Iterable[Any]

PIECE = 8
"""Samples that run at once, where an array holds more."""


def load_batches(source: Source, graph: Graph, how: Preparation | None, most: int) -> Batches:
    """Batches for the inputs of a net, of ``most`` samples in all at most.

    source: a folder, every picture of which is prepared as ``how`` says (size 0: the input's) or, where there are none,
    every .npz file of which is a batch; an .npz file with an array for each input, samples along the first dimension;
    or an iterable of batches: mappings by input name, or arrays where the net has one input. Where the net fixes how
    many samples run at once, files are read so, and what is left over at the end is left out. A batch of an iterable
    is used whole. Raises ``FileError`` and ``GraphcError`` for data that is missing, empty, not finite, or does not fit
    the inputs.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        batches = _folder(path, graph, how, most) if path.is_dir() else _arrays(path, graph, most)
    else:
        batches = _items(source, graph)
    batches = _limited(batches, most)
    if not batches:
        raise GraphcError("there is no calibration data", "give at least one sample; 32 or more are better")
    for batch in batches:
        _check(batch, graph)
    return batches


def sample_count(batches: Batches) -> int:
    """Samples in all batches: the first dimension that most arrays of a batch have, of several the smallest.

    Indices and what belongs to them have first dimensions of their own; lengths and dense inputs have the samples'.
    """
    return sum(_samples(b) for b in batches)


def _samples(batch: Batch) -> int:
    counts = Counter(int(a.shape[0]) for a in batch.values() if a.ndim)
    return max(counts, key=lambda n: (counts[n], -n), default=1)


def _limited(batches: Iterable[Batch], most: int) -> Batches:
    found: Batches = []
    left = most
    for batch in batches:
        if left <= 0:
            break
        found.append(batch)
        left -= max(_samples(batch), 1) if batch else 1
    return found


def _folder(folder: Path, graph: Graph, how: Preparation | None, most: int) -> Iterable[Batch]:
    """A batch for each picture; where there are none, for each .npz file, in the order of names."""
    known = set(Image.registered_extensions())
    files = sorted(p for p in folder.iterdir() if p.is_file())
    pictures = [p for p in files if p.suffix.lower() in known]
    batches = [p for p in files if p.suffix.lower() == ".npz"]
    if not pictures and not batches:
        raise FileError(
            f"{folder} holds no pictures and no .npz files", "give a folder of PNG, JPEG or .npz files, or an .npz file"
        )
    return _pictures(pictures, graph, how, most) if pictures else (_load(path) for path in batches)


def _pictures(paths: Sequence[Path], graph: Graph, how: Preparation | None, most: int) -> Iterable[Batch]:
    """One batch a picture, in the order of names; of more pictures than wanted, those at even distances."""
    value, piece = _only_input(graph), _fixed_batch(graph) or 1
    if how is None or not how.size:
        how = replace(how or Preparation(0), size=_picture_size(value))
    step = max(len(paths) / most, 1.0)
    wanted = paths if len(paths) <= most else [paths[int(i * step)] for i in range(most)]
    batches = _whole_pieces(wanted, piece, str(paths[0].parent))
    return [{value.name: np.stack([load_picture(p, how) for p in batch])} for batch in batches]


def _whole_pieces(items: Sequence[Any], piece: int, where: str) -> list[Sequence[Any]]:
    """Items, in order, by ``piece`` at a time; the rest of fewer is left out."""
    if len(items) < piece:
        raise FileError(
            f"{where}: the net takes {piece} samples at once, there are {len(items)}",
            "give more, or a net that takes any number",
        )
    return [items[i : i + piece] for i in range(0, len(items) - piece + 1, piece)]


def _fixed_batch(graph: Graph) -> int | None:
    """How many samples the net takes at once, where its arguments, such as a Reshape's shape, fix that."""
    sizes = [v.type.shape[0] for v in graph.inputs if v.uses and v.type.shape]
    size = sizes[0] if sizes else None
    return size if isinstance(size, int) and not _takes(graph, size + 1) else None


def _takes(graph: Graph, samples: int) -> bool:
    """The net computes something for so many samples."""
    twin = graph.clone()
    for v in twin.inputs:
        if v.type.shape:
            v.type = v.type.with_shape((samples, *v.type.shape[1:]))
    try:
        for node in twin.nodes:
            infer_node(node)
    except GraphcError:
        return False
    return True


def _only_input(graph: Graph) -> Value:
    read = [v for v in graph.inputs if v.uses]
    if len(read) != 1:
        names = ", ".join(f"'{v.name}'" for v in read)
        raise GraphcError(f"the net reads {len(read)} inputs ({names})", "give an .npz file with an array for each")
    return read[0]


def _picture_size(value: Value) -> int:
    shape = value.type.shape
    if shape is None or len(shape) != 4 or not isinstance(shape[2], int) or shape[1] not in (1, 3):
        raise GraphcError(
            f"input '{value.name}' of type {value.type} is no picture of one or three planes", "give an .npz file"
        )
    if shape[2] != shape[3]:
        raise GraphcError(
            f"input '{value.name}' of type {value.type} is no square, pictures are cut to squares",
            "give their size (--size), or an .npz file",
        )
    return shape[2]


def _arrays(path: Path, graph: Graph, most: int) -> Iterable[Batch]:
    if not path.exists():
        raise FileError(f"{path} does not exist", "give a folder of pictures or an .npz file")
    arrays = _load(path)
    counts = {name: a.shape[0] if a.ndim else 0 for name, a in arrays.items()}
    if len(set(counts.values())) > 1:
        raise FileError(
            f"{path}: the arrays hold different numbers of samples: {counts}",
            "samples come first; where they cannot, as with indices and lengths, give a folder of files, one a batch",
        )
    places = range(min([most, *counts.values()]))
    fixed = _fixed_batch(graph)
    pieces = _whole_pieces(places, fixed, str(path)) if fixed else [places[i : i + PIECE] for i in places[::PIECE]]
    return [{n: a[piece[0] : piece[-1] + 1] for n, a in arrays.items()} for piece in pieces]


def _load(path: Path) -> Batch:
    if path.suffix.lower() == ".npy":
        raise FileError(
            f"{path} holds an array without the name of an input", "write it with numpy.savez(path, NAME=array)"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # NumPy raises many kinds for a damaged file
        raise FileError(f"{path} is not an .npz file with plain arrays: {error}", "write it with numpy.savez") from None


def _items(source: Iterable[Any], graph: Graph) -> Iterable[Batch]:
    if isinstance(source, (Mapping, np.ndarray)):
        raise GraphcError("calibration data is a single batch, not several", "give a list of batches: [batch]")
    try:
        iterator = iter(source)
    except TypeError:
        raise GraphcError(
            f"calibration data is a {type(source).__name__}", "give a folder, an .npz file or an iterable of batches"
        ) from None
    for item in iterator:
        if isinstance(item, Mapping):
            yield {str(k): np.asarray(v) for k, v in item.items()}
        else:
            yield {_only_input(graph).name: np.asarray(item)}


def _check(batch: Batch, graph: Graph) -> None:
    """The batch has an array for each input that is read, of its element type and rank as far as known, and finite."""
    inputs = {v.name: v for v in graph.inputs}
    missing = [n for n, v in inputs.items() if v.uses and n not in batch]
    strange = [n for n in batch if n not in inputs]
    if missing or strange:
        told = [f"input '{n}' is missing" for n in missing] + [f"there is no input '{n}'" for n in strange]
        raise GraphcError(f"calibration data: {'; '.join(told)}", f"the inputs are {_list(inputs)}")
    for name, array in batch.items():
        _check_array(name, array, inputs[name].type)


def _check_array(name: str, array: np.ndarray, type: TensorType) -> None:
    kind = array.dtype.kind if type.dtype is None and type.rank is None else (type.dtype or DType.FLOAT).numpy.kind
    if array.dtype.kind != kind or array.ndim != (array.ndim if type.rank is None else type.rank):
        raise GraphcError(
            f"calibration data for '{name}' is {array.dtype}{list(array.shape)}, the input is {type}",
            "prepare the samples as the net expects them",
        )
    fixed = zip(type.shape or (), array.shape)
    if not all(dims_agree(a, b) for a, b in list(fixed)[1:2]):
        raise GraphcError(
            f"calibration data for '{name}' has the shape {list(array.shape)}, the input is {type}",
            "give samples with the same number of channels",
        )
    if array.size == 0 and array.ndim > 1:  # a vector may be one of indices, of which a batch may have none
        raise GraphcError(f"calibration data for '{name}' is empty: {list(array.shape)}", "give data with elements")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise GraphcError(f"calibration data for '{name}' has NaN or infinite elements", "remove these samples")


def _list(inputs: Mapping[str, Value]) -> str:
    return ", ".join(f"'{n}': {v.type}" for n, v in inputs.items())


def constant_inputs(batches: Sequence[Batch]) -> list[str]:
    """Inputs, but signed integers, that have the same value throughout: data that says nothing about ranges."""
    names = [name for name, array in batches[0].items() if array.dtype.kind != "i"]  # indices and lengths have no range
    return [name for name in names if len({x for b in batches for x in _extremes(b[name])}) == 1]


def _extremes(array: np.ndarray) -> tuple[float, ...]:
    return (float(array.min()), float(array.max())) if array.size else ()
