// Runs a Tenor program on WebGPU. No dependency; see `src/tenor/ir/shader.py` for the format.

const CELLS = { f32: Float32Array, i32: Int32Array, u32: Uint32Array };
const HELD = { ...CELLS, f16: Float32Array, bf16: Float32Array,
  i64: Int32Array, b8: Uint8Array, u8: Uint8Array, i8: Int8Array,
  u16: Uint16Array, i16: Int16Array };
const GROUPS = { read: "read-only-storage", write: "storage" };

const count = (slot) => slot.shape.reduce((a, b) => a * b, 1);

/** Numbers as the device holds them: four bytes each. An int64 has to fit in 32 bits. */
function cells(slot, values) {
  const kind = CELLS[slot.cell];
  if (values instanceof kind) return values;
  const flat = ArrayBuffer.isView(values) ? values : Array.from([values].flat(Infinity));
  if (slot.dtype !== "i64") return kind.from(flat, Number);
  return kind.from(flat, (value) => {
    const number = Number(value);
    if (number !== (number | 0)) {
      throw new RangeError(`${slot.name}: ${value} does not fit in 32 bits`);
    }
    return number;
  });
}

/**
 * Prepare a program; null where this browser or machine has no adapter. Rejects where the device
 * refuses it.
 *
 * @param program  The JSON of `export.web.gpu`.
 * @param weights  The ArrayBuffer that goes with it.
 * @param adapter  A GPUAdapter; by default the browser's choice.
 * @returns {Promise<null | {inputs, outputs, run, destroy}>} `inputs` and `outputs` say names,
 *   dtypes and shapes. `run({name: numbers})` gives typed arrays by name: int64 as Int32Array,
 *   bool as Uint8Array.
 */
export async function createGPU(program, weights, adapter) {
  if (program.version !== 1) throw new Error(`program version 1 expected, not ${program.version}`);
  adapter ??= await globalThis.navigator?.gpu?.requestAdapter();
  if (!adapter) return null;
  const device = await adapter.requestDevice();
  const queue = device.queue;
  const STORAGE = 0x80, COPY_SRC = 4, COPY_DST = 8, MAP_READ = 1;
  // What a device refuses is said to those who ask for it, and by no exception.
  const SCOPES = ["validation", "out-of-memory", "internal"];
  for (const scope of SCOPES) device.pushErrorScope(scope);

  const buffers = {};
  for (const [name, size] of Object.entries(program.buffers)) {
    buffers[name] = device.createBuffer({ size, usage: STORAGE | COPY_SRC | COPY_DST });
  }
  for (const slot of program.weights) {
    const held = new HELD[slot.held](weights, slot.at, count(slot));
    if (held.length) queue.writeBuffer(buffers[slot.buffer], slot.offset, cells(slot, held));
  }

  const compiled = await Promise.all(program.shaders.map(async ({ text, access }) => {
    const entries = access.map((kind, binding) => (
      { binding, visibility: 4, buffer: { type: GROUPS[kind] } }));
    const layout = device.createBindGroupLayout({ entries });
    const pipeline = await device.createComputePipelineAsync({
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module: device.createShaderModule({ code: text }), entryPoint: "main" },
    });
    return { layout, pipeline };
  }));
  const step = ({ shader, ranges, groups }) => {
    const { layout, pipeline } = compiled[shader];
    const entries = ranges.map(({ buffer, offset, bytes }, binding) => (
      { binding, resource: { buffer: buffers[buffer], offset, size: bytes } }));
    return { pipeline, groups, bound: device.createBindGroup({ layout, entries }) };
  };
  const launch = (encoder, steps) => {
    const pass = encoder.beginComputePass();
    for (const { pipeline, bound, groups } of steps) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bound);
      pass.dispatchWorkgroups(...groups);
    }
    pass.end();
  };
  const first = device.createCommandEncoder();
  launch(first, program.prepared.map(step));
  queue.submit([first.finish()]);
  const steps = program.dispatches.map(step);
  const refused = (await Promise.all(SCOPES.map(() => device.popErrorScope()))).find(Boolean);
  if (refused) {
    device.destroy();
    throw new Error(`this device does not take the program: ${refused.message}`);
  }

  // What is read back after a run: the status, and every output.
  const checks = program.checks.length * 8;
  let room = checks;
  const reads = program.outputs.map((slot) => {
    const read = { slot, at: room, bytes: 4 * count(slot) };
    room += read.bytes;
    return read;
  });

  function begin(inputs) {
    for (const slot of program.inputs) {
      if (!(slot.name in inputs)) throw new TypeError(`no input ${slot.name}`);
      const values = cells(slot, inputs[slot.name]);
      if (values.length !== count(slot)) {
        throw new RangeError(`${slot.name} has ${slot.shape.join(" x ")} numbers,`
          + ` not ${values.length}`);
      }
      if (values.length) queue.writeBuffer(buffers[slot.buffer], slot.offset, values);
    }
    const back = device.createBuffer({ size: Math.max(room, 4), usage: MAP_READ | COPY_DST });
    const encoder = device.createCommandEncoder();
    if (checks) encoder.clearBuffer(buffers.status);
    launch(encoder, steps);
    if (checks) encoder.copyBufferToBuffer(buffers.status, 0, back, 0, checks);
    for (const { slot, at, bytes } of reads) {
      if (bytes) encoder.copyBufferToBuffer(buffers[slot.buffer], slot.offset, back, at, bytes);
    }
    queue.submit([encoder.finish()]);
    return back;
  }

  async function run(inputs) {
    const back = begin(inputs);
    await back.mapAsync(MAP_READ);
    const bytes = back.getMappedRange();
    const status = new Int32Array(bytes, 0, checks / 4);
    program.checks.forEach(({ what, size }, k) => {
      if (!status[2 * k]) return;
      const lowest = what === "index" ? -size : 0;
      throw new RangeError(`${what} ${status[2 * k + 1]} is not in [${lowest}, ${size})`);
    });
    const made = {};
    for (const { slot, at } of reads) {
      made[slot.name] = HELD[slot.dtype].from(new CELLS[slot.cell](bytes, at, count(slot)));
    }
    back.destroy();
    return made;
  }

  const described = (slots) => slots.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  return {
    inputs: described(program.inputs),
    outputs: described(program.outputs),
    run,
    destroy: () => device.destroy(),
  };
}
