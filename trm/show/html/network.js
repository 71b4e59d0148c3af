"use strict";
// The network's forward pass in float32, as trm/model computes it. Entry: `makeNetwork`.
//
// All matrices are in one memory, each at its offset. kernel.wasm computes the products or, in browsers without
// WebAssembly or its SIMD, a loop.

// Returns a memory of `length` numbers, `f`, and the product of two matrices into a third.
const makeMatrices = (kernel, length) => {
  let memory = null, multiply = null;
  try {
    memory = new WebAssembly.Memory({ initial: Math.ceil(length / 16384) });
    const instance = new WebAssembly.Instance(new WebAssembly.Module(kernel), { page: { memory } });
    multiply = (a, b, c, m, k, n) => instance.exports.multiply(4 * a, 4 * b, 4 * c, m, k, n);
  } catch {
    // No WebAssembly, or none with SIMD: the loop below gives the same numbers, up to rounding, ten times slower.
    memory = null;
  }
  const f = memory ? new Float32Array(memory.buffer) : new Float32Array(length);
  const multiplySlowly = (a, b, c, m, k, n) => {
    for (let i = 0; i < m; i++) {
      const line = c + i * n;
      f.fill(0, line, line + n);
      for (let p = 0; p < k; p++) {
        const factor = f[a + i * k + p], from = b + p * n;
        for (let j = 0; j < n; j++) f[line + j] += factor * f[from + j];
      }
    }
  };
  return { f, multiply: multiply ?? multiplySlowly, isFast: multiply !== null };
};

