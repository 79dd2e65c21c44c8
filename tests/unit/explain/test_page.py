"""The page: well-formed, escaped, complete, and in need of nothing but itself."""

import re
from html.parser import HTMLParser

import pytest

from tenor.explain import ProgramRecord, Report, SourceLine, page, record_of
from tenor.explain.chart import chart
from tenor.ir import dtype as dt
from tenor.ir.build import GraphBuilder

VOID = {"meta", "br", "hr", "img", "input", "link"}
NASTY = "<script>alert('&\"')</script>"


class Checker(HTMLParser):
    """Follows a page's tags, and notes its ids, links and whatever would be fetched."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open = []
        self.ids = []
        self.links = []
        self.fetched = []
        self.text = []

    def handle_starttag(self, tag, attrs):
        held = dict(attrs)
        if "id" in held:
            self.ids.append(held["id"])
        if tag == "a":
            self.links.append(held["href"])
        elif {"src", "href", "data", "srcset", "action"} & held.keys():
            self.fetched.append((tag, held))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def checked(html):
    """Return the page parsed, every tag of it closed."""
    parsed = Checker()
    parsed.feed(html)
    parsed.close()
    assert parsed.open == []
    return parsed


def graph():
    g = GraphBuilder()
    x, w = g.leaf((4, 3), dt.float32), g.leaf((3, 2), dt.float32)
    return g.graph(g.exp(g.matmul(x, w)))


@pytest.fixture(scope="module")
def report():
    first, second = record_of(1, graph()), record_of(2, graph())
    first.lines = (SourceLine("a<b>.py", 3, f"x = '{NASTY}'", (("matmul", 1), ("exp", 2))),)
    second.unobserved = True
    return Report(f"scripts/{NASTY}.py", [first, second], 0.25, failure=NASTY, target="x86_64 & co")


@pytest.fixture(scope="module")
def html(report):
    return page(report)


def test_the_page_is_well_formed(html):
    parsed = checked(html)
    assert html.startswith("<!doctype html>")
    assert len(parsed.ids) == len(set(parsed.ids))


def test_every_link_stays_in_the_page(html):
    parsed = checked(html)
    assert parsed.links
    for link in parsed.links:
        assert link.startswith("#")
        assert link[1:] in parsed.ids


def test_nothing_is_fetched(html):
    assert checked(html).fetched == []
    assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttp", html.replace("//\n", ""))
    assert "default-src &#x27;none&#x27;" in html


def test_what_the_user_wrote_is_escaped(html):
    assert NASTY not in html
    parsed = checked(html)
    assert NASTY in "".join(parsed.text)


def test_every_stage_of_every_program_is_there(html, report):
    ids = set(checked(html).ids)
    for record in report.programs:
        for stage in ("kernels", "source", "graph", "passes", "loops", "ir", "asm"):
            assert f"p{record.number}-{stage}" in ids
    first = report.programs[0]
    text = "".join(checked(html).text)
    for body in first.bodies:
        for code in (body.loops, body.ir, body.assembly):
            assert code.rstrip() in text
    assert first.graph.rstrip() in text
    assert "matmul, exp x2" in text


def test_code_shown_before_is_linked(html, report):
    body = report.programs[0].bodies[0]
    assert body.symbol == report.programs[1].bodies[0].symbol
    assert "".join(checked(html).text).count(body.ir.rstrip()) == 1
    assert "the same as" in html


def test_the_chart_has_a_row_a_kernel(report):
    record = report.programs[0]
    drawn = chart(record.kernels)
    assert drawn.count("<rect") == 2 * len(record.kernels)
    checked(drawn)
    assert chart(()) == ""


def test_a_long_chart_keeps_the_longest(report):
    from dataclasses import replace

    kernel = report.programs[0].kernels[0]
    many = [replace(kernel, number=i + 1, seconds=float(i)) for i in range(100)]
    drawn = chart(many)
    assert drawn.count("<rect") == 120
    assert "100  " in drawn
    assert ">1  " not in drawn


def test_a_report_of_nothing_is_a_page():
    html = page(Report("empty.py"))
    checked(html)
    assert "Nothing was computed" in html


def test_an_empty_program_is_a_page():
    checked(page(Report("x.py", [ProgramRecord(1)])))
