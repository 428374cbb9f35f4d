"""Windows of convolution and pooling: Caffe2's arguments, resolved for the size of the input.

Source of the rules: ``conv_pool_op_base.h`` and ``conv_transpose_unpool_op_base.h`` of Caffe2. Any number of spatial
dimensions; lists run in the order of the dimensions (h, w).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graphc.ir.opdef import Arg, Call
from graphc.ir.ops._rules import HINTS, LARGEST, ORDER, Shape, nhwc
from graphc.ir.types import UNKNOWN, Dim

NOTSET, VALID, SAME, CAFFE_POOLING = 0, 1, 2, 3
"""Values of ``legacy_pad``."""


def _size_args(name: str, doc: str) -> tuple[Arg, ...]:
    return (
        Arg(name, "int", 0, f"{doc}, both directions"),
        Arg(f"{name}s", "ints", (), f"{doc}, a value a dimension"),
        Arg(f"{name}_h", "int", 0, f"{doc}, rows; with {name}_w"),
        Arg(f"{name}_w", "int", 0, f"{doc}, columns; with {name}_h"),
    )


SIZE_ARGS = (
    *_size_args("kernel", "size of the window"),
    *_size_args("stride", "step of the window, default 1"),
    *_size_args("dilation", "distance of the window's elements, default 1"),
    Arg("pad", "int", 0, "border on all sides"),
    Arg("pads", "ints", (), "border: all heads, then all tails (t, l, b, r)"),
    Arg("pad_t", "int", 0, "border above; with pad_l, pad_b, pad_r"),
    Arg("pad_l", "int", 0, "border to the left"),
    Arg("pad_b", "int", 0, "border below"),
    Arg("pad_r", "int", 0, "border to the right"),
    Arg("legacy_pad", "int", NOTSET, "0: the pads given, 1: VALID, 2: SAME, 3: Caffe's pooling (rounds up)"),
)
WINDOW_ARGS = (
    *SIZE_ARGS,
    ORDER,
    Arg("global_pooling", "int", 0, "the window is the whole image"),
    Arg("shared_buffer", "int", 0, "a preference, never changes the answer"),
    Arg("float16_compute", "int", 0, "a preference of CUDA"),
    Arg("exhaustive_search", "int", None, "a preference of CUDA"),
    Arg("ws_nbytes_limit", "int", None, "a preference of CUDA"),
    *HINTS,
)
"""Arguments of every convolution and pooling operator but ``group``."""
NO_INPUT_GRADIENT = Arg("no_gradient_to_input", "int", 0, "the gradient of the call leaves out that of X")
"""Read where the gradient of a convolution is made (``_makers.py``), by no operator itself."""


@dataclass(frozen=True)
class Window:
    """A window over the spatial dimensions. pads: all heads, then all tails, as used (they may differ from the
    arguments, and with ``legacy_pad`` SAME and a stride above the kernel be negative: the window skips pixels).
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]
    group: int = 1
    order: str = "NCHW"
    adj: tuple[int, ...] = ()

    @property
    def heads(self) -> tuple[int, ...]:
        """Pads before the image: t, l."""
        return self.pads[: len(self.kernel)]

    @property
    def tails(self) -> tuple[int, ...]:
        """Pads after the image: b, r."""
        return self.pads[len(self.kernel) :]

    @property
    def extent(self) -> tuple[int, ...]:
        """Pixels from the first to the last element of the window: dilation * (kernel - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation))

    @property
    def is_plain(self) -> bool:
        """The window is one pixel, moves by one, and there is no border: a matrix product."""
        return {*self.kernel, *self.stride} == {1} and not any(self.pads)


@dataclass(frozen=True)
class _Given:
    """The arguments, checked, before they meet the image."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]
    legacy_pad: int
    whole: bool


def spatial(call: Call, shape: Shape) -> Shape:
    """The spatial dimensions of a shape in the call's order."""
    return shape[1:-1] if nhwc(call) else shape[2:]


