// Times every peer in one page: windows of calls, one peer after the other, again and again.
import { PEERS } from "/peers.js";

const gap = (a, b) => b.reduce((most, v, i) => Math.max(most, Math.abs(v - a[i])), 0);

async function spell(answer, x, count) {
  const start = performance.now();
  for (let i = 0; i < count; i++) { const made = answer(x); if (made.then) await made; }
  return (performance.now() - start) / count;
}

export async function compare(name, spec, rounds, window) {
  const x = Float32Array.from(spec.x), answers = {}, counts = {}, gaps = {}, times = {};
  for (const [peer, make] of Object.entries(PEERS)) {
    answers[peer] = await make(name, spec);
    gaps[peer] = gap(await answers[peer](x), spec.y);
    for (const end = performance.now() + 400; performance.now() < end; ) await spell(answers[peer], x, 5);
    counts[peer] = Math.max(1, Math.round(window / (await spell(answers[peer], x, 20))));
    times[peer] = [];
  }
  for (let r = 0; r < rounds; r++) {
    for (const peer of Object.keys(PEERS)) times[peer].push(await spell(answers[peer], x, counts[peer]));
  }
  return { times, gaps };
}
