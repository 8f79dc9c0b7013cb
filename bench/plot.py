"""Plots as plain SVG: bars on a logarithmic scale, and latencies by quantile."""
import math
from html import escape

COLOURS = ["#2563eb", "#d97706", "#6b7280", "#059669", "#7c3aed", "#dc2626", "#0891b2", "#a16207"]
WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 190, 48, 56


def bars(path, title, unit, groups, series):
    """`series`: name to one value a group, or None where there is none."""
    values = [value for row in series.values() for value in row if value]
    low, high = decade_below(min(values)), decade_above(max(values))
    svg = Svg(path, title, unit, low, high)
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    bar = room * 0.8 / len(series)
    for at, group in enumerate(groups):
        left = LEFT + at * room + room * 0.1
        for line, words in enumerate(group.split(", ")):
            svg.text(left + room * 0.4, HEIGHT - BOTTOM + 18 + 15 * line, words, "middle")
        for which, (name, row) in enumerate(series.items()):
            if row[at]:
                y = svg.y(row[at])
                svg.add(f'<rect x="{left + which * bar:.1f}" y="{y:.1f}" width="{bar * 0.92:.1f}" '
                        f'height="{HEIGHT - BOTTOM - y:.1f}" fill="{COLOURS[which % len(COLOURS)]}"><title>{escape(name)}, '
                        f'{escape(group)}: {row[at]:,.0f}</title></rect>')
    svg.legend(series)
    svg.write()


def quantiles(path, title, curves):
    """`curves`: name to pairs of a quantile and milliseconds. Each nine takes as much room as the one before."""
    values = [ms for curve in curves.values() for _, ms in curve if ms > 0]
    svg = Svg(path, title, "ms", decade_below(min(values)), decade_above(max(values)))
    nines = 5
    at = lambda quantile: LEFT + (WIDTH - LEFT - RIGHT) * -math.log10(max(1 - quantile, 10 ** -nines)) / nines
    for quantile, name in [(0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")]:
        svg.add(f'<line x1="{at(quantile):.1f}" y1="{TOP}" x2="{at(quantile):.1f}" y2="{HEIGHT - BOTTOM}" stroke="#e5e7eb"/>')
        svg.text(at(quantile), HEIGHT - BOTTOM + 18, name, "middle")
    for which, curve in enumerate(curves.values()):
        points = " ".join(f"{at(quantile):.1f},{svg.y(ms):.1f}" for quantile, ms in curve if ms > 0)
        svg.add(f'<polyline points="{points}" fill="none" stroke="{COLOURS[which % len(COLOURS)]}" stroke-width="2"/>')
    svg.legend(curves)
    svg.write()


def decade_below(value):
    return 10 ** math.floor(math.log10(value) - 1e-9)


def decade_above(value):
    return 10 ** math.ceil(math.log10(value) + 1e-9)


class Svg:
    def __init__(self, path, title, unit, low, high):
        self.path, self.low, self.high = path, low, high
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
                      f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>']
        self.text(LEFT, 24, title, "start", 15)
        self.text(LEFT - 8, TOP - 8, unit, "end")
        value = low
        while value <= high * 1.001:
            y = self.y(value)
            self.add(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#d1d5db"/>')
            self.text(LEFT - 8, y + 4, f"{value:,.0f}" if value >= 1 else f"{value:g}", "end")
            value *= 10

    def y(self, value):
        span = math.log10(self.high / self.low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log10(max(value, self.low) / self.low) / span

    def add(self, part):
        self.parts.append(part)

    def text(self, x, y, text, anchor, size=12):
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#111827">{escape(text)}</text>')

    def legend(self, names):
        for which, name in enumerate(names):
            y = TOP + 20 * which
            self.add(f'<rect x="{WIDTH - RIGHT + 14}" y="{y}" width="12" height="12" fill="{COLOURS[which % len(COLOURS)]}"/>')
            self.text(WIDTH - RIGHT + 32, y + 11, name, "start")

    def write(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("\n".join([*self.parts, "</svg>"]) + "\n")