const makeNetwork = (settings, weights, kernel) => {
  const { recursion, cells, hidden, prefix, digits, vocab, heads, eps, gateEps } = settings;
  const sequences = Math.max(1, digits), positions = prefix + cells, rows = sequences * positions;
  const size = rows * hidden;

  // The memory is laid out once.
  let top = 0;
  const place = (count) => {
    const at = top;
    top += (count + 3) & ~3;
    return at;
  };
  const matrices = new Map();
  for (const { name, shape } of settings.arrays) matrices.set(name, { at: place(shape.reduce((a, b) => a * b, 1)), shape });
  const matrix = (name) => matrices.get(name);
  const inners = [...matrices].filter(([name]) => name.endsWith("gate_up"))
    .map(([name, { shape }]) => shape[1] * (name.includes(".mixer.") ? hidden : rows));
  const qkvWidth = Math.max(0, ...[...matrices].filter(([name]) => name.endsWith("qkv")).map(([, m]) => m.shape[1]));
  const headSize = qkvWidth / 3 / heads;
  const wide = place(Math.max(rows * qkvWidth, ...inners));
  // Also what each digit reads of the others, which may be wider than a narrow SwiGLU.
  const inner = place(Math.max(digits ? size : 0, Math.max(rows * qkvWidth, ...inners) / 2));
  const [h, update, x, injected] = [place(size), place(size), place(size), place(size)];
  const [query, keys, values, mixed] = qkvWidth ? Array.from({ length: 4 }, () => place(positions * headSize)) : [];
  const scores = qkvWidth ? place(positions * positions) : 0;
  const latents = settings.latents.map((name) => ({ name, at: place(size) }));
  const latent = Object.fromEntries(latents.map(({ name, at }) => [name, at]));
  const answerLogits = place(rows * matrix("lm_head").shape[1]);
  const sums = new Float64Array(hidden);

  const { f, multiply, isFast } = makeMatrices(kernel, top);

  // Weights: bfloat16 is the upper half of a float32.
  const transpose = ({ at, shape: [high, across] }) => {
    const copy = f.slice(at, at + high * across);
    for (let i = 0; i < high; i++) for (let j = 0; j < across; j++) f[at + j * high + i] = copy[i * across + j];
  };
  const view = new DataView(weights.buffer, weights.byteOffset, weights.byteLength);
  const word = new Uint32Array(1), number = new Float32Array(word.buffer);
  let read = 0;
  for (const { name, shape, bfloat16 } of settings.arrays) {
    const { at } = matrix(name), length = shape.reduce((a, b) => a * b, 1);
    for (let i = 0; i < length; i++, read += bfloat16 ? 2 : 4) {
      if (bfloat16) word[0] = view.getUint16(read, true) << 16;
      f[at + i] = bfloat16 ? number[0] : view.getFloat32(read, true);
    }
    // Left factors are stored as (out, in), right factors as (in, out).
    if (name.endsWith(".mixer.mlp.gate_up") || (name.endsWith(".mlp.down") && !name.includes(".mixer.")))
      transpose(matrix(name));
  }

  // Parts of layers. The norms divide by the root mean square, of each row or of each column.
  const normaliseRows = (at, number, width, epsilon) => {
    for (let i = 0; i < number; i++) {
      const from = at + i * width;
      let sum = 0;
      for (let j = 0; j < width; j++) sum += f[from + j] * f[from + j];
      const scale = 1 / Math.sqrt(sum / width + epsilon);
      for (let j = 0; j < width; j++) f[from + j] *= scale;
    }
  };
  const normaliseColumns = (at, number, width, epsilon) => {
    sums.fill(0);
    for (let i = 0; i < number; i++)
      for (let j = 0; j < width; j++) sums[j] += f[at + i * width + j] * f[at + i * width + j];
    for (let j = 0; j < width; j++) sums[j] = 1 / Math.sqrt(sums[j] / number + epsilon);
    for (let i = 0; i < number; i++)
      for (let j = 0; j < width; j++) f[at + i * width + j] *= sums[j];
  };
  const addUpdate = (at, length) => {
    for (let i = 0; i < length; i++) f[at + i] += f[update + i];
  };
  const sigmoid = (v) => 1 / (1 + Math.exp(-v));

  // SwiGLU at each position: rows of gates and ups.
  const channels = (block) => {
    const gateUp = matrix(`${block}.mlp.gate_up`), down = matrix(`${block}.mlp.down`), width = gateUp.shape[1] / 2;
    multiply(h, gateUp.at, wide, rows, hidden, 2 * width);
    for (let i = 0; i < rows; i++) {
      const gates = wide + i * 2 * width, out = inner + i * width;
      for (let j = 0; j < width; j++) {
        const gate = f[gates + j], up = f[gates + width + j];
        f[out + j] = gate * up * (gateEps === null ? sigmoid(gate) : 1);
      }
    }
    if (gateEps !== null) {
      normaliseRows(inner, rows, width, gateEps);
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < width; j++) f[inner + i * width + j] *= sigmoid(f[wide + i * 2 * width + j]);
    }
    multiply(inner, down.at, update, rows, width, hidden);
    addUpdate(h, size);
    normaliseRows(h, rows, hidden, eps);
  };

  // SwiGLU over the positions: the same with the matrices on the left, so that nothing is transposed.
  const mix = (block) => {
    const gateUp = matrix(`${block}.mixer.mlp.gate_up`), down = matrix(`${block}.mixer.mlp.down`);
    const width = gateUp.shape[1] / 2, ups = wide + width * hidden;
    for (let s = 0; s < sequences; s++) {
      const at = h + s * positions * hidden;
      multiply(gateUp.at, at, wide, 2 * width, positions, hidden);
      for (let i = 0; i < width * hidden; i++)
        f[inner + i] = f[wide + i] * f[ups + i] * (gateEps === null ? sigmoid(f[wide + i]) : 1);
      if (gateEps !== null) {
        normaliseColumns(inner, width, hidden, gateEps);
        for (let i = 0; i < width * hidden; i++) f[inner + i] *= sigmoid(f[wide + i]);
      }
      multiply(down.at, inner, update, positions, width, hidden);
      addUpdate(at, positions * hidden);
      normaliseColumns(at, positions, hidden, eps);
    }
  };

  // Rotations of queries and keys, rounded to float32 at each step as in the tables of trm/model/attention.py.
  const tables = (count, width) => {
    const half = width / 2, cosines = new Float32Array(count * half), sines = new Float32Array(count * half);
    for (let i = 0; i < half; i++) {
      const power = Math.fround(Math.fround(settings.theta) ** Math.fround(2 * i / width));
      const frequency = Math.fround(1 / power);
      for (let p = 0; p < count; p++) {
        const angle = Math.fround(p * frequency);
        cosines[p * half + i] = Math.cos(angle); sines[p * half + i] = Math.sin(angle);
      }
    }
    return { half, cosines, sines };
  };
  const side = Math.round(Math.sqrt(positions));
  const turns = settings.theta === null || !qkvWidth ? []
    : settings.onGrid
      ? [{ from: 0, ...tables(side, headSize / 2), placeOf: (p) => Math.floor(p / side) },
        { from: headSize / 2, ...tables(side, headSize / 2), placeOf: (p) => p % side }]
      : [{ from: 0, ...tables(positions, headSize), placeOf: (p) => p }];
  const rotated = new Float32Array(headSize || 0);
  const turn = (at, p) => {
    for (let i = 0; i < headSize; i++) rotated[i] = f[at + i];
    for (const { from, half, cosines, sines, placeOf } of turns) {
      for (let i = 0; i < half; i++) {
        const a = f[at + from + i], b = f[at + from + half + i], t = placeOf(p) * half + i;
        rotated[from + i] = a * cosines[t] - b * sines[t];
        rotated[from + half + i] = b * cosines[t] + a * sines[t];
      }
    }
    return rotated;
  };
  const attend = (block) => {
    const qkv = matrix(`${block}.mixer.attention.qkv`), out = matrix(`${block}.mixer.attention.out`);
    const width = heads * headSize;
    multiply(h, qkv.at, wide, rows, hidden, 3 * width);
    for (let s = 0; s < sequences; s++) {
      for (let head = 0; head < heads; head++) {
        for (let p = 0; p < positions; p++) {
          const at = wide + (s * positions + p) * 3 * width + head * headSize;
          f.set(turn(at, p), query + p * headSize);
          turn(at + width, p);
          for (let i = 0; i < headSize; i++) f[keys + i * positions + p] = rotated[i];
          f.copyWithin(values + p * headSize, at + 2 * width, at + 2 * width + headSize);
        }
        multiply(query, keys, scores, positions, headSize, positions);
        const scale = 1 / Math.sqrt(headSize);
        for (let p = 0; p < positions; p++) {
          const at = scores + p * positions;
          let most = -Infinity, total = 0;
          for (let j = 0; j < positions; j++) most = Math.max(most, f[at + j] * scale);
          for (let j = 0; j < positions; j++) total += f[at + j] = Math.exp(f[at + j] * scale - most);
          for (let j = 0; j < positions; j++) f[at + j] /= total;
        }
        multiply(scores, values, mixed, positions, positions, headSize);
        for (let p = 0; p < positions; p++)
          f.copyWithin(inner + (s * positions + p) * width + head * headSize, mixed + p * headSize, mixed + (p + 1) * headSize);
      }
    }
    multiply(inner, out.at, update, rows, width, hidden);
    addUpdate(h, size);
    normaliseRows(h, rows, hidden, eps);
  };

  // The state "digits": each digit reads the mean of the others at its cell.
  const couple = (block) => {
    const places = positions * hidden;
    for (let i = 0; i < places; i++) {
      let total = 0;
      for (let s = 0; s < sequences; s++) total += f[h + s * places + i];
      for (let s = 0; s < sequences; s++) f[inner + s * places + i] = (total - f[h + s * places + i]) / (sequences - 1);
    }
    multiply(inner, matrix(`${block}.coupling.read`).at, update, rows, hidden, hidden);
    addUpdate(h, size);
    normaliseRows(h, rows, hidden, eps);
  };

  const blocksOf = (name) => {
    const found = [];
    for (let i = 0; matrices.has(`recursion.${name}.blocks.${i}.mlp.down`); i++) found.push(`recursion.${name}.blocks.${i}`);
    return found;
  };
  const networks = Object.fromEntries(["network", "H_network", "L_network"].map((name) => [name, blocksOf(name)]));
  // Replaces the latent `to` by the output of a network for the sum of `terms`.
  const pass = (name, to, ...terms) => {
    f.copyWithin(h, terms[0], terms[0] + size);
    for (const term of terms.slice(1)) for (let i = 0; i < size; i++) f[h + i] += f[term + i];
    for (const block of networks[name]) {
      if (qkvWidth) attend(block); else mix(block);
      if (digits) couple(block);
      channels(block);
    }
    if (settings.damping) for (let i = 0; i < size; i++) f[h + i] += settings.damping * (f[to + i] - f[h + i]);
    f.copyWithin(to, h, h + size);
  };
  const inject = () => { for (let i = 0; i < size; i++) f[injected + i] = f[latent.z_H + i] + f[x + i]; };

  // Recursions: one H cycle of each.
  const parts = ["z_L1", "z_L2", "z_L3", "z_L4", "z_L5", "z_L6"].map((name) => latent[name]);
  const cycles = {
    trm: () => {
      inject();
      for (let i = 0; i < settings.L_cycles; i++) pass("network", latent.z_L, latent.z_L, injected);
      pass("network", latent.z_H, latent.z_H, latent.z_L);
    },
    trm_singlez: () => {
      for (let i = 0; i < settings.L_cycles; i++) pass("network", latent.z_L, latent.z_L, x);
      pass("network", latent.z_L, latent.z_L);
    },
    trm_hier6: () => {
      inject();
      for (let i = 0; i < settings.L_cycles; i++) pass("network", parts[i], ...parts, injected);
      pass("network", latent.z_H, ...parts, latent.z_H);
    },
    hrm: () => {
      inject();
      for (let i = 0; i < settings.L_cycles; i++) pass("L_network", latent.z_L, latent.z_L, injected);
      pass("H_network", latent.z_H, latent.z_H, latent.z_L);
    },
    transformers_baseline: () => pass("H_network", latent.z_H, latent.z_H, x),
  };
  cycles.equilibrium = cycles.trm;

  const embed = (tokens) => {
    const table = matrix("embed_tokens").at, scale = Math.sqrt(hidden);
    for (let s = 0; s < sequences; s++) {
      for (let p = 0; p < positions; p++) {
        const token = p < prefix ? 0 : tokens[p - prefix];
        const role = token <= 1 ? 0 : token === s + 2 ? 1 : 2;
        const from = p < prefix ? matrix("prefix").at + p * hidden : table + (digits ? role : token) * hidden;
        f.copyWithin(x + (s * positions + p) * hidden, from, from + hidden);
      }
    }
    if (matrices.has("embed_positions")) {
      const at = matrix("embed_positions").at;
      for (let i = 0; i < size; i++) f[x + i] = (f[x + i] + f[at + (i % (positions * hidden))]) * Math.SQRT1_2;
    }
    for (let i = 0; i < size; i++) f[x + i] *= scale;
  };

  const readAnswer = () => {
    const answer = latent[settings.answer], head = matrix("lm_head"), width = head.shape[1];
    multiply(answer, head.at, answerLogits, rows, hidden, width);
    const logits = new Float32Array(cells * vocab);
    for (let cell = 0; cell < cells; cell++)
      for (let token = 0; token < vocab; token++)
        logits[cell * vocab + token] = !digits ? f[answerLogits + (prefix + cell) * vocab + token]
          : token < 2 ? -1e9 : f[answerLogits + (token - 2) * positions + cell];
    const pooled = sums.fill(0), pool = digits ? rows : 1;
    for (let row = 0; row < pool; row++) for (let i = 0; i < hidden; i++) pooled[i] += f[answer + row * hidden + i] / pool;
    const q = [0, 1].map((column) => f[matrix("q_head.bias").at + column]
      + pooled.reduce((total, value, i) => total + value * f[matrix("q_head.weight").at + 2 * i + column], 0));
    return { logits, qHalt: q[0], qContinue: q[1] };
  };

  return {
    /** Whether the kernel computes the products. */
    isFast,
    /** The initial latents, with normal noise of standard deviation `noise`. `normal` draws a number. */
    begin: (noise, normal) => latents.map(({ name }) => {
      const { at } = matrix(`recursion.initial.${name}`);
      return Float32Array.from({ length: size }, (_, i) => f[at + (i % hidden)] + (noise ? noise * normal() : 0));
    }),
    /** One supervision step: refines the latents in `state`, and returns the outputs of the heads after every H cycle. */
    step: (tokens, state) => {
      embed(tokens);
      latents.forEach(({ at }, i) => f.set(state[i], at));
      const outputs = [];
      for (let i = 0; i < settings.H_cycles; i++) { cycles[recursion](); outputs.push(readAnswer()); }
      latents.forEach(({ at }, i) => state[i].set(f.subarray(at, at + size)));
      return outputs;
    },
  };
};
