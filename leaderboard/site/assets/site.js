"use strict";
// Tables that sort and filter, a list of samples that shows one page at a time, and a player of frames with masks.

function cellValue(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = parseFloat(text);
  return Number.isNaN(number) ? text.toLowerCase() : number;
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1; // what has no number comes last
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const down = head.classList.contains("number")
        ? head.getAttribute("aria-sort") !== "descending"
        : head.getAttribute("aria-sort") === "ascending";
      heads.forEach((h) => h.querySelector("button") && h.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [cellValue(row, column), row]);
      rows.sort((x, y) => (typeof x[0] !== typeof y[0] ? compare(x[0], y[0]) : (down ? -1 : 1) * compare(x[0], y[0])));
      body.append(...rows.map((pair) => pair[1]));
    });
  });
}

function makeFilterable(board) {
  const rows = [...board.querySelector("table").tBodies[0].rows].map((row) => [row.textContent.toLowerCase(), row]);
  const input = board.querySelector("input[type=search]");
  const select = board.querySelector("select");
  const count = board.querySelector(".count");
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const group = select ? select.value : "";
    let shown = 0;
    for (const [text, row] of rows) {
      const fits = words.every((word) => text.includes(word)) && (!group || row.dataset.group === group);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  input.addEventListener("input", apply);
  if (select) select.addEventListener("change", apply);
  apply();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".board").forEach((board) => board.querySelector("input[type=search]") && makeFilterable(board));

// Samples -------------------------------------------------------------------------------------------------------------

const PAGE = 50;

function sampleList(root, data) {
  const body = root.querySelector("tbody");
  const count = root.querySelector(".count");
  const input = root.querySelector("input[type=search]");
  const [back, next] = root.querySelectorAll(".pages button");
  const texts = data.rows.map((row) => row.slice(0, 3).join(" ").toLowerCase());
  let order = data.rows.map((_, i) => i);
  let found = order;
  let page = 0;

  function draw() {
    const rows = found.slice(page * PAGE, (page + 1) * PAGE).map((i) => {
      const row = document.createElement("tr");
      data.rows[i].forEach((value, column) => {
        const cell = document.createElement(column ? "td" : "th");
        if (column === 0) {
          cell.scope = "row";
          if (value in data.viewable) {
            const link = document.createElement("a");
            link.href = `#${encodeURIComponent(value)}`;
            link.textContent = value;
            cell.append(link);
          } else cell.textContent = value;
        } else if (column > 2) {
          cell.className = "number";
          cell.textContent = value === null ? "–" : value.toFixed(1);
        } else cell.textContent = value;
        row.append(cell);
      });
      return row;
    });
    body.replaceChildren(...rows);
    count.textContent = `${found.length} of ${data.rows.length} samples, page ${page + 1} of ${Math.max(1, Math.ceil(found.length / PAGE))}`;
    back.disabled = page === 0;
    next.disabled = (page + 1) * PAGE >= found.length;
  }

  function filter() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = order.filter((i) => words.every((word) => texts[i].includes(word)));
    page = 0;
    draw();
  }

  const heads = [...root.querySelectorAll("thead th")];
  heads.forEach((head, column) =>
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((h) => h.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = down ? -1 : 1;
      order = [...order].sort((a, b) => sign * compare(data.rows[a][column] ?? -1, data.rows[b][column] ?? -1));
      filter();
    }));
  back.addEventListener("click", () => { page -= 1; draw(); });
  next.addEventListener("click", () => { page += 1; draw(); });
  input.addEventListener("input", filter);
  draw();
}

function player(root, data) {
  const canvas = root.querySelector("canvas");
  const context = canvas.getContext("2d");
  const layer = document.createElement("canvas");
  const slider = root.querySelector("input[type=range]");
  const button = root.querySelector("button.play");
  const title = root.querySelector(".sentence");
  const state = root.querySelector(".state");
  const boxes = [...root.querySelectorAll("fieldset input")];
  let sample = null;
  let images = [];
  let timer = null;

  // Masks are drawn on a layer of their own: pixels of pictures opened from the disk may not be read back.
  function paint(runs, colour, filled) {
    const { width, height } = canvas;
    const inside = new Uint8Array(width * height);
    let at = 0;
    runs.forEach((length, i) => { if (i % 2) inside.fill(1, at, at + length); at += length; });
    const pixels = new ImageData(width, height);
    for (let i = 0; i < inside.length; i++) {
      if (!inside[i]) continue;
      const x = i % width;
      const edge = x === 0 || x === width - 1 || !inside[i - 1] || !inside[i + 1] || !inside[i - width] || !inside[i + width];
      if (!edge && !filled) continue;
      pixels.data.set([...colour, edge ? 255 : 90], 4 * i);
    }
    layer.width = width;
    layer.height = height;
    layer.getContext("2d").putImageData(pixels, 0, 0);
    context.drawImage(layer, 0, 0);
  }

  function draw() {
    if (!sample) return;
    const t = Number(slider.value);
    context.drawImage(images[t], 0, 0, canvas.width, canvas.height);
    const order = boxes.map((_, i) => (i + 1) % boxes.length); // the ground truth is outlined on top of all
    order.forEach((i) => {
      const mask = sample.masks[i][t];
      if (boxes[i].checked && mask) paint(mask, data.colours[i], i > 0);
    });
    slider.setAttribute("aria-valuetext", `frame ${sample.names[t]}`);
    state.textContent = `frame ${sample.names[t]}, ${t + 1} of ${sample.names.length}`;
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  }

  function toggle() {
    if (timer) return stop();
    button.textContent = "Pause";
    timer = setInterval(() => { slider.value = (Number(slider.value) + 1) % sample.names.length; draw(); }, 200);
  }

  window.rvosSample = async (loaded) => {
    images = await Promise.all(loaded.frames.map((src) => new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = reject;
      image.src = src;
    })));
    stop();
    sample = loaded;
    canvas.width = loaded.width;
    canvas.height = loaded.height;
    canvas.setAttribute("aria-label", `Frames of ${loaded.key} with masks`);
    slider.max = loaded.names.length - 1;
    slider.value = 0;
    title.textContent = `“${loaded.text}” (${loaded.key})`;
    draw();
    root.dataset.shown = loaded.key;
  };

  function open() {
    const key = decodeURIComponent(location.hash.slice(1));
    const number = data.viewable[key] ?? Object.values(data.viewable)[0];
    const script = document.createElement("script");
    script.src = `${data.folder}/${number}.js`;
    document.head.append(script);
    if (key) root.scrollIntoView({ block: "nearest" });
  }

  button.addEventListener("click", toggle);
  slider.addEventListener("input", draw);
  boxes.forEach((box) => box.addEventListener("change", draw));
  window.addEventListener("hashchange", open);
  open();
}

if (window.RVOS_SAMPLES) {
  const list = document.querySelector(".samples");
  if (list) sampleList(list, window.RVOS_SAMPLES);
  const view = document.querySelector(".viewer");
  if (view) player(view, window.RVOS_SAMPLES);
}
