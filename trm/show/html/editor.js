"use strict";
// The editor of a live page: a board to type or draw on. Entry: `makeBoards`, which returns the functions that `startLive` calls.
const makeBoards = (data, { complain, numberIn }) => {
  const { picture, kind, views, examples } = data;
  const cellCount = data.cells, width = picture.width;
  const rules = RULES[kind](picture);
  const byId = (id) => document.getElementById(id);
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
    // A stroke that begins on a cell of its own kind erases.
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
    if (event.target.closest?.("input, textarea")) return;
    const pasted = event.clipboardData.getData("text").replace(isMaze ? /[\r\n]/g : /[\s|+]/g, "");
    // A minus is a blank, or part of a frame.
    const text = isMaze || pasted.length === cellCount ? pasted : pasted.replaceAll("-", "");
    const found = [...text].map((c) => (isMaze ? { "#": 1, " ": 2, ".": 2, S: 3, G: 4 }[c] : /[_*?-]/.test(c) ? blank : tokenOf(c)));
    if (found.length === cellCount && !found.includes(undefined)) fill(found);
    else complain(`pasted: found ${found.length} cells${found.includes(undefined) ? ", some of them unknown" : ""}, expected ${cellCount}`);
    event.preventDefault();
  });
  byId("clear").addEventListener("click", () => fill(new Array(cellCount).fill(blank)));
  byId("example").hidden = examples.length === 0;
  byId("example").addEventListener("click", () => { example = (example + 1) % examples.length; fill(examples[example]); });
  fill(examples.length ? examples[0] : board);

  const rank = (attempt, { steps, cycles }) =>
    [attempt.solved_after ?? Infinity, -attempt.q_halt[(attempt.halting_step ?? steps) * cycles - 1]];
  return {
    ask: (count) => {
      const problem = rules.problem(board);
      if (problem) return complain(problem.text);
      const noise = numberIn("noise"), symmetric = byId("symmetries").checked, question = [...board];
      return {
        name: "Reasoning", question, truth: null, judged: true, noise, sent: { puzzle: question },
        views: Array.from({ length: count }, (_, i) => (symmetric ? i % views.length : 0)),
        way: (view, guesses = []) => [view ? "symmetry" : "as it is", noise && "with noise", guesses.length && `${guesses.length} guessed`]
          .filter(Boolean).join(", "),
      };
    },
    /** Asks again, with cells of earlier answers as given: cells that break no rule. */
    guess: (asked, earlier) => {
      const any = (count) => Math.floor(count * Math.random());
      const guesses = asked.views.map(() => {
        const { tokens, wrong } = earlier[any(earlier.length)];
        const open = [...tokens.keys()].filter((cell) => asked.question[cell] === blank && tokens[cell] > blank && !wrong[cell]);
        return Array.from({ length: Math.min(data.guesses, open.length) }, () => {
          const [cell] = open.splice(any(open.length), 1);
          return [cell, tokens[cell]];
        });
      });
      return { ...asked, guesses, views: asked.views.map(() => (byId("symmetries").checked ? any(views.length) : 0)) };
    },
    /** Chooses the winner: the attempt that obeys the rules first, or the most confident one if none does. */
    choose: (puzzle) => {
      const ranks = puzzle.attempts.map((attempt) => rank(attempt, puzzle));
      puzzle.winner = ranks.reduce((best, [after, q], i) =>
        (after < ranks[best][0] || (after === ranks[best][0] && q < ranks[best][1]) ? i : best), 0);
    },
    judge: (puzzle) => {
      const solved = puzzle.attempts.filter((attempt) => attempt.solved_after).length, many = puzzle.attempts.length;
      const after = puzzle.attempts[puzzle.winner].solved_after;
      if (!solved) return `The network did not solve it: ${many === 1 ? "its answers break the rules" + (puzzle.attempts[0].guessed.size ? "" : ", more attempts may help") : "all answers break the rules"}`;
      return many === 1 ? `The answer obeys the rules after step ${after}`
        : `${solved} of ${many} attempts obey the rules, the first after step ${after}`;
    },
  };
};
