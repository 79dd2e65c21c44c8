import { load } from "./model.js";

const PAGE = JSON.parse(document.getElementById("page").textContent);
const find = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...inside) => {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...inside);
  return made;
};
const count = (shape) => shape.reduce((a, b) => a * b, 1);
const short = (v) => (Number.isInteger(v) ? String(v) : Math.abs(v) >= 1e4 || (v && Math.abs(v) < 1e-3) ? v.toExponential(2) : v.toFixed(4));
const percent = (v) => `${(100 * v).toFixed(1)} %`;
const most = (values, least) => values.reduce((a, b) => Math.max(a, b), least);
const label = (i) => PAGE.labels[i] ?? String(i);

// -- what goes in: each widget reads its input and shows an example --------------------------------
// An image is [channels, height, width, last]; `last`: a pixel's channels lie beside each other.
const place = ([channels, height, width, last], c, i) => (last ? i * channels + c : c * height * width + i);

function paint(canvas, values, image, low, high) {
  const [channels, height, width] = image, plane = height * width;
  canvas.width = width;
  canvas.height = height;
  const shown = new ImageData(width, height);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) {
      shown.data[4 * i + c] = (255 * (Number(values[place(image, channels === 1 ? 0 : c, i)]) - low)) / (high - low || 1);
    }
    shown.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(shown, 0, 0);
}

function pixels(context, { image, low, high, dark, dtype }) {
  const [channels, height, width] = image, plane = width * height;
  const rgba = context.getImageData(0, 0, width, height).data, whole = !dtype.startsWith("float");
  const made = Array(channels * plane);
  for (let i = 0; i < plane; i++) {
    const [r, g, b] = rgba.subarray(4 * i, 4 * i + 3);
    const parts = channels === 3 ? [r, g, b] : [0.299 * r + 0.587 * g + 0.114 * b];
    parts.forEach((v, c) => {
      const value = low + ((dark ? 255 - v : v) / 255) * (high - low);
      made[place(image, c, i)] = whole ? Math.round(value) : value;
    });
  }
  return made;
}

function cut(source, from, width, height, smooth = true) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.imageSmoothingEnabled = smooth;
  context.fillRect(0, 0, width, height);
  context.drawImage(source, ...from, ...(from.to ?? [0, 0, width, height]));
  return context;
}

// Halve until one step is left, so that every pixel of a drawing counts.
function shrunk(source, from, width, height) {
  let [x, y, w, h] = from, now = source;
  while (w > 2 * width && h > 2 * height) {
    now = cut(now, [x, y, w, h], w >> 1, h >> 1).canvas;
    [x, y, w, h] = [0, 0, w >> 1, h >> 1];
  }
  return cut(now, [x, y, w, h], width, height);
}

function drawing(spec, changed) {
  const [, height, width] = spec.image, { low, high, fit, dark } = spec;
  const side = 320, pad = make("canvas", { className: "pad", width: side, height: side });
  pad.setAttribute("aria-label", "Draw here");
  const pen = pad.getContext("2d", { willReadFrequently: true });
  let given = null, last = null;
  const clear = () => { pen.fillStyle = "#000"; pen.fillRect(0, 0, side, side); given = null; };
  const at = (e) => { const box = pad.getBoundingClientRect(); return [((e.clientX - box.left) * side) / box.width, ((e.clientY - box.top) * side) / box.height]; };
  const stroke = (e) => {
    const to = at(e);
    Object.assign(pen, { strokeStyle: "#fff", lineWidth: side / 10, lineCap: "round", lineJoin: "round" });
    pen.beginPath(), pen.moveTo(...(last ?? to)), pen.lineTo(to[0] + 0.01, to[1]), pen.stroke();
    last = to;
    changed();
  };
  pad.onpointerdown = (e) => { if (given) clear(); stroke(e); };
  addEventListener("pointermove", (e) => { if (last) stroke(e); });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (last = null));
  clear();
  // The drawing's own box, as examples fill theirs.
  function box() {
    if (!fit) return [0, 0, side, side];
    const ink = pen.getImageData(0, 0, side, side).data;
    let [x0, y0, x1, y1] = [side, side, -1, -1];
    for (let i = 0; i < side * side; i++) {
      if (ink[4 * i] < 40) continue;
      const x = i % side, y = (i / side) | 0;
      [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x), Math.max(y1, y)];
    }
    if (x1 < 0) return [0, 0, side, side];
    const size = Math.max(x1 - x0, y1 - y0) + 1;
    return [(x0 + x1 + 1 - size) / 2, (y0 + y1 + 1 - size) / 2, size, size];
  }
  function read() {
    if (given) return given;
    const [x, y, size] = box(), room = make("canvas", { width: side, height: side }), c = room.getContext("2d");
    c.fillRect(0, 0, side, side);
    c.drawImage(pad, x, y, size, size, 0, 0, side, side);
    return pixels(shrunk(room, [0, 0, side, side], width, height), spec);
  }
  function show(values) {
    const small = make("canvas");
    paint(small, dark ? Array.from(values, (v) => low + high - Number(v)) : values, spec.image, low, high);
    clear();
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, side, side);
    given = values.slice();
  }
  const button = make("button", { type: "button", textContent: "Clear", onclick: () => { clear(); changed(); } });
  return { parts: [pad, make("div", { className: "line" }, button)], read, show, empty: () => clear() };
}

