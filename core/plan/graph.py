"""A plan as a drawing: mermaid text for documents, SVG for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from textwrap import wrap

from windrow.plan import nodes
from windrow.plan.explain import describe
from windrow.plan.lower import lower

_CHARACTERS = 34  # of a line in a box
_LINES = 4
_LINE_PX, _CHARACTER_PX, _GAP_PX, _PAD_PX = 16, 7, 36, 8
_BOX_PX = _CHARACTERS * _CHARACTER_PX + 2 * _PAD_PX

#: What a box is, for its colour: readable on light and dark ground.
_FILLS = {"source": "#2f6f4f", "state": "#7a4b1e", "sink": "#2d4f7c", "step": "#55585e"}
#: And in mermaid its frame: round ends where rows come in and go out, double lines where there is state.
_FRAMES = {"source": ("([", "])"), "sink": ("([", "])"), "state": ("[[", "]]"), "step": ("[", "]")}


@dataclass(frozen=True, slots=True)
class _Box:
    kind: str
    text: str
    layer: int
    inputs: tuple[int, ...]


class Graph:
    """The steps of a plan and which reads which: as mermaid text (mermaid.js.org, flowchart), in a notebook as SVG."""

    def __init__(self, sinks: tuple[nodes.Node, ...]) -> None:
        plan = lower(sinks)
        self._boxes: list[_Box] = []
        numbers: dict[int, int] = {}
        for node in plan.order:
            inputs = tuple(numbers[id(child)] for child in node.inputs)
            layer = 1 + max((self._boxes[number].layer for number in inputs), default=-1)
            numbers[id(node)] = len(self._boxes)
            self._boxes.append(_Box(_kind(node), describe(node, plan), layer, inputs))

    def __str__(self) -> str:
        lines = ["flowchart TD"]
        for number, box in enumerate(self._boxes):
            text = "<br>".join(_escaped(line) for line in _lines(box.text))
            left, right = _FRAMES[box.kind]
            lines.append(f'    n{number}{left}"{text}"{right}')
            lines += [f"    n{other} --> n{number}" for other in box.inputs]
        return "\n".join(lines) + "\n"

    def __repr__(self) -> str:
        return f"Graph({len(self._boxes)} steps)"

    def svg(self) -> str:
        """The same as a drawing, sources on top."""
        layers: dict[int, list[int]] = {}
        for number, box in enumerate(self._boxes):
            layers.setdefault(box.layer, []).append(number)
        widest = max(len(layer) for layer in layers.values())
        width = widest * (_BOX_PX + _GAP_PX) + _GAP_PX
        places: dict[int, tuple[int, int]] = {}
        tops = _GAP_PX // 2
        for layer in sorted(layers):
            free = width - len(layers[layer]) * (_BOX_PX + _GAP_PX) + _GAP_PX
            for place, number in enumerate(layers[layer]):
                places[number] = (free // 2 + place * (_BOX_PX + _GAP_PX), tops)
            tops += max(_height(self._boxes[number]) for number in layers[layer]) + _GAP_PX
        shapes = [self._arrow(places, other, number) for number, box in enumerate(self._boxes) for other in box.inputs]
        shapes += [_drawn(box, *places[number]) for number, box in enumerate(self._boxes)]
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{tops}" viewBox="0 0 {width} {tops}"'
        return f'{head} font-family="monospace" font-size="12">{"".join(shapes)}</svg>'

    def _repr_svg_(self) -> str:
        return self.svg()

    def _arrow(self, places: dict[int, tuple[int, int]], start: int, end: int) -> str:
        x1, y1 = places[start][0] + _BOX_PX // 2, places[start][1] + _height(self._boxes[start])
        x2, y2 = places[end][0] + _BOX_PX // 2, places[end][1]
        middle = (y1 + y2) // 2
        line = f'<path d="M{x1},{y1} C{x1},{middle} {x2},{middle} {x2},{y2 - 6}" fill="none" stroke="#8a8d93"/>'
        return f'{line}<path d="M{x2 - 4},{y2 - 7} L{x2 + 4},{y2 - 7} L{x2},{y2} Z" fill="#8a8d93"/>'


def _kind(node: nodes.Node) -> str:
    match node:
        case nodes.SourceNode():
            return "source"
        case nodes.SinkNode():
            return "sink"
        case nodes.Stateful():
            return "state"
    return "step"


def _lines(text: str) -> list[str]:
    lines = wrap(text, _CHARACTERS)
    return lines if len(lines) <= _LINES else [*lines[: _LINES - 1], lines[_LINES - 1][: _CHARACTERS - 1] + "…"]


def _escaped(text: str) -> str:
    """For a text in quotes of mermaid, which knows HTML entities."""
    return escape(text, quote=True)


def _height(box: _Box) -> int:
    return len(_lines(box.text)) * _LINE_PX + 2 * _PAD_PX


def _drawn(box: _Box, x: int, y: int) -> str:
    corner = 14 if box.kind in ("source", "sink") else 3
    frame = (
        f'<rect x="{x}" y="{y}" width="{_BOX_PX}" height="{_height(box)}" rx="{corner}" fill="{_FILLS[box.kind]}"/>'
        f"<title>{escape(box.text)}</title>"
    )
    lines = [
        f'<text x="{x + _PAD_PX}" y="{y + _PAD_PX + 12 + number * _LINE_PX}" fill="#ffffff">{escape(line)}</text>'
        for number, line in enumerate(_lines(box.text))
    ]
    return f"<g>{frame}{''.join(lines)}</g>"
