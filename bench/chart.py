"""A drawing of ratios: one row a case, one dot a proxy, its range as a line, on a logarithmic scale."""

from __future__ import annotations

import math
from html import escape

from figures import Ratio

COLOURS = ("#6b7280", "#0f766e", "#c2410c", "#7c3aed", "#2563eb", "#be185d", "#65a30d")
LEFT, WIDTH, ROW, TOP = 210, 560, 26, 62
TICKS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def draw(title: str, names: list[str], rows: list[tuple[str, list[Ratio | None]]]) -> str:
    """Return an SVG; each row has one ratio for each of `names`, None where there is none."""
    known = [ratio for _, ratios in rows for ratio in ratios if ratio is not None]
    least = min((ratio.least for ratio in known), default=0.5)
    most = max((ratio.most for ratio in known), default=2.0)
    ticks = [tick for tick in TICKS if least / 2 < tick < most * 2] or [1.0]
    low, high = math.log(min(ticks[0], least * 0.95)), math.log(max(ticks[-1], most * 1.05))

    def x(value: float) -> float:
        return LEFT + (math.log(value) - low) / ((high - low) or 1) * WIDTH

    height = TOP + ROW * len(rows) + 34
    bottom = TOP + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 30} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>{escape(title)}</title>',
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="12" y="22" font-size="15" fill="#111827">'
        f"{escape(title)}</text>",
    ]
    at = 12.0
    for name, colour in zip(names, COLOURS):
        parts.append(f'<circle cx="{at + 5:.0f}" cy="42" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{at + 15:.0f}" y="46" fill="#374151">{escape(name)}</text>')
        at += 34 + 6.6 * len(name)
    for tick in ticks:
        colour, width = ("#111827", 1.5) if tick == 1 else ("#e5e7eb", 1)
        parts.append(
            f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{bottom}" stroke="{colour}" '
            f'stroke-width="{width}"/><text x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle" '
            f'fill="#374151">{tick:g} ×</text>'
        )
    for number, (label, ratios) in enumerate(rows):
        y = TOP + ROW * number + ROW / 2
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end" fill="#111827">{escape(label)}</text>')
        for place, (ratio, colour) in enumerate(zip(ratios, COLOURS)):
            if ratio is None:
                continue
            own = y + (place - (len(ratios) - 1) / 2) * 3
            said = f"{names[place]}, {label}: {ratio}"
            parts.append(
                f'<g><title>{escape(said)}</title><line x1="{x(ratio.least):.1f}" x2="{x(ratio.most):.1f}" '
                f'y1="{own:.1f}" y2="{own:.1f}" stroke="{colour}" stroke-width="2" opacity="0.45"/>'
                f'<circle cx="{x(ratio.middle):.1f}" cy="{own:.1f}" r="4.5" fill="{colour}"/></g>'
            )
    return "\n".join([*parts, "</svg>", ""])