def batch_and_channels(call: Call, shape: Shape) -> tuple[Dim, Dim]:
    """Images and channels of a shape in the call's order."""
    return shape[0], shape[-1] if nhwc(call) else shape[1]


def join_shape(call: Call, n: Dim, c: Dim, image: Shape) -> Shape:
    """A shape in the call's order."""
    return (n, *image, c) if nhwc(call) else (n, c, *image)


def _values(call: Call, name: str, parts: tuple[str, ...]) -> tuple[int, ...]:
    """The list of one argument family; empty where none was given.

    A single value beside a list only fills it up to the two-dimensional length, as Caffe2's ``resize`` does.
    """
    values = tuple(call.arg(f"{name}s"))
    if call.given(name):
        return (values + (call.arg(name),) * len(parts))[: len(parts)]
    if all(call.given(p) for p in parts):
        return values + tuple(call.arg(p) for p in parts)
    return values


def _checked(call: Call, name: str, values: tuple[int, ...], count: int, low: int) -> tuple[int, ...]:
    if len(values) != count:
        call.fail(f"{name} has {len(values)} values, {count} are needed", f"give {name}s with {count} values")
    for v in values:
        if not low <= v <= LARGEST:
            call.fail(f"{name} {v} is out of range", f"use values from {low} to {LARGEST}")
    return values


def _dimensions(call: Call, given: int) -> int:
    """How many spatial dimensions there are, from input 0 or else from the arguments."""
    shape = call.type(0).shape
    if shape is None:
        return given or 2
    if len(shape) < 3:
        call.fail(f"input 0 ({call.input_name(0)}) has {len(shape)} dimensions, at least 3 are needed")
    return len(shape) - 2


def _given(call: Call) -> _Given:
    kernel = _values(call, "kernel", ("kernel_h", "kernel_w"))
    n = _dimensions(call, len(kernel))
    legacy_pad = call.arg("legacy_pad")
    if legacy_pad not in (NOTSET, VALID, SAME, CAFFE_POOLING):
        call.fail(f"legacy_pad {legacy_pad} is not known", "use 0, 1 (VALID), 2 (SAME) or 3 (Caffe's pooling)")
    whole = call.opdef.has_arg("global_pooling") and bool(call.arg("global_pooling"))
    if whole:
        kernel = (1,) * n
    elif not kernel:
        call.fail("the size of the window is not given", "give kernel, kernel_h and kernel_w, or kernels")
    sizes = {"kernel": kernel}
    for name in ("stride", "dilation"):
        sizes[name] = _values(call, name, (f"{name}_h", f"{name}_w")) or (1,) * n
    pads = _values(call, "pad", ("pad_t", "pad_l", "pad_b", "pad_r"))
    if pads and legacy_pad in (VALID, SAME):
        call.fail("legacy_pad VALID and SAME exclude pads", "remove the pads or legacy_pad")
    if whole:
        _check_global(call, pads, sizes)
        return _Given(kernel, (1,) * n, (1,) * n, (0,) * (2 * n), NOTSET, whole)
    checked = {name: _checked(call, name, values, n, 1) for name, values in sizes.items()}
    return _Given(
        **checked, pads=_checked(call, "pad", pads or (0,) * (2 * n), 2 * n, 0), legacy_pad=legacy_pad, whole=whole
    )


def _check_global(call: Call, pads: tuple[int, ...], sizes: dict[str, tuple[int, ...]]) -> None:
    if any(pads) or any(v not in (0, 1) for name in ("stride", "dilation") for v in sizes[name]):
        call.fail(
            "global_pooling takes the whole image, but pad, stride or dilation is set",
            "remove those arguments, or global_pooling",
        )


