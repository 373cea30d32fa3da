# SPDX-License-Identifier: BSD-3-Clause
"""Pictures: lines over powers of two, and bars.  Plain SVG, no script."""
import html
import math

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 40, 50
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e5ea2", "#b8860b")
STYLE = "font-family='sans-serif' font-size='12'"


def text(x, y, words, anchor="middle", more=""):
    return (f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' {more}>"
            f"{html.escape(str(words))}</text>")


def rule(x1, y1, x2, y2, colour="#ddd"):
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}'/>"


def page(title, parts):
    head = (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' {STYLE}>"
            f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>")
    return "\n".join([head, text(LEFT, 22, title, "start", "font-weight='bold'"), *parts,
                      "</svg>"]) + "\n"


def short(value):
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


class Axis:
    """From the least decade to the highest, or from zero."""

    def __init__(self, values, logarithmic):
        self.logarithmic = logarithmic
        values = [value for value in values if value > 0] or [1]
        if logarithmic:
            self.low = 10 ** math.floor(math.log10(min(values)))
            self.high = 10 ** math.ceil(math.log10(max(values) * 1.0001))
        else:
            step = 10 ** math.floor(math.log10(max(values)))
            self.low, self.high = 0, step * math.ceil(max(values) * 1.05 / step)

    def y(self, value):
        if self.logarithmic:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = value / self.high
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def marks(self):
        if self.logarithmic:
            decades = round(math.log10(self.high / self.low))
            return [self.low * 10 ** n for n in range(decades + 1)]
        return [self.high * n / 5 for n in range(6)]

    def draw(self, unit):
        parts = [text(14, TOP - 4, unit, "start")]
        for mark in self.marks():
            parts += [rule(LEFT, self.y(mark), WIDTH - RIGHT, self.y(mark)),
                      text(LEFT - 6, self.y(mark) + 4, short(float(f"{mark:.3g}")), "end")]
        return parts


def lines(title, unit, series, logarithmic=True):
    """series: {name: {x: value}}; the x are powers of two or near."""
    points = [x for line in series.values() for x in line]
    most = max(1, math.log2(max(points, default=1)))
    axis = Axis([value for line in series.values() for value in line.values()], logarithmic)

    def at(x):
        return LEFT + math.log2(x) / most * (WIDTH - LEFT - RIGHT)

    parts = axis.draw(unit)
    parts += [text(at(x), HEIGHT - BOTTOM + 18, x) for x in sorted(set(points))]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "commands in flight"))
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        spots = [(at(x), axis.y(value)) for x, value in sorted(line.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        parts += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>" for x, y in spots]
        parts.append(text(WIDTH - RIGHT + 12, TOP + 14 + 18 * number, name, "start",
                          f"fill='{colour}'"))
    return page(title, parts)


def bars(title, unit, values):
    """values: {name: value}"""
    axis = Axis(values.values(), False)
    room = (WIDTH - LEFT - 30) / max(1, len(values))
    parts = axis.draw(unit)
    for number, (name, value) in enumerate(values.items()):
        x, y = LEFT + room * number + room * 0.2, axis.y(value)
        parts.append(f"<rect x='{x:.1f}' y='{y:.1f}' width='{room * 0.6:.1f}' "
                     f"height='{HEIGHT - BOTTOM - y:.1f}' fill='{COLOURS[0]}'/>")
        parts += [text(x + room * 0.3, y - 5, f"{value:.3g}"),
                  text(x + room * 0.3, HEIGHT - BOTTOM + 18, name)]
    return page(title, parts)
