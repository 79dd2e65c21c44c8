// __TITLE__, made by Tenor. No dependency: browsers, workers, Node, Deno, Bun.
__IMPORT__const META = __META__;
const FILES = {
  "model.relaxed.wasm": new URL("./model.relaxed.wasm", import.meta.url),
  "model.simd.wasm": new URL("./model.simd.wasm", import.meta.url),
  "weights.bin": new URL("./weights.bin", import.meta.url),__FILES__
};
// A function of one relaxed_madd: an engine that takes it runs the faster module.
const PROBE = Uint8Array.from(atob("__PROBE__"), (c) => c.charCodeAt(0));
const TYPES = {
  float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array,
  int16: Int16Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array,
};

async function opened(name, base) {
  const url = base === undefined ? FILES[name] : new URL(name, new URL(base, import.meta.url));
  if (url.protocol === "file:" && globalThis.process?.versions?.node) {
    const where = "node:fs/promises"; // a name that bundlers for browsers do not look for
    const { readFile } = await import(/* @vite-ignore */ /* webpackIgnore: true */ where);
    return new Response(await readFile(url));
  }
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  return answer;
}
const bytes = async (...file) => new Uint8Array(await (await opened(...file)).arrayBuffer());

// Where the server says what it is, a module is compiled while it comes.
async function instance(...file) {
  const answer = await opened(...file);
  const known = /^application\/wasm\b/i.test(answer.headers.get("content-type"));
  return (await (known ? WebAssembly.instantiateStreaming(answer)
    : WebAssembly.instantiate(await answer.arrayBuffer()))).instance;
}

// weights.bin: uint32 length, JSON rows, then the bytes they speak of.
function decode(file, memory, base) {
  const length = new DataView(file.buffer, file.byteOffset).getUint32(0, true);
  const rows = JSON.parse(new TextDecoder().decode(file.subarray(4, 4 + length)));
  const body = file.slice(4 + length).buffer;
  for (const [kind, from, to, count, channels, inner, scales] of rows) {
    if (kind === "raw") {
      new Uint8Array(memory, base + to, count).set(new Uint8Array(body, from, count));
    } else if (kind === "f16") {
      const half = new Uint16Array(body, from, count);
      const real = new Float32Array(memory, base + to, count);
      const bits = new Uint32Array(memory, base + to, count);
      for (let i = 0; i < count; i++) {
        const h = half[i], e = (h >> 10) & 31, f = h & 1023;
        if (e) bits[i] = ((h & 0x8000) << 16) | ((e + 112) << 23) | (f << 13);
        else real[i] = (h & 0x8000 ? -f : f) * 2 ** -24;
      }
    } else {
      const held = new Int8Array(body, from, count);
      const real = new Float32Array(memory, base + to, count);
      const scale = new Float32Array(body, scales, channels);
      for (let i = 0, c = 0; i < count; c = (c + 1) % channels) {
        for (const end = i + inner, s = scale[c]; i < end; i++) real[i] = held[i] * s;
      }
    }
  }
}

// Nested arrays as one, each level as long as the shape says.
function flat(value, shape, want, depth = 0) {
  if (!Array.isArray(value)) return value;
  if (value.length !== shape[depth]) {
    throw new RangeError(`${want}: ${value.length} entries at depth ${depth}`);
  }
  return value.flatMap((v) => flat(v, shape, want, depth + 1));
}

function fill(view, value, { name, dtype, shape }) {
  const want = `input "${name}" is ${dtype}[${shape}]`;
  if (typeof value === "number" || typeof value === "bigint") value = [value];
  else if (Array.isArray(value) && Array.isArray(value[0])) value = flat(value, shape, want);
  if (!Array.isArray(value) && (!ArrayBuffer.isView(value) || value.length === undefined)) {
    throw new TypeError(`${want}: give a typed array or an array of numbers`);
  }
  if (value.length !== view.length) {
    throw new RangeError(`${want}, ${view.length} values: ${value.length} came`);
  }
  if (value.constructor === view.constructor && dtype !== "bool") return view.set(value);
  const real = dtype.startsWith("float");
  if (ArrayBuffer.isView(value) && real !== /^Float/.test(value.constructor.name)) {
    throw new TypeError(`${want}: ${value.constructor.name} came`);
  }
  for (let i = 0; i < view.length; i++) {
    const v = value[i];
    if (real ? typeof v !== "number" : !(typeof v === "bigint" || Number.isInteger(Number(v)))) {
      throw new TypeError(`${want}: value ${i} is ${v}`);
    }
    view[i] = dtype === "int64" ? BigInt(v) : Number(v);
    if (!real && Number(view[i]) !== Number(v) || (dtype === "bool" && view[i] > 1)) {
      throw new RangeError(`${want}: value ${i} is ${v}`);
    }
  }
}

function given(views, specs, values) {
  const names = specs.map((s) => s.name);
  const extra = Object.keys(values).filter((n) => !names.includes(n));
  if (extra.length) throw new TypeError(`no input "${extra}"; there is ${names.join(", ")}`);
  specs.forEach((spec, i) => {
    if (values[spec.name] === undefined) throw new TypeError(`input "${spec.name}" is missing`);
    fill(views[i], values[spec.name], spec);
  });
}

/** Load the model; `base` is the address of the folder where its files lie, if not beside this. */
export async function load(base) {__GPU__
  const kind = WebAssembly.validate(PROBE) ? "relaxed" : "simd";
  const [{ exports }, file] = await Promise.all([
    instance(`model.${kind}.wasm`, base), bytes("weights.bin", base),
  ]);
  const memory = exports.memory.buffer, heap = exports.__heap_base.value;
  decode(file, memory, heap);
  if (exports.prepare) exports.prepare(heap, heap + META.prepare);
  const count = (shape) => shape.reduce((a, b) => a * b, 1);
  const view = (s) => new TYPES[s.dtype](memory, heap + s.at, count(s.shape));
  const spec = ({ name, dtype, shape }) => ({ name, dtype, shape });
  const table = (places, at) =>
    new Uint32Array(memory, heap + at, places.length).set(places.map((p) => heap + p.at));
  const bind = (io) => {
    table(io.inputs, io.tables[0]), table(io.outputs, io.tables[1]);
    return [io.inputs.map(view), io.outputs.map(view), io.tables.map((at) => heap + at)];
  };
  const [ins, outs, tables] = bind(META);
  const inputs = META.inputs.map(spec), outputs = META.outputs.map(spec);
  function run(values) {
    given(ins, inputs, values);
    const status = exports.run(heap, ...tables, heap + META.work);
    if (status) throw new RangeError("an input holds an index out of range");
    return Object.fromEntries(outputs.map((s, i) => [s.name, outs[i].slice()]));
  }
  function predict(...values) {
    if (values.length !== inputs.length) {
      throw new TypeError(`predict takes ${inputs.map((s) => s.name).join(", ")}`);
    }
    const made = run(Object.fromEntries(inputs.map((s, i) => [s.name, values[i]])));
    return outputs.length === 1 ? made[outputs[0].name] : made;
  }
  const model = { name: META.name, kind, inputs, outputs, run, predict };
  return __MODEL__;
}
