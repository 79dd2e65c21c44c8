// A training step of a 784-128-10 network, 32 rows, SGD: ours beside TF.js, in turns in one page.
const PEERS = {
  async ours(spec) {
    const { load } = await import("/trained.ours/model.js");
    const model = await load();
    const x = Float32Array.from(spec.x), y = BigInt64Array.from(spec.y.map(BigInt));
    return () => model.trainStep(x, y, { lr: spec.lr });
  },
  async tfjs(spec) {
    const { tf, wasm } = await import("/tfjs.js");
    wasm.setWasmPaths("/npm/@tensorflow/tfjs-backend-wasm/dist/");
    wasm.setThreadsCount(1);
    await tf.setBackend("wasm");
    await tf.ready();
    const [w1, b1, w2, b2] = spec.weights.map((w, i) => tf.variable(tf.tensor(w, spec.shapes[i])));
    const x = tf.tensor(spec.x, [spec.y.length, 784]);
    const y = tf.cast(tf.oneHot(tf.tensor1d(spec.y, "int32"), 10), "float32");
    const optimizer = tf.train.sgd(spec.lr);
    const loss = () => {
      const hidden = tf.relu(tf.add(tf.matMul(x, w1), b1));
      return tf.neg(tf.mean(tf.sum(tf.mul(y, tf.logSoftmax(tf.add(tf.matMul(hidden, w2), b2))), 1)));
    };
    return () => {
      const made = optimizer.minimize(loss, true, [w1, b1, w2, b2]);
      const found = made.dataSync()[0];
      made.dispose();
      return found;
    };
  },
};

export async function train(spec, rounds, window) {
  const steps = {}, losses = {}, counts = {}, times = {};
  const spell = (step, count) => {
    const start = performance.now();
    for (let i = 0; i < count; i++) step();
    return (performance.now() - start) / count;
  };
  for (const [peer, make] of Object.entries(PEERS)) {
    steps[peer] = await make(spec);
    losses[peer] = Array.from({ length: 20 }, () => steps[peer]());
    for (const end = performance.now() + 400; performance.now() < end; ) spell(steps[peer], 5);
    counts[peer] = Math.max(1, Math.round(window / spell(steps[peer], 20)));
    times[peer] = [];
  }
  for (let r = 0; r < rounds; r++) {
    for (const peer of Object.keys(PEERS)) times[peer].push(spell(steps[peer], counts[peer]));
  }
  return { times, losses };
}
