"use strict";
// The live page: controls of the network, which runs in a worker of the page or, on a served page, on the server. The player
// shows each supervision step. Entry: `startLive`; `makeAsker` is `makeBoards` or `makeTasks`.
const startLive = (data, player, makeAsker) => {
  const { picture, kind, cycles } = data;
  const cellCount = data.cells;
  const byId = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const complain = (text) => { byId("problem").textContent = text; };
  const numberIn = (id) => {
    const input = byId(id), low = Number(input.min), high = Number(input.max);
    const value = Math.min(high, Math.max(low, Number(input.value) || 0));
    input.value = id === "noise" ? value : Math.round(value);
    return Number(input.value);
  };

  // Where the network runs: in a worker of the page, or on the server.
  const openWorker = () => {
    const url = URL.createObjectURL(new Blob([data.worker], { type: "text/javascript" }));
    const worker = new Worker(url);
    worker.postMessage({ open: {
      settings: data.network.settings, weights: bytes(data.network.weights), kernel: bytes(data.network.kernel), rules: kind, picture,
    } });
    worker.onmessage = ({ data: message }) => receive(message);
    worker.onerror = (event) => receive({ error: event.message, run });
    return { think: (job) => worker.postMessage({ think: job }), stop: () => worker.postMessage({ stop: true }) };
  };
  const openServer = () => {
    let abort = null;
    const think = async (job) => {
      abort = new AbortController();
      try {
        const { sent, steps, stop, noise, seed, views, guesses } = job;
        // The token is in the page's own address.
        const response = await fetch(`think${location.search}`, {
          method: "POST", headers: { "Content-Type": "application/json" }, signal: abort.signal,
          body: JSON.stringify({ ...sent, steps, stop, noise, seed, views, guesses }),
        });
        if (!response.ok) return receive({ error: (await response.text()).trim().replace(/^error: /, ""), run: job.run });
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          const lines = (rest + value).split("\n");
          rest = lines.pop();
          for (const line of lines) receive({ ...decode(JSON.parse(line)), run: job.run });
        }
        receive({ error: "the server has stopped: start trm play again", run: job.run });
      } catch (error) {
        if (error.name !== "AbortError") receive({ error: "the server has stopped: start trm play again", run: job.run });
      }
    };
    const decode = (message) => {
      for (const attempt of message.attempts ?? []) {
        if (!attempt) continue;
        attempt.tokens = new Uint16Array(bytes(attempt.tokens).buffer);
        attempt.confidence = bytes(attempt.confidence);
        attempt.wrong = bytes(attempt.wrong);
      }
      return message;
    };
    return { think, stop: () => abort?.abort() };
  };
  const solver = data.network ? openWorker() : openServer();

  // One job: a puzzle and its supervision steps. An unsolved puzzle is thought about again with guesses: some cells of an earlier
  // answer as given.
  let run = 0, puzzle = null, thinking = false, most = 0, seconds = 0, made = 0, earlier = [], previous = null;
  const setThinking = (is) => {
    thinking = is;
    byId("think").textContent = is ? "Stop" : "Think";
    byId("think").classList.toggle("stops", is);
  };
  const begin = () => {
    complain("");
    made = 0;
    previous = null;
    earlier = [];
    const asked = asker.ask(numberIn("attempts"));
    if (asked) start(asked);
  };
  const start = (asked) => {
    const { name, question, truth, noise, views, guesses } = asked;
    if (!made) most = numberIn("steps");
    made += views.length;
    run += 1;
    seconds = 0;
    const frames = most * cycles * cellCount;
    puzzle = {
      name, question, truth, winner: 0, steps: 0, cycles,
      asked, attempts: views.map((view, i) => ({
        tokens: new Uint16Array(frames), confidence: new Uint8Array(frames), wrong: new Uint8Array(frames), q_halt: [],
        solved: asked.judged ? [] : null, halting_step: null, solved_after: null,
        way: asked.way(view, guesses?.[i]), guessed: new Set(guesses?.[i].map(([cell]) => cell)),
      })),
    };
    byId("puzzles").hidden = false;
    player.open({ steps: 0, cycles, puzzles: [puzzle], most });
    byId("verdict").textContent = "Started.";
    setThinking(true);
    solver.think({
      run, question, sent: asked.sent, steps: most, stop: byId("stop").value, noise, seed: run, views, guesses,
      attempts: views.map((view, i) => ({ ...data.views?.[view], noise, seed: 1000 * run + i })),
    });
    if (innerWidth < 62 * 16 && !guesses) byId("puzzles").scrollIntoView({ behavior: "smooth" });
  };
  // Begins again with guesses, where the person wants it and there are answers to guess from.
  const startAgain = () => {
    const solved = puzzle.attempts.some((attempt) => attempt.solved_after);
    if (solved || !byId("guesses")?.checked || made + puzzle.attempts.length > data.attempts_in_all) return false;
    const last = (puzzle.steps * cycles - 1) * cellCount;
    earlier.push(...puzzle.attempts.map(({ tokens, wrong }) =>
      ({ tokens: tokens.slice(last, last + cellCount), wrong: wrong.slice(last, last + cellCount) })));
    previous = { puzzle, made, seconds };
    start(asker.guess(puzzle.asked, earlier));
    return true;
  };
  const end = (text) => { setThinking(false); byId("verdict").textContent = text; };
  const describeEnd = () => {
    const halted = puzzle.attempts.filter((attempt) => attempt.halting_step).length, many = puzzle.attempts.length;
    const stopped = !halted ? "q_halt never stops it"
      : many === 1 ? `q_halt stops it after step ${puzzle.attempts[0].halting_step}` : `q_halt stops ${halted} of ${many}`;
    const all = made > many ? ` ${made} attempts in all.` : "";
    return `${asker.judge(puzzle)}; ${stopped}.${all} ${(seconds / puzzle.steps).toPrecision(2)} s per step.`;
  };
  const receive = (message) => {
    if (message.run !== run || !thinking) return;
    if (message.error) { end(""); complain(message.error); return; }
    if (message.end) return startAgain() || end(describeEnd());
    const { step } = message, length = cycles * cellCount, at = (step - 1) * length;
    seconds += message.seconds;
    message.attempts.forEach((found, i) => {
      const attempt = puzzle.attempts[i];
      for (const name of ["tokens", "confidence", "wrong"]) {
        // An attempt that has halted stays at its last answer.
        if (found) attempt[name].set(found[name], at);
        else for (let c = 0; c < cycles; c++) attempt[name].copyWithin(at + c * cellCount, at - cellCount, at);
      }
      for (const name of ["solved", "q_halt"])
        attempt[name]?.push(...(found ? found[name] : new Array(cycles).fill(attempt[name].at(-1))));
      if (found?.halts) attempt.halting_step ??= step;
      if (attempt.solved?.at(-1)) attempt.solved_after ??= step;
    });
    puzzle.steps = step;
    asker.choose(puzzle);
    player.grow(step);
    const guessing = made > puzzle.attempts.length ? `Attempt ${made}, with guesses: step` : "Step";
    byId("verdict").textContent = `${guessing} ${step} of at most ${most}, ${message.seconds.toPrecision(2)} s.`;
  };
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!thinking) return begin();
    solver.stop();
    // Stopped before the first step of attempts with guesses: those before them are shown again.
    if (!puzzle.steps && previous) {
      ({ puzzle, made, seconds } = previous);
      player.open({ steps: puzzle.steps, cycles, puzzles: [puzzle], most });
    }
    end(puzzle.steps ? `Stopped. ${describeEnd()}` : "Stopped.");
  });

  byId("attempts").max = data.most_attempts;
  byId("steps").max = data.most_steps;
  byId("steps").value = data.steps;
  byId("attempts").value = data.attempts;
  byId("puzzles").hidden = true;
  const asker = makeAsker(data, { complain, numberIn, player });
};
