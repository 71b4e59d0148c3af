"use strict";
// The worker of a live page: it runs the network, so that the page stays responsive. It takes messages {open}, {think} and
// {stop}, and posts {step} after each supervision step of all attempts, then {end}.
(() => {
  let network = null, settings = null, judge = null, wanted = null;

  // Normally distributed numbers from a seed (mulberry32, Box and Muller).
  const normalFrom = (seed) => {
    let state = seed >>> 0;
    const uniform = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  };

  // The most probable token of each cell, and its probability as in the training loss.
  const squash = (v) => (settings.stablemax ? (v < 0 ? -Math.log1p(-v) : Math.log1p(v)) : v);
  const readCell = (logits, cell) => {
    const from = cell * settings.vocab;
    let best = 0, total = 0;
    for (let token = 1; token < settings.vocab; token++) if (logits[from + token] > logits[from + best]) best = token;
    for (let token = 0; token < settings.vocab; token++)
      total += Math.exp(squash(logits[from + token]) - squash(logits[from + best]));
    return [best, 1 / total];
  };

  // Returns the answers of one attempt after every H cycle, its view undone.
  const describe = (outputs, question, view) => {
    const cells = settings.cells, cycles = outputs.length;
    const tokens = new Uint16Array(cycles * cells), confidence = new Uint8Array(cycles * cells);
    const wrong = new Uint8Array(cycles * cells), solved = [], back = [];
    view.tokens.forEach((to, token) => { back[to] = token; });
    outputs.forEach(({ logits }, cycle) => {
      for (let cell = 0; cell < cells; cell++) {
        const [token, probability] = readCell(logits, cell);
        tokens[cycle * cells + view.cells[cell]] = back[token];
        confidence[cycle * cells + view.cells[cell]] = Math.round(255 * probability);
      }
      const verdict = judge(question, Array.from(tokens.subarray(cycle * cells, (cycle + 1) * cells)));
      wrong.set(verdict.wrong, cycle * cells);
      solved.push(verdict.solved);
    });
    const last = outputs.at(-1);
    return {
      tokens, confidence, wrong, solved, q_halt: outputs.map(({ qHalt }) => 1 / (1 + Math.exp(-qHalt))),
      halts: last.qHalt > (settings.learnsContinue ? last.qContinue : 0),
    };
  };

  const think = async (job) => {
    wanted = job.run;
    const attempts = job.attempts.map(({ cells, tokens, noise, seed }, i) => {
      const given = [...job.question];
      for (const [cell, token] of job.guesses?.[i] ?? []) given[cell] = token;
      return { cells, tokens, question: cells.map((cell) => tokens[given[cell]]), state: network.begin(noise, normalFrom(seed)) };
    });
    const done = attempts.map(() => false);
    for (let step = 1; step <= job.steps && !done.every(Boolean); step++) {
      const begun = performance.now(), found = [];
      for (const [i, attempt] of attempts.entries()) {
        // A message {stop} can arrive between two attempts.
        await new Promise((resume) => setTimeout(resume));
        if (wanted !== job.run) return;
        found.push(done[i] ? null : describe(network.step(attempt.question, attempt.state), job.question, attempt));
      }
      found.forEach((attempt, i) => { if (attempt && job.stop === "halt") done[i] = attempt.halts; });
      if (job.stop === "rules" && found.some((attempt) => attempt.solved.at(-1))) done.fill(true);
      postMessage({ step, run: job.run, attempts: found, seconds: (performance.now() - begun) / 1000 });
    }
    postMessage({ end: true, run: job.run });
  };

  onmessage = ({ data }) => {
    if (data.open) {
      settings = data.open.settings;
      judge = RULES[data.open.rules](data.open.picture).judge;
      network = makeNetwork(settings, data.open.weights, data.open.kernel);
    } else if (data.think) think(data.think).catch((error) => postMessage({ error: String(error), run: data.think.run }));
    else wanted = null;
  };
})();
