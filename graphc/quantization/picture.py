"""A report as a picture: for each layer a bar of its SQNR, its range and what it alone adds to the error."""

from __future__ import annotations

from html import escape

from graphc.ir.svg import plain
from graphc.quantization.report import LayerReport, Report

_ROW, _MARGIN, _BAR = 18, 16, 360
_CHARACTER = 6.4
_INT8, _FLOAT, _ALONE = "#7fa3d1", "#d9dce3", "#cb8428"
FULL = 60.0
"""Decibels of a full bar: more than 8 bits give."""


def report_svg(report: Report) -> str:
    """An ``<svg>`` element, without any external program; tooltips hold the numbers."""
    names = max([len(layer.name) for layer in report.layers] + [10])
    left = _MARGIN + min(names, 48) * _CHARACTER + 12
    right = left + _BAR + 24
    alone = max([layer.alone or 0.0 for layer in report.layers] + [1e-12])
    width, height = right + _BAR + _MARGIN, 64 + _ROW * len(report.layers) + _MARGIN
    parts = [
        f'<text x="{_MARGIN}" y="22" font-size="15" font-weight="bold">{_title(report)}</text>',
        f'<text x="{left}" y="46">SQNR in dB, errors from before included</text>',
    ]
    if any(layer.alone is not None for layer in report.layers):
        parts.append(f'<text x="{right}" y="46">error of the outputs with this layer alone in int8</text>')
    for i, layer in enumerate(report.layers):
        parts.append(_row(layer, 56 + i * _ROW, left, right, alone))
    size = f'width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}"'
    font = 'font-family="Helvetica, Arial, sans-serif" font-size="11" fill="#223"'
    ground = f'<rect width="{width:.0f}" height="{height}" fill="#fff"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>', ground, *parts, "</svg>\n"])


def _title(report: Report) -> str:
    loss = "not measured" if report.loss is None else f"{100 * report.loss:.3g} % of the outputs"
    return f"loss {loss}, weights {report.int8_bytes / max(report.float_bytes, 1):.0%}"


def _row(layer: LayerReport, top: float, left: float, right: float, most: float) -> str:
    base, name = top + _ROW - 6, layer.name if len(layer.name) <= 48 else layer.name[:47] + "…"
    tip = f"{layer.name}: {layer.operator}, {layer.precision}, range {layer.low:.4g} ... {layer.high:.4g}"
    if layer.float_bytes is not None and layer.int8_bytes is not None:
        tip += f", {layer.float_bytes} -> {layer.int8_bytes} bytes"
    parts = [f"<title>{escape(plain(tip))}</title>"]
    parts.append(f'<text x="{left - 8:.1f}" y="{base:.1f}" text-anchor="end">{escape(plain(name))}</text>')
    if layer.precision == "float":
        parts.append(f'<rect x="{left:.1f}" y="{top}" width="{_BAR}" height="{_ROW - 4}" fill="{_FLOAT}"/>')
        parts.append(f'<text x="{left + 6:.1f}" y="{base:.1f}">float</text>')
    elif layer.sqnr is not None:
        length = min(max(layer.sqnr, 0.0), FULL) / FULL * _BAR
        parts.append(f'<rect x="{left:.1f}" y="{top}" width="{length:.1f}" height="{_ROW - 4}" fill="{_INT8}"/>')
        parts.append(f'<text x="{left + 6:.1f}" y="{base:.1f}">{layer.sqnr:.1f}</text>')
    if layer.alone is not None:
        length = layer.alone / most * _BAR
        parts.append(f'<rect x="{right:.1f}" y="{top}" width="{length:.1f}" height="{_ROW - 4}" fill="{_ALONE}"/>')
        parts.append(f'<text x="{right + 6:.1f}" y="{base:.1f}">{100 * layer.alone:.2g} %</text>')
    return f"<g>{''.join(parts)}</g>"
