"""A confusion matrix as a picture: what each label was answered as. Pure; SVG, readable on light and dark pages."""

from collections.abc import Mapping
from html import escape

CELL, ROOM, TOP, MARGIN = 26, 190, 150, 70  # pixels: a cell, room for labels left, above, right
INK, PAPER, GRID = "#1f2328", "#ffffff", "#d0d7de"
RIGHT, WRONG = "#1a7f5a", "#c2410c"


def picture(table: Mapping[str, Mapping[str, int]]) -> str:
    """The matrix with a row a label and a column an answer; a cell says how often, and is the fuller the larger its
    share of the row. Right answers and wrong ones differ in colour and in place: right ones are on the diagonal."""
    names = sorted({*table, *(kind for counts in table.values() for kind in counts)})
    size = CELL * len(names)
    width, height = ROOM + size + MARGIN, TOP + size + 20
    style = f'font-family="sans-serif" font-size="12" fill="{INK}" role="img"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {style}>',
        f"<title>{len(names)} kinds of failure, the label at the left and the answer above</title>",
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        f'<text x="{ROOM - 8}" y="{TOP - 12}" text-anchor="end" font-weight="bold">label, answered as →</text>',
    ]
    for place, name in enumerate(names):
        middle = place * CELL + CELL / 2
        parts.append(f'<text x="{ROOM - 8}" y="{TOP + middle + 4}" text-anchor="end">{escape(name)}</text>')
        x, y = ROOM + middle + 4, TOP - 8
        parts.append(f'<text x="{x}" y="{y}" transform="rotate(-60 {x} {y})">{escape(name)}</text>')
        parts += _row(table.get(name, {}), names, place)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(counts: Mapping[str, int], names: list[str], row: int) -> list[str]:
    total = sum(counts.values())
    cells = []
    for column, name in enumerate(names):
        x, y, count = ROOM + column * CELL, TOP + row * CELL, counts.get(name, 0)
        share = count / total if total else 0.0
        colour = RIGHT if column == row else WRONG
        filled = f' fill="{colour}" fill-opacity="{0.15 + 0.85 * share:.2f}"' if count else f' fill="{PAPER}"'
        cells.append(f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" stroke="{GRID}"{filled}/>')
        if count:
            ink = PAPER if share > 0.5 else INK
            middle = x + CELL / 2
            cells.append(f'<text x="{middle}" y="{y + 17}" text-anchor="middle" fill="{ink}">{count}</text>')
    return cells