def explicit_pads(call: Call, n: int) -> tuple[int, ...]:
    """The pad arguments alone, checked: ``n`` heads, then ``n`` tails; negative ones cut pixels off."""
    pads = _values(call, "pad", ("pad_t", "pad_l", "pad_b", "pad_r")) or (0,) * (2 * n)
    return _checked(call, "pad", pads, 2 * n, -LARGEST)


def window(call: Call) -> Window:
    """The window of a convolution or pooling call; fails for wrong arguments.

    Static spatial dimensions are needed only where the window depends on them (``global_pooling``, ``legacy_pad`` 2
    and 3); it fails where those are not known.
    """
    given = _given(call)
    group = call.arg("group") if call.opdef.has_arg("group") else 1
    order = "NHWC" if nhwc(call) else "NCHW"
    if not given.whole and given.legacy_pad in (NOTSET, VALID):
        return Window(given.kernel, given.stride, given.dilation, given.pads, group, order)
    shape = call.type(0).shape
    image = spatial(call, shape) if shape is not None else ()
    sizes = tuple(d for d in image if isinstance(d, int))
    if shape is None or len(sizes) != len(image):
        call.fail("the window depends on the size of the image, which is not known yet", "give the sizes of the inputs")
    if given.whole:
        return Window(sizes, given.stride, given.dilation, given.pads, group, order)
    resolved = [_resolve(call, given, i, size)[:2] for i, size in enumerate(sizes)]
    pads = tuple(head for head, _ in resolved) + tuple(tail for _, tail in resolved)
    return Window(given.kernel, given.stride, given.dilation, pads, group, order)


def given_window(call: Call) -> tuple[Window, bool, int]:
    """The window as the arguments give it, whether it is the whole image instead, and ``legacy_pad``."""
    given = _given(call)
    w = Window(given.kernel, given.stride, given.dilation, given.pads, 1, "NHWC" if nhwc(call) else "NCHW")
    return w, given.whole, given.legacy_pad


def output_image(call: Call) -> Shape | None:
    """Spatial dimensions of the output of a convolution or pooling call, symbolic where the input's are.

    None while the rank is unknown.
    """
    given = _given(call)
    shape = call.type(0).shape
    if shape is None:
        return None
    if given.whole:
        return (1,) * (len(shape) - 2)
    return tuple(_output_size(call, given, i, d) for i, d in enumerate(spatial(call, shape)))


def _output_size(call: Call, given: _Given, i: int, size: Dim) -> Dim:
    if isinstance(size, int):
        return _resolve(call, given, i, size)[2]
    n = len(given.kernel)
    stride, head, tail = given.stride[i], given.pads[i], given.pads[i + n]
    extent = given.dilation[i] * (given.kernel[i] - 1) + 1
    if given.legacy_pad == SAME:
        return (size + (stride - 1)) // stride
    if given.legacy_pad == CAFFE_POOLING:
        return UNKNOWN if stride > 1 else size + (2 * head - given.kernel[i] + 1)
    return (size + (head + tail - extent)) // stride + 1


def _resolve(call: Call, given: _Given, i: int, size: int) -> tuple[int, int, int]:
    """(head, tail, output size) of dimension ``i``. Divisions are made in float32, as Caffe2 does."""
    kernel, stride, dilation = given.kernel[i], given.stride[i], given.dilation[i]
    head, tail = given.pads[i], given.pads[i + len(given.kernel)]
    extent = dilation * (kernel - 1) + 1
    if given.legacy_pad == SAME:
        return _same(call, size, stride, kernel, dilation)
    if given.legacy_pad == CAFFE_POOLING:
        return _caffe(call, size, stride, kernel, head)
    if size + head + tail < extent:
        call.fail(
            f"the window ({extent} pixels) is larger than the padded image ({size + head + tail} pixels)",
            "use a larger image, a smaller kernel or more padding",
        )
    return head, tail, int(np.float32(size + head + tail - extent) / np.float32(stride) + np.float32(1))