function picture(spec, changed) {
  const [, height, width] = spec.image, { low, high } = spec;
  const seen = make("canvas", { className: "pixels", width, height });
  let given = Array(count(spec.shape)).fill(low);
  const drop = make("div", { className: "drop" }, make("span", { textContent: "Drop an image here" }));
  function show(values) { given = values.slice(); paint(seen, given, spec.image, low, high); drop.replaceChildren(seen); }
  async function take(file) {
    try {
      const image = await createImageBitmap(file), ratio = width / height;
      const w = Math.min(image.width, image.height * ratio), h = w / ratio;
      const from = [(image.width - w) / 2, (image.height - h) / 2, w, h];
      const whole = cut(image, from, Math.max(width, Math.round(w)), Math.max(height, Math.round(h))).canvas;
      show(pixels(shrunk(whole, [0, 0, whole.width, whole.height], width, height), spec));
      changed();
    } catch (problem) { failed(`this is no image that the browser can read: ${problem.message}`); }
  }
  drop.ondragover = (e) => { e.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (e) => { e.preventDefault(); drop.classList.remove("over"); if (e.dataTransfer.files[0]) take(e.dataTransfer.files[0]); };
  const file = make("input", { type: "file", accept: "image/*", onchange: () => file.files[0] && take(file.files[0]) });
  const button = make("label", { className: "pick", textContent: "Choose an image" }, file);
  return { parts: [drop, make("div", { className: "line" }, button)], read: () => given, show };
}

function row(spec, changed) {
  const whole = !spec.dtype.startsWith("float"), ticked = spec.dtype === "bool", length = count(spec.shape);
  const fields = Array.from({ length }, () => ticked ? make("input", { type: "checkbox", oninput: changed })
    : make("input", { type: "number", step: whole ? "1" : "any", value: "0", oninput: changed }));
  const parts = fields.map((f, i) => make("label", {}, spec.columns?.[i] ?? (length > 1 ? `${spec.name} ${i}` : spec.name), f));
  const number = (f) => { if (f.value === "" || Number.isNaN(+f.value)) throw new TypeError("every field is a number"); return +f.value; };
  const read = () => fields.map((f) => (ticked ? Number(f.checked) : number(f)));
  const show = (values) => fields.forEach((f, i) => ticked ? (f.checked = Boolean(values[i]))
    : (f.value = String(whole ? values[i] : +Number(values[i]).toPrecision(6))));
  return { parts: [make("div", { className: "fields" }, ...parts)], read, show };
}

function text(spec, changed) {
  const box = make("textarea", { oninput: changed, spellcheck: false });
  const words = PAGE.vocabulary, known = new Map(words.map((w, i) => [w, i]));
  const letters = words.every((w) => [...w].length === 1 || /^<.*>$/.test(w)), length = count(spec.shape);
  const other = known.get("<unk>") ?? known.get("[UNK]") ?? 0, blank = known.get("<pad>") ?? known.get("[PAD]") ?? 0;
  const written = () => (letters ? [...box.value] : box.value.trim().split(/\s+/).filter(Boolean)).slice(0, length);
  const read = () => {
    const tokens = written().map((w) => known.get(w) ?? known.get(w.toLowerCase()) ?? other);
    return [...tokens, ...Array(length - tokens.length).fill(blank)];
  };
  const show = (values) => {
    const filled = values.findLastIndex((v) => Number(v) !== blank) + 1;
    box.value = Array.from(values.subarray(0, filled), (v) => words[Number(v)] ?? "").join(letters ? "" : " ");
  };
  return { parts: [box, make("p", { className: "note", textContent: `the first ${length} ${letters ? "letters" : "words"} count` })], read, show, written };
}

// Numbers as a line.
function line(list) {
  const [low, high] = [list.reduce((a, b) => Math.min(a, b), 0), most(list, 1e-9)], n = Math.max(1, list.length - 1);
  return list.map((v, i) => `${i ? "L" : "M"}${(100 * i) / n} ${98 - (96 * (v - low)) / (high - low)}`).join("");
}

function values(spec, changed) {
  const series = spec.shape.at(-1) === count(spec.shape) && count(spec.shape) >= 32;
  const box = make("textarea", { oninput: () => { draw(); changed(); }, spellcheck: false });
  const plot = find("plot").content.firstElementChild.cloneNode(true);
  const draw = () => series && plot.firstElementChild.setAttribute("d", line(read().map((v) => (Number.isFinite(v) ? v : 0))));
  const read = () => box.value.split(/[\s,;[\]]+/).filter(Boolean).map(Number);
  const show = (given) => (box.value = Array.from(given, (v) => String(Number.isInteger(Number(v)) ? v : +v.toPrecision(6))).join(" "), draw());
  show(Array(count(spec.shape)).fill(0));
  return { parts: [...(series ? [plot] : []), box, make("p", { className: "note", textContent: `${count(spec.shape)} numbers, ${spec.dtype} [${spec.shape}]` })], read, show };
}
const WIDGETS = { drawing, picture, row, text, values };

// -- what comes out ---------------------------------------------------------------------------------
function shares(scores) {
  const list = Array.from(scores, Number), sum = list.reduce((a, b) => a + b, 0);
  if (list.every((v) => v >= 0) && Math.abs(sum - 1) < 1e-3) return [list, list.map(percent)];
  const most = Math.max(...list), up = list.map((v) => Math.exp(v - most)), all = up.reduce((a, b) => a + b, 0);
  const logs = list.every((v) => v <= 0) && Math.abs(Math.log(all) + most) < 1e-3;
  return [up.map((v) => v / all), logs || PAGE.classes ? up.map((v) => percent(v / all)) : list.map(short)];
}

function bars(scores, name = label) {
  const [parts, numbers] = shares(scores), order = parts.map((_, i) => i);
  const first = order.reduce((a, b) => (parts[b] > parts[a] ? b : a), 0);
  const shown = order.length > 12 ? order.sort((a, b) => parts[b] - parts[a]).slice(0, 10) : order;
  return make("div", { className: "bars" }, ...shown.flatMap((i) => {
    const best = i === first ? " best" : "", fill = make("i");
    fill.style.width = percent(parts[i]).replace(" ", "");
    return [make("span", { className: `label${best}`, textContent: name(i) }), make("span", { className: `bar${best}` }, fill),
      make("span", { className: `number${best}`, textContent: numbers[i] })];
  }));
}

// The planes of an image, each in grey; three of them together are colours.
function maps(given, image) {
  const [channels, height, width] = image, shades = [given.reduce((a, b) => Math.min(a, b), 0), most(given, 1)];
  const planes = channels === 3 ? [given] : Array.from({ length: channels }, (_, c) =>
    Array.from({ length: height * width }, (_, i) => given[place(image, c, i)]));
  return make("div", { className: "maps" }, ...planes.map((values) => {
    const canvas = make("canvas", { className: "pixels" });
    paint(canvas, values, channels === 3 ? image : [1, height, width], ...shades);
    return canvas;
  }));
}

// A class for every pixel, each in a colour.
function kinds(given, height, width) {
  const seen = [...new Set(Array.from(given, Number))].sort((a, b) => a - b);
  const hue = (k) => `hsl(${(k * 137.5) % 360} 62% 52%)`, canvas = make("canvas", { className: "pixels", width, height });
  const pen = canvas.getContext("2d");
  given.forEach((k, i) => { pen.fillStyle = hue(Number(k)); pen.fillRect(i % width, (i / width) | 0, 1, 1); });
  const key = seen.slice(0, 20).map((k) => { const mark = make("i"); mark.style.background = hue(k); return make("span", {}, mark, label(k)); });
  return make("div", { className: "maps" }, canvas, make("div", { className: "key" }, ...key));
}

// A label for each word.
function tags(scores, last) {
  const words = widgets.find((w) => w.written)?.written() ?? [];
  return make("p", { className: "tags" }, ...Array.from({ length: scores.length / last }, (_, i) => {
    const part = Array.from(scores.subarray(i * last, (i + 1) * last));
    return make("span", {}, words[i] ?? String(i), make("small", { textContent: label(part.indexOf(Math.max(...part))) }));
  }).slice(0, words.length || undefined));
}

// An image's sizes among those of an output, if it is one.
function picturelike([rows, a, b, c]) {
  if (rows !== 1) return null;
  if (c === undefined) return PAGE.inputs.some((s) => s.image?.[1] === a && s.image[2] === b) ? [1, a, b] : null;
  return a <= 4 && b > 3 ? [a, b, c] : c <= 4 && a > 3 && b > 3 ? [c, a, b, true] : null;
}

function answer(spec, given) {
  const shape = spec.shape, last = shape.at(-1), real = spec.dtype.startsWith("float");
  const image = shape.length === 3 || shape.length === 4 ? picturelike(shape) : null;
  const named = PAGE.labels.length === last ? label : (i) => PAGE.vocabulary[i] ?? label(i);
  if (image) return real ? maps(given, image) : image[0] === 1 ? kinds(given, image[1], image[2]) : maps(Array.from(given, Number), image);
  if (real && shape.length === 2 && shape[0] === 1 && last > 1) return bars(given);
  if (real && shape.length === 3 && shape[0] === 1 && last > 1) {
    if (shape[1] > 1 && PAGE.labels.length === last) return tags(given, last);
    const words = PAGE.vocabulary.length === last && widgets.find((w) => w.written)?.written().length;
    const at = Math.min(words || shape[1], shape[1]) - 1; // what comes behind the last word
    return bars(given.subarray(at * last, (at + 1) * last), named);
  }
  const list = Array.from(given.subarray(0, 256), (v) => short(Number(v))).join("  ");
  const text = !real && given.length === 1 && PAGE.labels.length ? `${label(Number(given[0]))} (${given[0]})` : list;
  return make("p", { className: "numbers", textContent: text + (given.length > 256 ? " …" : "") });
}

// -- the page ---------------------------------------------------------------------------------------
let model, used, pending = false, again = false, expected = null, asked = 0, shown = 0;
const failed = (message) => (find("error").textContent = message);
// An example is given as it is, not as its widget shows it, until something is changed.
const widgets = PAGE.inputs.map((spec) => {
  let given = null;
  const widget = WIDGETS[spec.widget](spec, () => { given = expected = null; soon(); });
  const show = (values) => { widget.show(values); given = values; };
  return { ...widget, spec, show, read: () => given ?? widget.read() };
});
widgets.forEach(({ spec, parts }) => {
  const one = spec.widget === "row" && count(spec.shape) === 1; // such fields stand side by side
  const title = `${spec.name}: ${spec.dtype} [${spec.shape.join(", ")}]`;
  find("inputs").append(make("fieldset", { className: one ? "one" : "", title }, ...(one ? [] : [make("legend", { textContent: title })]), ...parts));
});
function soon() {
  again = true;
  if (pending) return;
  pending = true;
  requestAnimationFrame(async () => { again = false; await ask(); pending = false; if (again) soon(); });
}
const read = () => Object.fromEntries(widgets.map((w) => [w.spec.name, w.read()]));

// A clock may tick in tenths of a millisecond: a stretch of calls is measured, the best of several.
function timed(inputs) {
  let calls = 1, best = Infinity;
  const end = performance.now() + 40;
  for (let round = 0; round < 40 && performance.now() < end; round++) {
    const start = performance.now();
    for (let i = 0; i < calls; i++) model.run(inputs);
    const took = performance.now() - start;
    if (took < 2) {
      if ((calls *= 2) > 4096) break; // a clock that stands still
    } else best = Math.min(best, took / calls);
  }
  return best;
}

// On WebGPU a call is over when its answer is back.
async function timedLater(engine, inputs) {
  let best = Infinity;
  const end = performance.now() + 200;
  for (let round = 0; round < 40 && performance.now() < end; round++) {
    const start = performance.now();
    await engine.run(inputs);
    best = Math.min(best, performance.now() - start);
  }
  return best;
}
const duration = (ms) => (ms < 1 ? `${(1000 * ms).toFixed(0)} µs` : `${ms.toFixed(2)} ms`);

function fact(name, value) { return make("span", {}, `${name} `, make("b", { textContent: value })); }

const BUILDS = { relaxed: "relaxed SIMD", simd: "SIMD", webgpu: "WebGPU" };
const called = {}; // how long a call takes, by build
async function ask(measure = false) {
  if (!model) return;
  const mine = ++asked, engine = used, wanted = expected;
  try {
    const inputs = read(), made = await engine.run(inputs);
    if (mine < shown) return; // a later one was answered before
    shown = mine;
    failed("");
    find("outputs").replaceChildren(...model.outputs.flatMap((spec) => [
      ...(model.outputs.length > 1 ? [make("p", { className: "name", textContent: spec.name })] : []), answer(spec, made[spec.name])]));
    if (measure || !(engine.kind in called)) called[engine.kind] = engine === model ? timed(inputs) : await timedLater(engine, inputs);
    if (mine < shown) return;
    const took = called[engine.kind];
    const facts = [...(took < Infinity ? [fact("a call", duration(took))] : []), fact("loaded in", `${PAGE.loaded.toFixed(0)} ms`),
      fact("build", BUILDS[engine.kind])];
    for (const kind of Object.keys(called)) find(kind)?.replaceChildren(called[kind] < Infinity ? ` ${duration(called[kind])}` : "");
    if (wanted) {
      const gaps = model.outputs.flatMap((s) => Array.from(wanted[s.name] ?? [], (v, i) => Math.abs(Number(v) - Number(made[s.name][i]))));
      facts.push(fact("off Python's answer by", short(most(gaps, 0))));
    }
    find("facts").replaceChildren(...facts);
    document.body.dataset.ready = "yes";
  } catch (problem) { failed(problem.message); }
}

// -- examples that came with the model ----------------------------------------------------------------
const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array, int16: Int16Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array };
const unpack = ([dtype, text]) => new ARRAYS[dtype](Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const examples = PAGE.examples.map(({ given, made }) => [given, made].map((part) => Object.fromEntries(Object.entries(part).map(([k, v]) => [k, unpack(v)]))));
function choose(i) {
  widgets.forEach((w) => w.show(examples[i][0][w.spec.name]));
  expected = PAGE.taught ? null : examples[i][1];
  return ask(true);
}
if (examples.length) {
  const pictured = widgets.find((w) => ["drawing", "picture"].includes(w.spec.widget));
  find("examples").append(make("p", { className: "name", textContent: "Examples" }), make("div", { className: "thumbs" }, ...examples.map(([given], i) => {
    const button = make("button", { type: "button", title: `Example ${i + 1}`, onclick: () => choose(i) });
    if (pictured) { const small = make("canvas", { className: "pixels" }), s = pictured.spec; paint(small, given[s.name], s.image, s.low, s.high); button.append(small); }
    else { button.className = "text"; button.textContent = String(i + 1); }
    return button;
  })));
}

// -- where it runs --------------------------------------------------------------------------------------
async function switched() {
  const other = await load({ gpu: true });
  if (other.kind !== "webgpu") {
    find("facts").before(make("p", { id: "nogpu", className: "note", textContent: "No WebGPU here: it runs on WebAssembly." }));
    return;
  }
  const choice = (name, engine) => {
    const button = make("input", { type: "radio", name: "engine", checked: engine === used, onchange: () => { used = engine; ask(true); } });
    return make("label", {}, button, ` ${name}`, make("b", { id: engine.kind }));
  };
  const both = make("div", { className: "switch", id: "switch" }, choice("WebAssembly", model), choice("WebGPU", other));
  both.setAttribute("role", "radiogroup");
  both.setAttribute("aria-label", "Where it runs");
  find("facts").before(both);
  // Both are timed on what is given now; the first call after loading is none to go by.
  used = other;
  await ask(true);
  used = model;
  await ask(true);
}

// -- teaching -------------------------------------------------------------------------------------------
function teaching() {
  const target = model.targets[0], pool = [], losses = [], classes = model.outputs[0].shape[1];
  const byClass = model.targets.length === 1 && target.dtype === "int64" && target.shape.length === 1 && classes > 1 && classes <= 40;
  const taught = Array(byClass ? classes : 0).fill(0);
  let left = 0, going = false;
  find("rate").value = model.lr;
  find("how").textContent = byClass ? "Give an input, then press what it is. Every press adds an example and trains on those you gave." : "Give an input and the values it should give, then press Teach.";
  function plot() {
    find("curve").setAttribute("d", line(losses.slice(-400)));
    find("loss").textContent = `${short(losses.at(-1))} after ${losses.length} steps`;
    find("taught").textContent = `${pool.length} example${pool.length === 1 ? "" : "s"}`;
  }
  function step() {
    const rows = Array.from({ length: model.batch }, () => pool[Math.floor(Math.random() * pool.length)]);
    const joined = (key, spec) => { const made = new ARRAYS[spec.dtype](count(spec.shape)), n = made.length / model.batch; rows.forEach((r, i) => made.set(r[key][spec.name], i * n)); return made; };
    const all = (key, specs) => Object.fromEntries(specs.map((s) => [s.name, joined(key, s)]));
    losses.push(model.trainStep(all("inputs", model.trainInputs), all("targets", model.targets), { lr: +find("rate").value }));
    PAGE.taught = true;
  }
  function loop() {
    if (!pool.length || (!left && !find("keep").checked)) { going = false; return; }
    try {
      for (let end = performance.now() + 6, i = 0; i < 4 && performance.now() < end; i++) { step(); left = Math.max(0, left - 1); }
      plot(), (expected = null), ask();
      requestAnimationFrame(loop);
    } catch (problem) { going = false; failed(problem.message); }
  }
  const start = (steps) => { left += steps; if (!going) { going = true; loop(); } };
  const typed = (spec, list) => ARRAYS[spec.dtype].from(Array.from(list), spec.dtype === "int64" ? BigInt : Number);
  function teach(wanted) {
    try {
      const given = read();
      const inputs = Object.fromEntries(model.trainInputs.map((s, i) => [s.name, typed(s, given[model.inputs[i].name])]));
      pool.push({ inputs, targets: Object.fromEntries(model.targets.map((s, i) => [s.name, typed(s, wanted[i])])) });
      start(40);
    } catch (problem) { failed(problem.message); }
  }
  if (byClass) {
    find("target").append(make("div", { className: "classes" }, ...taught.map((_, i) => {
      const seen = make("small", { textContent: "0" });
      return make("button", { type: "button", onclick: () => { taught[i] += 1; seen.textContent = taught[i]; teach([[i]]); } }, label(i), seen);
    })));
  } else {
    const fields = model.targets.map((s) => {
      const one = { ...s, shape: [1, count(s.shape) / model.batch] };
      return (one.shape[1] > 64 ? values : row)(one, () => {});
    });
    find("target").append(...fields.flatMap((f) => f.parts), make("div", { className: "line" }, make("button", { type: "button", className: "main", textContent: "Teach", onclick: () => teach(fields.map((f) => f.read())) })));
  }
  find("keep").onchange = () => start(0);
  find("download").onclick = () => {
    const link = make("a", { href: URL.createObjectURL(new Blob([model.state()])), download: `${model.name}.safetensors` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
}

const began = performance.now();
try {
  model = used = await load();
  PAGE.loaded = performance.now() - began;
  if (find("teach")) teaching();
  await (examples.length ? choose(0) : ask(true));
  if (PAGE.gpu) await switched();
} catch (problem) {
  find("wait")?.remove();
  failed(problem instanceof WebAssembly.CompileError ? "This browser has no WebAssembly SIMD: one of 2023 or later is needed." : problem.message);
}
