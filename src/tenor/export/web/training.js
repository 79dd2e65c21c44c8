// __TITLE__: how it is trained. model.js loads this.
const STEP = __STEP__;
// The numbers that change from step to step, eight bytes each: `t` counts from 1.
const NUMBERS = (lr, t) => __NUMBERS__;

/** What a model gets by its training step: `given` puts values into the arrays of `bind`. */
export function training({ exports, memory, heap, bind, spec, given }) {
  const io = STEP, [ins, [loss], tables] = bind(io), specs = io.inputs.map(spec);
  const split = specs.length - io.targets;
  const wanted = [specs.slice(0, split), specs.slice(split)];
  const numbers = new DataView(memory, heap + io.numbers, 8 * Math.max(1, io.slots));
  let t = 0;
  new Uint32Array(memory, tables[0], ins.length + 1)[ins.length] = heap + io.numbers;
  function trainStep(inputs, targets, { lr = io.lr } = {}) {
    const named = (v, part) =>
      ArrayBuffer.isView(v) || Array.isArray(v) ? { [part[0].name]: v } : v;
    if (wanted[1].length && targets === undefined) throw new TypeError("trainStep takes targets");
    given(ins.slice(0, split), wanted[0], named(inputs, wanted[0]));
    given(ins.slice(split), wanted[1], named(targets ?? {}, wanted[1]));
    if (!Number.isFinite(lr)) throw new RangeError(`lr is ${lr}`);
    NUMBERS(lr, t + 1).forEach((v, i) =>
      typeof v === "bigint" ? numbers.setBigInt64(8 * i, v, true)
        : numbers.setFloat64(8 * i, v, true));
    if (exports.train(heap, ...tables, heap + io.work)) {
      throw new RangeError("an input or target holds an index out of range; no step is undone");
    }
    t += 1;
    return loss[0];
  }
  // The weights as a .safetensors file: tenor.load reads it, and load_state_dict takes that.
  function state() {
    let at = 0;
    const rows = {};
    for (const [name, dtype, shape, , nbytes] of io.state) {
      rows[name] = { dtype, shape, data_offsets: [at, (at += nbytes)] };
    }
    let head = JSON.stringify(rows);
    let raw = new TextEncoder().encode(head);
    raw = new TextEncoder().encode(head + " ".repeat((8 - (raw.length % 8)) % 8));
    const file = new Uint8Array(8 + raw.length + at);
    new DataView(file.buffer).setBigUint64(0, BigInt(raw.length), true);
    file.set(raw, 8);
    at = 8 + raw.length;
    for (const [, , , from, nbytes] of io.state) {
      file.set(new Uint8Array(memory, heap + from, nbytes), at);
      at += nbytes;
    }
    return file.buffer;
  }
  return {
    trainStep, state, batch: io.batch, lr: io.lr, trainInputs: wanted[0], targets: wanted[1],
  };
}
