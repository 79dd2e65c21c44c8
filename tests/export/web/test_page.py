"""The page in Chromium: it answers, it is drawn on, it is taught, and it can be seen."""

import struct
import zlib

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.export.web import export_web
from tests.export import zoo
from tests.export.web.chromium import in_chromium, screenshot
from tests.export.web.engines import jsonable


@pytest.fixture(scope="module")
def reader():
    """Return the digits' network, taught for a moment, and what is held out."""
    x, y, held, _ = tn.data.load_digits()
    tn.manual_seed(0)
    model = zoo.digits()[:-1]
    optimizer = tn.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for i in range(25):
        rows = slice(i % 22 * 32, i % 22 * 32 + 32)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tn.tensor(x[rows])), tn.tensor(y[rows])).backward()
        optimizer.step()
    return model.eval(), held


@pytest.fixture(scope="module")
def folder(reader, tmp_path_factory):
    """Return a folder of pages, one a way to give an input."""
    root = tmp_path_factory.mktemp("web")
    model, held = reader
    export_web(model, root / "digits", example_inputs=held[:16], train=True, lr=1e-2)
    words = ["<pad>", "<unk>", "good", "bad", *(f"w{i}" for i in range(36))]
    assets = {"vocab.txt": "\n".join(words).encode(), "labels.json": b'["no", "maybe", "yes"]'}
    for name, more in {"residual": {}, "tabular": {}, "sound": {}, "recurrent": assets}.items():
        make, example = zoo.ZOO[name]
        tn.manual_seed(7)
        given = example()
        path = root / f"{name}.tnr"
        given = given if len(given) > 1 else given[0]
        tn.save(make().eval(), path, example_inputs=given, assets=more)
        export_web(path, root / name)
    return root


def test_held_out_digits(folder, reader, tmp_path):
    model, held = reader
    body = "const m = await load(); return { kind: m.kind, made: given.map((x) => m.predict(x)) };"
    rows = held[::3]
    came = in_chromium(folder, body, jsonable(rows[:, None]), tmp_path, script="/digits/model.js")
    wanted = model(tn.tensor(rows)).detach().numpy()
    np.testing.assert_allclose(np.reshape(came["made"], wanted.shape), wanted, atol=1e-5)
    assert came["kind"] == "relaxed"


SEEN = """
const found = {};
for (const name of given) {
  const page = (await frame(`/${name}/index.html`)).contentDocument;
  const error = () => page.getElementById("error").textContent;
  await until(() => page.body.dataset.ready || error());
  const facts = page.getElementById("facts").textContent;
  found[name] = { error: error(), facts, answer: page.getElementById("outputs").textContent,
    inputs: [...page.querySelectorAll("fieldset")].map((f) => f.querySelector(
      "canvas.pad, .drop canvas, .fields, textarea").className || "text"),
    examples: page.querySelectorAll(".thumbs button").length,
    best: page.querySelector(".label.best")?.textContent };
}
return found;
"""


def test_every_way_to_give_an_input(folder, tmp_path):
    names = ["digits", "residual", "tabular", "sound", "recurrent"]
    came = in_chromium(folder, SEEN, names, tmp_path, script="")
    for name, found in came.items():
        assert not found["error"], name
        gap = float(found["facts"].partition("answer by ")[2].split("loaded")[0])
        answers = [] if name == "digits" else tn.load(folder / f"{name}.tnr").examples["predict"]
        largest = max(np.abs(a).max() for a in answers.outputs.values()) if answers else 1
        assert gap <= 1e-5 * max(1, largest), (name, found)
        assert found["examples"] >= 1
    assert [found["inputs"] for found in came.values()] == [
        ["pad"], ["pixels"], ["fields", "fields"], ["text"], ["text"],
    ]  # fmt: skip
    assert came["recurrent"]["best"] in ("no", "maybe", "yes")


class Camera(nn.Module):
    """Bytes as a camera gives them, channels last; a class for each pixel."""

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image):
        return self.net(image.permute(0, 3, 1, 2).float() / 255).argmax(1)


class Colours(nn.Module):
    """Bytes, channels first, turned around."""

    def forward(self, image):
        return 1 - image.float() / 255


