// __TITLE__ on WebGPU. model.js loads this when it is asked for; webgpu.js runs program.json.
import { createGPU } from "./webgpu.js";

const later = (model) => ({
  ...model,
  run: async (inputs) => model.run(inputs),
  predict: async (...values) => model.predict(...values),
  destroy() {},
});

// The weights as the program counts them: those of weights.bin, and behind them its own.
function joined(program, file, decode) {
  const own = Uint8Array.from(atob(program.own), (c) => c.charCodeAt(0));
  const made = new ArrayBuffer(program.begins + own.length);
  decode(file, made, 0);
  new Uint8Array(made).set(own, program.begins);
  return made;
}

/** The model on WebGPU or, where there is no adapter, as `otherwise` loads it; it answers later. */
export async function onGPU(META, { TYPES, bytes, decode, given }, base, otherwise) {
  const adapter = await globalThis.navigator?.gpu?.requestAdapter();
  if (!adapter) return later(await otherwise());
  const [text, file] = await Promise.all([bytes("program.json", base), bytes("weights.bin", base)]);
  const program = JSON.parse(new TextDecoder().decode(text));
  let gpu;
  try {
    gpu = await createGPU(program, joined(program, file, decode), adapter);
  } catch (problem) {
    console.warn("WebGPU does not take this model; WebAssembly does.", problem);
    return later(await otherwise());
  }
  const spec = ({ name, dtype, shape }) => ({ name, dtype, shape });
  const inputs = META.inputs.map(spec), outputs = META.outputs.map(spec);
  const count = (shape) => shape.reduce((a, b) => a * b, 1);
  const views = inputs.map((s) => new TYPES[s.dtype](count(s.shape)));
  async function run(values) {
    given(views, inputs, values);
    // What the device is given is copied before this waits: the next call may fill the arrays.
    const made = await gpu.run(Object.fromEntries(inputs.map((s, i) => [s.name, views[i]])));
    for (const { name, dtype } of outputs) {
      if (dtype === "int64") made[name] = BigInt64Array.from(made[name], BigInt);
    }
    return made;
  }
  async function predict(...values) {
    if (values.length !== inputs.length) {
      throw new TypeError(`predict takes ${inputs.map((s) => s.name).join(", ")}`);
    }
    const made = await run(Object.fromEntries(inputs.map((s, i) => [s.name, values[i]])));
    return outputs.length === 1 ? made[outputs[0].name] : made;
  }
  return { name: META.name, kind: "webgpu", inputs, outputs, run, predict, destroy: gpu.destroy };
}
