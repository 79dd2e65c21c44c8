"""`tenor explain` of a training script, from a shell to the page a browser opens."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

SCRIPT = '''\
"""A small training run, with text that a careless page would take for tags: <b>&amp;</b>."""

import tenor as tn
from tenor import nn

tn.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                      nn.Linear(4 * 16, 3))
optimizer = tn.optim.AdamW(model.parameters(), lr=1e-2)
x, y = tn.randn(8, 1, 4, 4), tn.randint(0, 3, (8,))
for step in range(3):
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("step <b>", step, float(loss))
'''
VOID = {"meta"}


class Tags(HTMLParser):
    """Checks that tags nest, and gathers the text and the links."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids, self.text = [], [], set(), []

    def handle_starttag(self, tag, attrs):
        held = dict(attrs)
        self.ids.add(held.get("id"))
        assert "src" not in held
        if "href" in held:
            self.links.append(held["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return what the command printed, and the page it wrote."""
    home = tmp_path_factory.mktemp("explain")
    (home / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "tenor.cli", "explain", "script.py", "--html", "page.html"],
        cwd=home, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, (home / "page.html").read_text("utf-8")


def test_the_scripts_own_output_comes_first(made):
    lines = made[0].splitlines()
    assert [line.rpartition(" ")[0] for line in lines[:3]] == [f"step <b> {i}" for i in range(3)]
    assert "script.py ran" in made[0]


def test_the_page_is_well_formed_and_whole(made):
    page = Tags()
    page.feed(made[1])
    page.close()
    assert page.open == []
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    text = "".join(page.text)
    for part in ("conv", "conv_weight", "loss.backward()", "optimizer.step()", "define void",
                 "function ", "graph {", "fuse", "script.py"):  # fmt: skip
        assert part in text


def test_the_page_asks_for_nothing(made):
    html = made[1]
    assert not re.search(r"https?://|url\(|@import|<link|<img|<iframe", html)
    assert "default-src" in html


def test_kernels_name_the_lines_they_come_from(made):
    rows = re.findall(r"<small>conv[^,]*, line ([0-9, ]+), code", made[1])
    assert rows
    assert {"12", "14"} & {number for row in rows for number in row.split(", ")}