class Chosen(nn.Module):
    """A row, and whether each of it counts."""

    def forward(self, row, counts):
        return tn.where(counts, row, 0 * row).sum(1)


class Tagger(nn.Module):
    """A class for each word."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(6, 3)

    def forward(self, tokens):
        return self.words(tokens)


class Next(nn.Module):
    """The word behind each word: the one after it in the vocabulary."""

    def forward(self, tokens):
        return (tokens.unsqueeze(-1) + 1 == tn.arange(6)).float()


class Columns(nn.Module):
    """Two inputs of one number each."""

    def forward(self, age, owner):
        return age + owner.float()


BYTES = np.random.default_rng(0).integers(0, 256, (3, 12, 10, 3)).astype(np.uint8)
LETTERS = b"<pad>\n \na\nb\nc\nd"
KINDS_OF_PAGES = {
    "camera": (Camera, BYTES, {}, [".drop canvas", ".maps canvas", ".key span"]),
    "colours": (Colours, BYTES.transpose(0, 3, 1, 2).copy(), {}, [".drop canvas", ".maps canvas"]),
    "plain": (nn.Flatten, BYTES[:, :10, :, 0] / np.float32(255), {}, ["canvas.pad"]),
    "chosen": (Chosen, (zoo.images(3, 3), zoo.images(3, 3) > 0.5), {
        "columns.txt": b"a\nb\nc\nis a\nis b\nis c"}, ["[type=checkbox]", "[type=number]"]),
    "tagger": (Tagger, np.array([[2, 3, 1, 4, 0], [2, 5, 5, 0, 0]]), {
        "vocab.txt": LETTERS, "labels.txt": b"x\ny\nz"}, ["textarea", ".tags small"]),
    "next": (Next, np.array([[2, 3, 1, 4, 0], [2, 5, 5, 0, 0]]), {"vocab.txt": LETTERS},
             ["textarea", ".label.best"]),
    "series": (lambda: nn.Linear(200, 2), zoo.images(3, 200), {},
               ["fieldset svg path[d*=L]", "textarea"]),
    "columns": (Columns, (zoo.images(3, 1), zoo.images(3, 1) > 0.5), {},
                ["fieldset.one [type=number]", "fieldset.one [type=checkbox]"]),
}  # fmt: skip
LOOKED_AT = """
const found = {};
for (const [name, wanted] of Object.entries(given)) {
  const page = (await frame(`/${name}/index.html`)).contentDocument;
  const error = () => page.getElementById("error").textContent;
  await until(() => page.body.dataset.ready || error());
  found[name] = { error: error(), facts: page.getElementById("facts").textContent,
    counts: wanted.map((what) => page.querySelectorAll(what).length),
    named: [...page.querySelectorAll(".fields label")].map((l) => l.textContent),
    best: page.querySelector(".label.best")?.textContent,
    size: ["width", "height"].map((side) => page.querySelector(".drop canvas")?.[side]) };
}
return found;
"""


def test_inputs_and_answers_are_shown_as_what_they_are(tmp_path):
    for name, (make, given, assets, _) in KINDS_OF_PAGES.items():
        tn.manual_seed(0)
        tn.save(make(), tmp_path / f"{name}.tnr", example_inputs=given, assets=assets)
        export_web(tmp_path / f"{name}.tnr", tmp_path / name)
    wanted = {name: row[3] for name, row in KINDS_OF_PAGES.items()}
    came = in_chromium(tmp_path, LOOKED_AT, wanted, tmp_path, script="")
    for name, found in came.items():
        assert not found["error"], (name, found)
        assert float(found["facts"].partition("answer by ")[2]) < 1e-6, (name, found)
        assert all(found["counts"]), (name, found)
    assert came["camera"]["size"] == came["colours"]["size"] == [10, 12]
    assert came["colours"]["counts"] == [1, 1], "three planes are one picture"
    assert came["chosen"]["named"] == ["a", "b", "c", "is a", "is b", "is c"]
    assert came["columns"]["named"] == ["age", "owner"]
    assert came["next"]["best"] == "d", "what comes behind the last word that is written"
    assert came["tagger"]["counts"] == [1, 4], "what is blank at the end is not shown"


def test_every_file_is_fetched_once(folder, tmp_path):
    """What the page's head asks for early is what the script then takes."""
    asked = []
    came = in_chromium(folder, SEEN, ["residual"], tmp_path, script="", asked=asked)
    assert not came["residual"]["error"]
    found = [path.removeprefix("/residual/") for path in asked if "/residual/" in path]
    assert sorted(found) == ["index.html", "model.js", "model.relaxed.wasm", "weights.bin"]