def _same(call: Call, size: int, stride: int, kernel: int, dilation: int) -> tuple[int, int, int]:
    if dilation != 1:
        call.fail("legacy_pad SAME does not go with dilation", "give explicit pads")
    out = (size + stride - 1) // stride
    needed = (out - 1) * stride + kernel - size
    head = int(needed / 2)
    return head, needed - head, out


def _caffe(call: Call, size: int, stride: int, kernel: int, head: int) -> tuple[int, int, int]:
    if size + 2 * head < kernel:
        call.fail(f"the window ({kernel} pixels) is larger than the padded image ({size + 2 * head} pixels)")
    exact = np.float32(size + 2 * head - kernel) / np.float32(stride) + np.float32(1)
    out, standard = math.ceil(exact), int(exact)
    if head > 0 and (out - 1) * stride >= size + head:
        out -= 1
    return head, head + stride * (out - standard), out


ADJ_ARGS = (
    Arg("adj", "int", 0, "pixels added at the bottom and the right"),
    Arg("adjs", "ints", (), "pixels added at the end, a value a dimension"),
    Arg("adj_h", "int", 0, "rows added at the bottom; with adj_w"),
    Arg("adj_w", "int", 0, "columns added at the right; with adj_h"),
)


def transposed_window(call: Call) -> Window:
    """The window of a ConvTranspose call; it never depends on the image. Fails for wrong arguments."""
    given = _given(call)
    n = len(given.kernel)
    if given.legacy_pad == CAFFE_POOLING or given.dilation != (1,) * n:
        call.fail("legacy_pad 3 and dilation do not go with a transposed convolution", "remove them")
    adj = _checked(call, "adj", _values(call, "adj", ("adj_h", "adj_w")) or (0,) * n, n, 0)
    if any(a >= s for a, s in zip(adj, given.stride)):
        call.fail(f"adj {adj} is not smaller than the stride {given.stride}", "use an adj below the stride")
    return Window(
        given.kernel, given.stride, given.dilation, given.pads, call.arg("group"), "NHWC" if nhwc(call) else "NCHW", adj
    )


def transposed_image(call: Call) -> Shape | None:
    """Spatial dimensions of the output of a ConvTranspose call; None while the rank is unknown."""
    w = transposed_window(call)
    shape = call.type(0).shape
    if shape is None:
        return None
    out: list[Dim] = []
    for i, size in enumerate(spatial(call, shape)):
        rest = w.kernel[i] + w.adj[i] - w.heads[i] - w.tails[i] - w.stride[i]
        d = size * w.stride[i] + rest
        if isinstance(d, int) and d <= 0:
            call.fail(f"the output would have {d} pixels in dimension {i}", "use less padding")
        out.append(d)
    return tuple(out)


def padded(x: np.ndarray, w: Window, value: float, first: int = 2) -> np.ndarray:
    """``x`` with its border, filled with ``value``; spatial dimensions start at ``first``. Negative pads crop."""
    widths = [(0, 0)] * first + [(max(h, 0), max(t, 0)) for h, t in zip(w.heads, w.tails)]
    widths += [(0, 0)] * (x.ndim - len(widths))
    x = np.pad(x, widths, constant_values=value) if any(map(any, widths)) else x
    crop = [slice(None)] * first + [slice(max(-h, 0), x.shape[first + i]) for i, h in enumerate(w.heads)]
    return np.asarray(x[tuple(crop)])


def taps(x: np.ndarray, w: Window, out: tuple[int, ...], first: int = 2) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """Every element of the window: its index and the view of padded ``x`` that it meets, of spatial size ``out``."""
    found = []
    for tap in np.ndindex(*w.kernel):
        place = [slice(None)] * first
        for i, k in enumerate(tap):
            start = k * w.dilation[i]
            place.append(slice(start, start + (out[i] - 1) * w.stride[i] + 1, w.stride[i]))
        found.append((tap, x[tuple(place)]))
    return found
