"use strict";
// The live page: a puzzle that a person types or draws, and the controls of the network that thinks about it. A worker in the
// page thinks or, on a served page, the server; each supervision step goes to the player. Entry: `startLive`.
const startLive = (data, player) => {
  const { picture, kind, cycles, views, examples } = data;
  const cellCount = data.cells, width = picture.width;
  const rules = RULES[kind](picture);
  const byId = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const isMaze = kind === "maze";
  const [blank, brushes] = isMaze ? [2, [1, 2, 3, 4]] : [1, picture.names.map((_, token) => token).slice(1)];
  const board = new Array(cellCount).fill(blank);
  let brush = isMaze ? 1 : null, selected = 0, painting = null, example = 0;

  // The editor.
  const table = byId("editor"), cells = [];
  const side = Math.max(9, Math.min(isMaze ? 34 : 40, Math.floor(Math.min(400, innerWidth - 52) / width)));
  table.style = `--cell:${side}px; --columns:${width}`;
  table.classList.toggle("filled", isMaze);
  const [high, wide] = picture.box || [0, 0];
  for (let row = 0; row < cellCount / width; row++) {
    const line = table.insertRow();
    line.setAttribute("role", "row");
    for (let column = 0; column < width; column++) {
      const td = line.insertCell();
      td.setAttribute("role", "gridcell");
      td.append(document.createElement("span"));
      if (wide && (column + 1) % wide === 0 && column < width - 1) td.dataset.right = "";
      if (high && (row + 1) % high === 0 && row < width - 1) td.dataset.below = "";
      cells.push(td);
    }
  }
  const drawBoard = () => {
    const problem = rules.problem(board);
    cells.forEach((td, cell) => {
      const token = board[cell];
      td.className = [picture.classes[token], "given", "right" in td.dataset && "right", "below" in td.dataset && "below",
        problem?.cells.includes(cell) && "contradicts"].filter(Boolean).join(" ");
      td.firstChild.textContent = picture.characters[token];
      td.tabIndex = cell === selected ? 0 : -1;
      td.setAttribute("aria-label", `row ${Math.floor(cell / width) + 1}, column ${(cell % width) + 1}: ${picture.names[token]}`);
    });
    for (const button of byId("brushes").children)
      button.setAttribute("aria-pressed", String(isMaze && Number(button.dataset.token) === brush));
  };
  const put = (cell, token) => {
    // A maze has one start and one goal.
    if (isMaze && token > 2) board.forEach((other, i) => { if (other === token) board[i] = blank; });
    board[cell] = token;
    drawBoard();
  };
  const select = (cell) => { selected = cell; drawBoard(); cells[cell].focus(); };
  const fill = (tokens) => { tokens.forEach((token, cell) => { board[cell] = token; }); drawBoard(); complain(""); };
  const complain = (text) => { byId("problem").textContent = text; };

  byId("brushes").style.setProperty("--buttons", isMaze ? 4 : Math.ceil(brushes.length / Math.ceil(brushes.length / 8)));
  for (const token of brushes) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.token = token;
    button.className = isMaze ? "brush" : "digit";
    if (isMaze) {
      const key = document.createElement("span");
      key.className = `swatch ${picture.classes[token]}`;
      key.textContent = picture.characters[token];
      button.append(key, ` ${picture.names[token]}`);
    } else {
      button.textContent = token === blank ? "⌫" : picture.characters[token];
      button.setAttribute("aria-label", picture.names[token]);
    }
    button.addEventListener("click", () => {
      if (isMaze) brush = token; else put(selected, token);
      drawBoard();
    });
    byId("brushes").append(button);
  }
  const cellAt = (event) => cells.indexOf(document.elementFromPoint(event.clientX, event.clientY)?.closest("#editor td"));
  table.addEventListener("pointerdown", (event) => {
    const cell = cellAt(event);
    if (cell < 0) return;
    event.preventDefault();
    select(cell);
    if (!isMaze) return;
    // A stroke that begins on what it would draw rubs it out.
    painting = board[cell] === brush ? blank : brush;
    put(cell, painting);
    table.setPointerCapture(event.pointerId);
  });
  table.addEventListener("pointermove", (event) => {
    const cell = painting === null ? -1 : cellAt(event);
    if (cell >= 0 && board[cell] !== painting) put(cell, painting);
  });
  for (const name of ["pointerup", "pointercancel"]) table.addEventListener(name, () => { painting = null; });
  const tokenOf = (key) => {
    if (isMaze) return { "#": 1, w: 1, ".": 2, f: 2, Backspace: 2, Delete: 2, s: 3, g: 4, " ": brush, Enter: brush }[key];
    if (["Backspace", "Delete", "0", ".", " "].includes(key)) return blank;
    const digit = /^[1-9]$/.test(key) ? Number(key) : /^[a-g]$/i.test(key) ? key.toLowerCase().charCodeAt(0) - 87 : 0;
    return digit >= 1 && digit <= width ? digit + 1 : undefined;
  };
  table.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const row = Math.floor(selected / width), column = selected % width;
    const to = { ArrowLeft: column > 0 ? selected - 1 : selected, ArrowRight: column < width - 1 ? selected + 1 : selected,
      ArrowUp: row > 0 ? selected - width : selected, ArrowDown: row < width - 1 ? selected + width : selected }[event.key];
    const token = tokenOf(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (to === undefined && token === undefined) return;
    event.preventDefault();
    if (to !== undefined) return select(to);
    put(selected, token);
    if (!isMaze && /^[\w.]$/.test(event.key)) select(Math.min(selected + 1, cellCount - 1));
  });
  document.addEventListener("paste", (event) => {
    const text = event.clipboardData.getData("text").replace(isMaze ? /[\r\n]/g : /[\s|+-]/g, "");
    const found = [...text].map((c) => (isMaze ? { "#": 1, " ": 2, ".": 2, S: 3, G: 4 }[c] : /[_*?]/.test(c) ? blank : tokenOf(c)));
    if (found.length === cellCount && !found.includes(undefined)) fill(found);
    else complain(`pasted: found ${found.length} cells${found.includes(undefined) ? ", some of them unknown" : ""}, expected ${cellCount}`);
    event.preventDefault();
  });
  byId("clear").addEventListener("click", () => fill(new Array(cellCount).fill(blank)));
  byId("example").hidden = examples.length === 0;
  byId("example").addEventListener("click", () => { example = (example + 1) % examples.length; fill(examples[example]); });

  // Who thinks: a worker in the page, or the server.
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
        const { question: puzzle, steps, stop, noise, seed, views } = job;
        const response = await fetch("think", {
          method: "POST", headers: { "Content-Type": "application/json" }, signal: abort.signal,
          body: JSON.stringify({ puzzle, steps, stop, noise, seed, views }),
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
        receive({ error: "the server has ended: start trm play again", run: job.run });
      } catch (error) {
        if (error.name !== "AbortError") receive({ error: "the server has ended: start trm play again", run: job.run });
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
  const mind = data.network ? openWorker() : openServer();

  // One run: from the puzzle to its last step.
  let run = 0, puzzle = null, thinking = false, most = 0, seconds = 0;
  const numberIn = (id) => {
    const input = byId(id), low = Number(input.min), high = Number(input.max);
    const value = Math.min(high, Math.max(low, Number(input.value) || 0));
    input.value = id === "noise" ? value : Math.round(value);
    return Number(input.value);
  };
  const setThinking = (is) => {
    thinking = is;
    byId("think").textContent = is ? "Stop" : "Think";
    byId("think").classList.toggle("stops", is);
  };
  const begin = () => {
    const problem = rules.problem(board);
    if (problem) return complain(problem.text);
    complain("");
    const count = numberIn("attempts"), noise = numberIn("noise"), symmetric = byId("symmetries").checked;
    most = numberIn("steps");
    run += 1;
    seconds = 0;
    const question = [...board];
    const ways = Array.from({ length: count }, (_, i) => (symmetric ? i % views.length : 0));
    const frames = most * cycles * cellCount;
    puzzle = {
      name: "How it thinks", question, truth: null, winner: 0,
      attempts: ways.map((view) => ({
        tokens: new Uint16Array(frames), confidence: new Uint8Array(frames), wrong: new Uint8Array(frames), solved: [], q_halt: [],
        way: [view ? "symmetry" : "as it is", noise && "with noise"].filter(Boolean).join(", "), halting_step: null, solved_after: null,
      })),
    };
    byId("puzzles").hidden = false;
    player.open({ steps: 0, cycles, puzzles: [puzzle], most });
    byId("verdict").textContent = "It begins to think.";
    setThinking(true);
    mind.think({
      run, question, steps: most, stop: byId("stop").value, noise, seed: run, views: ways,
      attempts: ways.map((view, i) => ({ ...views[view], noise, seed: 1000 * run + i })),
    });
    if (innerWidth < 62 * 16) byId("puzzles").scrollIntoView({ behavior: "smooth" });
  };
  const end = (text) => { setThinking(false); byId("verdict").textContent = text; };
  const rank = (attempt) => [attempt.solved_after ?? Infinity, -attempt.q_halt[(attempt.halting_step ?? puzzle.steps) * cycles - 1]];
  const describeEnd = () => {
    const solved = puzzle.attempts.filter((attempt) => attempt.solved_after).length;
    const halted = puzzle.attempts.filter((attempt) => attempt.halting_step).length;
    const one = puzzle.attempts.length === 1;
    const first = puzzle.attempts[puzzle.winner];
    const many = puzzle.attempts.length;
    const judged = !solved ? `The network did not solve it: ${one ? "its answers break the rules, more attempts may help" : "all answers break the rules"}`
      : one ? `The answer obeys the rules after step ${first.solved_after}`
        : `${solved} of ${many} attempts obey the rules, the first after step ${first.solved_after}`;
    const stopped = !halted ? "q_halt never stops it" : one ? `q_halt stops it after step ${first.halting_step}` : `q_halt stops ${halted} of ${many}`;
    return `${judged}; ${stopped}. ${(seconds / puzzle.steps).toPrecision(2)} s per step.`;
  };
  const receive = (message) => {
    if (message.run !== run || !thinking) return;
    if (message.error) { end(""); complain(message.error); return; }
    if (message.end) return end(describeEnd());
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
        attempt[name].push(...(found ? found[name] : new Array(cycles).fill(attempt[name].at(-1))));
      if (found?.halts) attempt.halting_step ??= step;
      if (attempt.solved.at(-1)) attempt.solved_after ??= step;
    });
    puzzle.steps = step;
    const ranks = puzzle.attempts.map(rank);
    puzzle.winner = ranks.reduce((best, [after, q], i) =>
      (after < ranks[best][0] || (after === ranks[best][0] && q < ranks[best][1]) ? i : best), 0);
    player.grow(step);
    byId("verdict").textContent = `Step ${step} of at most ${most}, ${message.seconds.toPrecision(2)} s.`;
  };
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!thinking) return begin();
    mind.stop();
    end(puzzle.steps ? `Stopped. ${describeEnd()}` : "Stopped.");
  });

  byId("attempts").max = data.most_attempts;
  byId("steps").max = data.most_steps;
  byId("steps").value = data.steps;
  byId("attempts").value = data.attempts;
  byId("puzzles").hidden = true;
  fill(examples.length ? examples[0] : board);
};