DRAWN = """
const made = await frame("/digits/index.html"), page = made.contentDocument;
const on = (id) => page.getElementById(id), pad = page.querySelector("canvas.pad");
await until(() => page.body.dataset.ready);
page.querySelector(".line button").click();   // clear
const box = pad.getBoundingClientRect();
const send = (what, x, y) => pad.dispatchEvent(new made.contentWindow.PointerEvent(what, {
  clientX: box.left + x * box.width, clientY: box.top + y * box.height, bubbles: true,
  pointerId: 1 }));
send("pointerdown", 0.5, 0.1);
for (let i = 0; i <= 20; i++) send("pointermove", 0.5, 0.1 + 0.04 * i);
send("pointerup", 0.5, 0.9);
await until(() => !on("facts").textContent.includes("Python"));
const before = page.querySelector(".label.best").textContent;
const score = () => Number(page.querySelectorAll(".number")[7].textContent.split(" ")[0]);
const first = score();
page.querySelectorAll(".classes button")[7].click();   // it is a seven, from now on
await until(() => /after (4\\d|[5-9]\\d) steps/.test(on("loss").textContent));
const link = new Promise((done) => {
  made.contentWindow.URL.createObjectURL = (blob) => { done(blob); return "blob:none"; };
});
on("download").click();
const state = new Uint8Array(await (await link).arrayBuffer());
return { before, first, after: page.querySelector(".label.best").textContent, last: score(),
  curve: on("curve").getAttribute("d"), error: on("error").textContent, state: Array.from(state) };
"""


def test_it_is_taught(folder, tmp_path):
    came = in_chromium(folder, DRAWN, None, tmp_path, script="")
    assert not came["error"]
    assert came["after"] == "7"
    assert came["last"] > max(90, came["first"])
    heights = [float(part.split(" ")[1]) for part in came["curve"].lstrip("M").split("L")]
    assert len(heights) >= 40
    assert heights[-1] > heights[0], "a loss that falls is lower on the page"
    (tmp_path / "taught.safetensors").write_bytes(bytes(came["state"]))
    model = zoo.digits()[:-1]
    model.load_state_dict(tn.load(tmp_path / "taught.safetensors"))


def pixels(path):
    """Return a PNG of eight-bit colours as an array."""
    data, at, raw = path.read_bytes(), 8, b""
    width, height, bits, kind = struct.unpack(">IIBB", data[16:26])
    assert bits == 8
    channels = {2: 3, 6: 4}[kind]
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            raw += data[at + 8 : at + 8 + length]
        at += 12 + length
    lines = np.frombuffer(zlib.decompress(raw), np.uint8).reshape(height, -1)
    made = np.zeros((height, width * channels), np.int64)
    for i, (how, *line) in enumerate(lines.tolist()):
        made[i] = _line(how, line, made[i - 1].tolist() if i else [0] * len(line), channels)
    return made.reshape(height, width, channels)[..., :3]


def _line(how, line, above, channels):
    made = []
    for i, byte in enumerate(line):
        left = made[i - channels] if i >= channels else 0
        corner = above[i - channels] if i >= channels else 0
        nearest = min((left, above[i], corner), key=lambda v: abs(left + above[i] - corner - v))
        made.append(byte + (0, left, above[i], (left + above[i]) // 2, nearest)[how] & 255)
    return made


def test_it_can_be_seen(folder, tmp_path):
    """The best answer's bar is blue and as long as the room there is."""
    screenshot(folder / "digits", tmp_path / "page.png", tmp_path, "760,560")
    seen = pixels(tmp_path / "page.png")
    blue = (seen == (0x1F, 0x5F, 0xBF)).all(-1)
    assert blue.sum(1).max() > 110
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 20
