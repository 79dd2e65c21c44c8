// Each peer: make(name, spec) loads a model and gives a function that answers one row.
export const PEERS = {
  async ours(name) {
    const { load } = await import(`/${name}.ours/model.js`);
    const model = await load();
    return (x) => model.predict(x);
  },
  async ort(name, spec) {
    const ort = await import("/npm/onnxruntime-web/dist/ort.wasm.min.mjs");
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = "/npm/onnxruntime-web/dist/";
    const session = await ort.InferenceSession.create(`/${name}.onnx`, { executionProviders: ["wasm"] });
    const dims = [1, ...spec.shape], [input] = session.inputNames, [output] = session.outputNames;
    return async (x) => (await session.run({ [input]: new ort.Tensor("float32", x, dims) }))[output].data;
  },
  async tfjs(name, spec) {
    const { tf, wasm } = await import("/tfjs.js");
    wasm.setWasmPaths("/npm/@tensorflow/tfjs-backend-wasm/dist/");
    wasm.setThreadsCount(1);
    await tf.setBackend("wasm");
    await tf.ready();
    const [rows, bin] = await Promise.all([
      fetch(`/${name}.layers.json`).then((r) => r.json()), fetch(`/${name}.layers.bin`).then((r) => r.arrayBuffer())]);
    const shape = spec.shape.length === 3 ? [spec.shape[1], spec.shape[2], spec.shape[0]] : spec.shape;
    const model = tf.sequential({ layers: [tf.layers.inputLayer({ inputShape: shape })] });
    let at = 0;
    const take = (dims) => { const n = dims.reduce((a, b) => a * b, 1); at += n; return tf.tensor(new Float32Array(bin, 4 * (at - n), n), dims); };
    for (const r of rows) {
      const more = { ...(r.relu ? { activation: "relu" } : {}), ...(r.shape ? { weights: [take(r.shape), take([r.kind === "Depthwise" ? r.shape[2] : r.out])] } : {}) };
      const image = { kernelSize: r.k, strides: r.stride, padding: "valid", ...more };
      if (r.pad) model.add(tf.layers.zeroPadding2d({ padding: r.pad }));
      if (r.kind === "Conv2d") model.add(tf.layers.conv2d({ filters: r.out, ...image }));
      else if (r.kind === "Depthwise") model.add(tf.layers.depthwiseConv2d(image));
      else if (r.kind === "MaxPool2d") model.add(tf.layers.maxPooling2d({ poolSize: 2 }));
      else if (r.kind === "AdaptiveAvgPool2d") model.add(tf.layers.globalAveragePooling2d({}));
      else if (r.kind === "Linear") model.add(tf.layers.dense({ units: r.out, ...more }));
      else if (model.layers.at(-1).output.shape.length > 2) model.add(tf.layers.flatten());
    }
    const [c, h, w] = spec.shape;
    return (x) => tf.tidy(() => {
      const rows = spec.shape.length === 1 ? tf.tensor(x, [1, c]) : c === 1 ? tf.tensor(x, [1, h, w, 1])
        : tf.transpose(tf.tensor(x, [1, c, h, w]), [0, 2, 3, 1]);
      return model.predict(rows).dataSync();
    });
  },
};
