"""The picture of the arena as a page: a buffer under the pointer is told, lit on both sides, and names are searched."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.memory_svg import MemoryPicture, memory_svg

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>graphc: the arena over time</title>
<style>
body { margin: 0; font: 13px Helvetica, Arial, sans-serif; color: #223; background: #fff; }
#bar { position: sticky; top: 0; left: 0; display: flex; gap: 16px; align-items: flex-start; padding: 8px 16px;
       background: #f4f6fa; border-bottom: 1px solid #c8ccd8; height: 84px; overflow: auto; }
#told { margin: 0; white-space: pre-wrap; font: inherit; }
g[data-buffer].dim { opacity: 0.15; }
g[data-buffer].lit rect { stroke: #a3262a; stroke-width: 2; }
</style>
</head>
<body>
<div id="bar"><input id="find" type="search" placeholder="part of a blob's name" aria-label="part of a blob's name">
<pre id="told">Point at a buffer.</pre></div>
"""

_SCRIPT = """
<script>
"use strict";
const buffers = [...document.querySelectorAll("g[data-buffer]")];
const text = g => g.querySelector("title").textContent;
const twins = g => g.parentNode.querySelectorAll(`g[data-buffer="${g.dataset.buffer}"]`);
const told = document.getElementById("told");
for (const g of buffers) {
  g.addEventListener("mouseenter", () => {
    told.textContent = text(g);
    twins(g).forEach(t => t.classList.add("lit"));
  });
  g.addEventListener("mouseleave", () => twins(g).forEach(t => t.classList.remove("lit")));
}
document.getElementById("find").addEventListener("input", event => {
  const wanted = event.target.value.toLowerCase();
  for (const g of buffers) g.classList.toggle("dim", !text(g).split("\\n")[0].toLowerCase().includes(wanted));
});
</script>
</body>
</html>"""


def memory_html(pictures: Sequence[MemoryPicture]) -> str:
    """A page that needs nothing from outside."""
    return _PAGE + memory_svg(pictures) + _SCRIPT
