"""A report as one HTML page that needs nothing besides itself."""

from __future__ import annotations

import math
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.export.quantize.report import Error, LayerReport, OutputReport, Report

__all__ = ["decibels", "how", "page"]

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""The browser itself refuses to fetch anything for the page."""
ROW: Final = 22
LABEL: Final = 230
BAR: Final = 270
VALUE: Final = 84
MOST: Final = 60
CEILING: Final = 60.0
"""Decibels of a whole bar."""


def page(report: Report) -> str:
    """Return the report as HTML: what it comes to, a plot, and every layer."""
    style = files("tenor.export.quantize").joinpath("page.css").read_text("utf-8")
    title = f"{escape(report.name)} in eight bits"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n{_summary(report)}\n"
        f"<h2>Layers, the most harmful first</h2>\n{_note(report)}\n{_chart(report.layers)}\n"
        f"{_table(report.layers)}\n</main>\n</body>\n</html>\n"
    )


# -- pieces ---------------------------------------------------------------------------------------
def _summary(report: Report) -> str:
    saved = 1 - report.bytes_after / report.bytes_before if report.bytes_before else 0.0
    facts = [
        ("How", escape(how(report.method))),
        ("Rows compared", f"{report.rows:,}"),
        ("Weights", f"{report.bytes_before:,} → {report.bytes_after:,} bytes ({saved:.0%} less)"),
    ]
    facts += [(f"Output {escape(found.name)}", _answer(found)) for found in report.outputs]
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    return f'<dl class="facts">{rows}</dl>'


def _answer(found: OutputReport) -> str:
    parts = []
    if found.error.signal or found.error.noise:
        parts = [decibels(found.error), f"relative error {found.error.relative:.3%}"]
    parts.append(f"largest difference {found.largest:.3g}")
    if found.agreement is not None:
        parts.append(f"<b>{found.agreement:.2%}</b> of the answers agree")
    return ", ".join(parts)


def _note(report: Report) -> str:
    shown = f" The plot shows the first {MOST}." if len(report.layers) > MOST else ""
    return (
        '<p class="note">Signal to noise of a layer\'s result, in decibels: more is better, and 6 '
        "dB are one bit. <b>Alone</b>: this layer is quantised, all others are float32. "
        "<b>Through</b>: all are quantised, so the errors of those before it come in. "
        "<b>Answers</b>: the relative error of the model's answers where this layer alone is "
        f"quantised.{shown}</p>"
    )


def _chart(layers: Sequence[LayerReport]) -> str:
    """Return bars: each layer alone and through the net, and what it does to the answers."""
    shown = layers[:MOST]
    if not shown:
        return ""
    width, height = LABEL + 2 * (BAR + VALUE), 2 * ROW * len(shown) + ROW + 6
    worst = max((x.output.relative for x in shown if math.isfinite(x.output.relative)), default=0.0)
    second = LABEL + BAR + VALUE
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Signal to noise and effect of each layer">',
        f'<text class="head" x="{LABEL}" y="14">signal to noise: alone, and through the net</text>',
        f'<text class="head" x="{second}" y="14">error of the answers</text>',
    ]
    for at, layer in enumerate(shown):
        y = ROW + 2 * ROW * at
        name = escape(_short(layer.name))
        parts.append(f'<text x="{LABEL - 10}" y="{y + 24}" text-anchor="end">{name}</text>')
        for down, kind, error in ((4, "alone", layer.alone), (20, "through", layer.through)):
            share = min(max(error.decibels, 0.0), CEILING) / CEILING
            parts.append(_bar(LABEL, y + down, share, decibels(error), kind))
        share = min(1.0, layer.output.relative / worst) if worst else 0.0
        parts.append(_bar(second, y + 12, share, f"{layer.output.relative:.3%}", "answers"))
    return f'<div class="wide">{"".join(parts)}</svg></div>'


def _bar(x: int, y: int, share: float, text: str, kind: str) -> str:
    width = max(1.0, BAR * share)
    return (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{width:.1f}" height="13" rx="2">'
        f"<title>{kind}: {escape(text)}</title></rect>"
        f'<text class="value" x="{x + width + 6:.1f}" y="{y + 11}">{escape(text)}</text>'
    )


COLUMNS: Final[dict[str, Callable[[LayerReport], str]]] = {
    "layer": lambda x: f"<code>{escape(x.name)}</code>",
    "kind": lambda x: escape(x.kind),
    "least": lambda x: _number(x.low),
    "greatest": lambda x: _number(x.high),
    "scale": lambda x: _number(x.scale),
    "zero point": lambda x: str(x.zero_point) if math.isfinite(x.scale) else "float32",
    "alone": lambda x: decibels(x.alone),
    "error": lambda x: f"{x.alone.relative:.3%}",
    "through": lambda x: decibels(x.through),
    "error ": lambda x: f"{x.through.relative:.3%}",
    "answers": lambda x: f"{x.output.relative:.3%}",
    "weights": lambda x: f"{x.bytes_before:,} → {x.bytes_after:,}" if x.bytes_before else "",
}
"""Head -> what the table says of a layer; from the third on numbers."""


def _table(layers: Sequence[LayerReport]) -> str:
    def cells(tag: str, values: Sequence[str]) -> str:
        made = (
            f"<{tag}{' class=n' if at > 1 else ''}>{value}</{tag}>"
            for at, value in enumerate(values)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(cells("td", [show(layer) for show in COLUMNS.values()]) for layer in layers)
    heads = cells("th", [head.strip() for head in COLUMNS])
    return f'<div class="wide"><table><thead>{heads}</thead><tbody>{body}</tbody></table></div>'


def how(method: str) -> str:
    """Return a method in words."""
    return "weights alone" if method == "weights" else f"ranges by {method}"


def decibels(error: Error) -> str:
    """Return an error as decibels."""
    value = error.decibels
    return f"{value:.1f} dB" if math.isfinite(value) else ("exact" if value > 0 else "none")


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else ""


def _short(text: str, most: int = 34) -> str:
    return text if len(text) <= most else "…" + text[1 - most :]
