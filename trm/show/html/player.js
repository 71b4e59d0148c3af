"use strict";
// The player: boards of attempts, sliders, keys and charts. Entry: `startPlayer`, which shows traces. It returns functions that
// replace them (`open`), add steps to them (`grow`), or return a board alone (`draw`). While more steps are to come, axes have
// `most` steps.
const startPlayer = (data) => {
  let { picture, steps, cycles, puzzles, most } = data;
  let size = 0;
  const byId = (id) => document.getElementById(id);
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const count = (number, thing) => `${number} ${thing}${number === 1 ? "" : "s"}`;

  // Step 0 is the puzzle. `unit` is the unit of the last move: changes are marked since the step, or cycle, before.
  const now = { step: 0, cycle: cycles, unit: "step" };
  let timer = null;

  // Attempts: arrays of all frames in order.
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const decode = (attempt) => {
    if (typeof attempt.tokens !== "string") return;
    const raw = bytes(attempt.tokens);
    attempt.tokens = new Uint16Array(raw.length / 2).map((_, i) => raw[2 * i] + 256 * raw[2 * i + 1]);
    attempt.confidence = bytes(attempt.confidence);
    attempt.wrong = bytes(attempt.wrong);
  };
  const frameOf = (step, cycle) => (step - 1) * cycles + cycle - 1;
  const tokensAt = (puzzle, attempt, frame) =>
    frame < 0 ? puzzle.question : attempt.tokens.subarray(frame * size, (frame + 1) * size);

  // The part of a board that is drawn: with ARC the smallest that has all cells with a colour, in any frame.
  const isArc = picture.classes.includes("arc-0");
  const bounds = (puzzle) => {
    const width = picture.width, height = puzzle.question.length / width;
    if (!isArc) return { top: 0, left: 0, bottom: height - 1, right: width - 1 };
    const box = { top: height, left: width, bottom: 0, right: 0 };
    const use = (tokens) => tokens.forEach((token, at) => {
      if (token < 2) return;
      const cell = at % puzzle.question.length, row = Math.floor(cell / width), column = cell % width;
      box.top = Math.min(box.top, row); box.bottom = Math.max(box.bottom, row);
      box.left = Math.min(box.left, column); box.right = Math.max(box.right, column);
    });
    use(puzzle.question);
    if (puzzle.truth) use(puzzle.truth);
    for (const attempt of puzzle.attempts) use(attempt.tokens.subarray(0, steps * cycles * size));
    return box;
  };

  // A cell has `least` to `most` pixels, so that the board fits into `room`.
  const board = (box, { least = 9, most, room }) => {
    const cells = [];
    const columns = box.right - box.left + 1;
    const cell = Math.max(least, Math.min(most, Math.floor(Math.min(room, innerWidth - 50) / columns)));
    const table = make("table", { class: "board", style: `--cell:${cell}px; --columns:${columns}` });
    if (picture.classes.length) table.classList.add("filled");
    if (isArc) table.classList.add("arc");
    const [high, wide] = picture.box || [0, 0];
    for (let row = box.top; row <= box.bottom; row++) {
      const line = make("tr");
      for (let column = box.left; column <= box.right; column++) {
        const td = make("td");
        td.append(make("span"));
        const edges = [];
        if (wide && (column + 1) % wide === 0 && column < box.right) edges.push("right");
        if (high && (row + 1) % high === 0 && row < box.bottom) edges.push("below");
        cells.push({ td, index: row * picture.width + column, edges: edges.join(" ") });
        line.append(td);
      }
      table.append(line);
    }
    return { table, cells };
  };

  const sizesOf = (puzzle) => (puzzle.attempts.length > 1 ? { most: 32, room: 288 } : { most: 44, room: 400 });

  const drawStill = (box, label, tokens, sizes) => {
    const { table, cells } = board(box, sizes);
    for (const { td, index, edges } of cells) {
      td.className = `${picture.classes[tokens[index]] || ""} ${edges} still`;
      td.firstChild.textContent = picture.characters[tokens[index]] ?? "?";
      td.setAttribute("aria-label", picture.names[tokens[index]] ?? "?");
    }
    table.setAttribute("aria-label", label);
    return table;
  };
  const still = (puzzle, box, name, tokens) => make("figure", {}, make("figcaption", {}, name),
    drawStill(box, `${puzzle.name}, ${name}`, tokens, sizesOf(puzzle)));

  // Charts of q_halt over the steps.
  const SVG = "http://www.w3.org/2000/svg";
  const draw = (parent, name, attributes, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };
  const left = 34, right = 410, top = 22, bottom = 120;
  const xOf = (step) => left + ((right - left) * step) / Math.max(most ?? steps, 1);
  const yOf = (value) => bottom - (bottom - top) * value;
  const chart = (puzzle) => {
    const ends = puzzle.attempts.map((a, i) => `attempt ${i + 1}: ${(a.q_halt.at(-1) ?? 0).toFixed(3)}`).join(", ");
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 420 146");
    svg.setAttribute("class", "chart");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `q_halt after every supervision step. After the last, ${ends}.`);
    draw(svg, "text", { x: left, y: 12 }, "q_halt: predicted probability that every cell is right");
    for (const value of [0, 0.5, 1]) {
      draw(svg, "line", { class: "axis", x1: left, x2: right, y1: yOf(value), y2: yOf(value) });
      draw(svg, "text", { x: left - 6, y: yOf(value) + 4, "text-anchor": "end" }, String(value));
    }
    const end = most ?? steps, every = Math.ceil(end / 8) || 1;
    for (let step = every; step <= end; step += every)
      draw(svg, "text", { x: xOf(step), y: bottom + 16, "text-anchor": "middle" }, String(step));
    const order = puzzle.attempts.map((_, i) => i).sort((a, b) => (a === puzzle.winner) - (b === puzzle.winner));
    for (const i of order) {
      const attempt = puzzle.attempts[i];
      const kind = i === puzzle.winner ? "winner" : "other";
      const value = (step) => attempt.q_halt[frameOf(step, cycles)];
      const points = Array.from({ length: steps }, (_, k) => `${xOf(k + 1)},${yOf(value(k + 1)).toFixed(1)}`);
      draw(svg, "polyline", { class: kind, points: points.join(" ") });
      const halt = attempt.halting_step;
      if (halt) {
        const dot = draw(svg, "circle", { class: kind, cx: xOf(halt), cy: yOf(value(halt)), r: 4 });
        draw(dot, "title", {}, `attempt ${i + 1} would halt after step ${halt}`);
      }
    }
    const line = draw(svg, "line", { class: "now", y1: top, y2: bottom, x1: 0, x2: 0 });
    return { svg, line };
  };

  // The page.
  const shown = [];
  let charts = [], boxes = [];
  const build = () => {
    size = puzzles.length ? puzzles[0].question.length : 0;
    shown.length = 0;
    charts = [];
    boxes = [];
    byId("puzzles").replaceChildren();
    for (const [number, puzzle] of puzzles.entries()) {
      puzzle.attempts.forEach(decode);
      const box = bounds(puzzle);
      boxes.push(JSON.stringify(box));
      const row = make("div", { class: "attempts" });
      // With ARC the answer does not contain the input, which is shown beside it; so is the truth.
      if (isArc) row.append(still(puzzle, box, "Input", puzzle.question));
      if (puzzle.truth) row.append(still(puzzle, box, "Truth", puzzle.truth));
      puzzle.attempts.forEach((attempt, i) => {
        const { table, cells } = board(box, sizesOf(puzzle));
        const name = puzzle.attempts.length > 1 ? `Attempt ${i + 1}` : "Answer";
        const badge = make("span", { class: "badge" });
        const caption = make("figcaption", {}, make("span", {}, name), badge);
        if (puzzle.attempts.length > 1 && attempt.way) caption.firstChild.append(make("small", {}, ` ${attempt.way}`));
        const state = make("p", { class: "state" });
        const figure = make("figure", {}, caption, table, state);
        row.append(figure);
        shown.push({ puzzle, attempt, cells, state, name, number: i, figure, table, badge });
      });
      const title = make("h2", { id: `puzzle-${number}` }, puzzle.name);
      const section = make("section", { "aria-labelledby": `puzzle-${number}` }, title, row, make("div"));
      byId("puzzles").append(section);
    }
    mark();
  };
  // Updates the parts that depend on all steps: the winner, the charts, the ranges of the sliders.
  const mark = () => {
    for (const { puzzle, attempt, name, number, figure, table, badge } of shown) {
      const wins = steps > 0 && puzzle.attempts.length > 1 && number === puzzle.winner;
      const known = attempt.solved_after || !attempt.solved || puzzle.truth;
      badge.textContent = wins ? puzzle.badge ?? (known ? "★ winner" : "most confident") : "";
      figure.classList.toggle("winner", wins);
      table.setAttribute("aria-label", `${puzzle.name}, ${name}${wins ? ", winner" : ""}`);
    }
    charts = puzzles.map((puzzle, number) => {
      const { svg, line } = chart(puzzle);
      byId("puzzles").children[number].lastChild.replaceWith(svg);
      return line;
    });
    byId("step").max = steps;
    byId("cycle").max = cycles;
  };
  const before = () => {
    if (now.step === 0) return null;
    if (now.unit === "step") return now.step === 1 ? -1 : frameOf(now.step - 1, cycles);
    return frameOf(now.step, now.cycle) - 1;
  };

  const show = () => {
    const frame = now.step ? frameOf(now.step, now.cycle) : -1;
    const earlier = before();
    const lines = [];
    for (const { puzzle, attempt, cells, state, name } of shown) {
      const tokens = tokensAt(puzzle, attempt, frame);
      const previous = earlier === null ? tokens : tokensAt(puzzle, attempt, earlier);
      let changes = 0, wrongs = 0, sure = 0, free = 0;
      for (const { td, index, edges } of cells) {
        const token = tokens[index];
        const given = token === puzzle.question[index] && !picture.open.includes(token);
        const guessed = frame >= 0 && attempt.guessed?.has(index);
        const changed = token !== previous[index];
        const wrong = frame >= 0 && attempt.wrong[frame * size + index] === 1;
        const p = frame < 0 ? 0 : attempt.confidence[frame * size + index] / 255;
        changes += changed; wrongs += wrong;
        if (!given) { sure += p; free += 1; }
        td.className = [picture.classes[token] || "", edges, given && "given", guessed && "guessed", changed && "changed",
          wrong && "wrong"].filter(Boolean).join(" ");
        td.style.setProperty("--p", frame < 0 && picture.classes.length ? 1 : p.toFixed(3));
        td.firstChild.textContent = picture.characters[token] ?? "?";
        const words = [picture.names[token] ?? "?", given && "given", guessed && "guessed", wrong && "wrong", changed && "changed"];
        td.setAttribute("aria-label", words.filter(Boolean).join(", "));
        td.title = frame < 0 ? "" : `${picture.names[token] ?? "?"}: ${(100 * p).toFixed(1)} %`;
      }
      state.replaceChildren();
      if (frame < 0) { state.append("the puzzle"); continue; }
      const solved = attempt.solved && attempt.solved[frame];
      const verdict = solved ? "solved" : attempt.solved ? (wrongs ? `${count(wrongs, "wrong cell")}` : "not solved") : "";
      const rest = [`${changes} changed`, `cells ${(100 * sure / Math.max(free, 1)).toFixed(0)}\u00a0% sure`,
        `q_halt ${attempt.q_halt[frame].toFixed(3)}`];
      if (attempt.halting_step && now.step >= attempt.halting_step && now.cycle === cycles)
        rest.push(`would have halted after step ${attempt.halting_step}`);
      if (verdict) state.append(make("strong", { class: solved ? "good" : "bad" }, verdict), ", ");
      state.append(rest.join(", "));
      lines.push(`${shown.length > 1 ? `${puzzle.name}, ${name}: ` : ""}${verdict || count(changes, "change")}`);
    }
    for (const line of charts) {
      const x = xOf(now.step ? now.step - 1 + now.cycle / cycles : 0);
      line.setAttribute("x1", x); line.setAttribute("x2", x);
    }
    byId("step").value = now.step;
    byId("cycle").value = now.cycle;
    byId("cycle").disabled = now.step === 0;
    const where = now.step ? `${now.step} of ${steps}` : "puzzle";
    byId("step-value").textContent = where;
    byId("step").setAttribute("aria-valuetext", where);
    byId("cycle-value").textContent = now.step ? `${now.cycle} of ${cycles}` : "–";
    const place = now.step ? `Step ${now.step}, H cycle ${now.cycle}. ` : "The puzzle. ";
    // While it plays, a screen reader could not keep up.
    if (!timer) byId("status").textContent = place + lines.slice(0, 4).join("; ");
  };

  const goTo = (step, cycle, unit) => {
    now.step = Math.max(0, Math.min(steps, step));
    now.cycle = now.step ? Math.max(1, Math.min(cycles, cycle)) : cycles;
    now.unit = unit;
    show();
  };
  const move = (by, unit) => {
    if (unit === "step") return goTo(now.step + by, cycles, unit);
    const frame = now.step ? frameOf(now.step, now.cycle) : -1;
    const next = Math.max(-1, Math.min(steps * cycles - 1, frame + by));
    if (next < 0) return goTo(0, cycles, unit);
    return goTo(Math.floor(next / cycles) + 1, (next % cycles) + 1, unit);
  };
  const isLast = () => now.step === steps && (steps === 0 || now.cycle === cycles);
  const pause = () => {
    clearInterval(timer);
    timer = null;
    byId("play").textContent = "Play";
    show();
  };
  const play = () => {
    if (isLast()) goTo(0, cycles, byId("unit").value);
    timer = setInterval(() => { move(1, byId("unit").value); if (isLast()) pause(); }, Number(byId("speed").value));
    byId("play").textContent = "Pause";
  };
  const toggle = () => (timer ? pause() : play());
  const byHand = (act) => () => { if (timer) pause(); act(); };

  document.body.classList.toggle("filled", picture.classes.length > 0);
  byId("step").addEventListener("input", byHand(() => goTo(Number(byId("step").value), cycles, "step")));
  byId("cycle").addEventListener("input", byHand(() => goTo(now.step, Number(byId("cycle").value), "cycle")));
  byId("play").addEventListener("click", toggle);
  byId("back").addEventListener("click", byHand(() => move(-1, byId("unit").value)));
  byId("forward").addEventListener("click", byHand(() => move(1, byId("unit").value)));
  byId("first").addEventListener("click", byHand(() => goTo(0, cycles, byId("unit").value)));
  byId("last").addEventListener("click", byHand(() => goTo(steps, cycles, byId("unit").value)));
  byId("speed").addEventListener("change", () => { if (timer) { pause(); play(); } });
  for (const [id, name] of [["show-confidence", "shade"], ["show-changed", "show-changed"], ["show-wrong", "show-wrong"]]) {
    const set = () => document.body.classList.toggle(name, byId(id).checked);
    byId(id).addEventListener("change", set);
    set();
  }
  const keys = {
    ArrowLeft: () => move(-1, "step"), ArrowRight: () => move(1, "step"),
    ArrowUp: () => move(1, "cycle"), ArrowDown: () => move(-1, "cycle"),
    Home: () => goTo(0, cycles, "step"), End: () => goTo(steps, cycles, "step"),
  };
  document.addEventListener("keydown", (event) => {
    if (byId("puzzles").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
    const at = event.target;
    // Controls with keys of their own keep them.
    if (at.tagName === "SELECT" || ["range", "number"].includes(at.type) || at.closest("#ask")) return;
    if (event.key === " " && !["BUTTON", "INPUT"].includes(at.tagName)) { event.preventDefault(); toggle(); return; }
    if (keys[event.key]) { event.preventDefault(); byHand(keys[event.key])(); }
  });
  const open = (opened) => {
    if (timer) pause();
    ({ steps, cycles, puzzles, most } = opened);
    build();
    goTo(steps, cycles, "step");
  };
  open(data);
  goTo(0, cycles, "step");
  return {
    open,
    /** Returns a board of tokens, cropped to its contents. */
    draw: (label, tokens, sizes) => drawStill(bounds({ question: tokens, attempts: [] }), label, tokens, sizes),
    /** Adds steps; goes to the last one if the last one was shown. */
    grow: (now_there) => {
      const follows = !timer && isLast();
      steps = now_there;
      // An answer of ARC may have another size than the one before it.
      if (puzzles.some((puzzle, i) => JSON.stringify(bounds(puzzle)) !== boxes[i])) build(); else mark();
      if (follows) goTo(steps, cycles, "step"); else show();
    },
  };
};
