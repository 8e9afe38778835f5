"use strict";
// The table of all units: reads the packed columns, filters, sorts, shows a page of rows at a time.
(() => {
  const PAGE = 25, LEAST = -70, FIRST = 4, SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("explorer-data").textContent);
  const code = new Uint8Array(128);
  [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"].forEach((c, i) => {
    code[c.charCodeAt(0)] = i;
  });

  // Columns of all units, one group (a layer at a site and a step) after the other.
  const total = data.groups.reduce((sum, group) => sum + group.size, 0);
  const width = data.columns.length;
  const values = data.columns.map(() => new Float64Array(total));
  const groupOf = new Uint32Array(total), unit = new Float64Array(total);
  const flags = new Uint8Array(total), shape = new Uint8Array(total);
  const pictures = new Map();
  const starts = [];

  function unpack(text, at) {
    const packed = (code[text.charCodeAt(at)] << 12) | (code[text.charCodeAt(at + 1)] << 6)
      | code[text.charCodeAt(at + 2)];
    if (packed < FIRST) return [NaN, 0, Infinity, -Infinity][packed];
    const rest = packed - FIRST, half = rest >> 1;
    const power = Math.floor(half / 900) + LEAST - 2, digits = half % 900 + 100;
    // 10 ** -power is exact up to 22: dividing by it gives the nearest number, as in the tables.
    const size = power < 0 ? digits / 10 ** -power : digits * 10 ** power;
    return rest & 1 ? -size : size;
  }

  let start = 0;
  data.groups.forEach((group, g) => {
    starts.push(start);
    for (let i = 0; i < group.size; i++) {
      groupOf[start + i] = g;
      unit[start + i] = group.ids ? group.ids[i] : i;
      flags[start + i] = code[group.flags.charCodeAt(i)];
      shape[start + i] = code[group.shapes.charCodeAt(i)];
    }
    for (let c = 0; c < width; c++) {
      for (let i = 0; i < group.size; i++) {
        values[c][start + i] = unpack(group.values, 3 * (c * group.size + i));
      }
    }
    group.drawn.forEach(([i, row]) => pictures.set(start + i, `#unit-${data.places[group.layer]}-${row}`));
    start += group.size;
  });

  const nameOf = (i) => {
    const group = data.groups[groupOf[i]], own = group.names && group.names[i - starts[groupOf[i]]];
    return own || `Unit ${count(unit[i])}`;
  };

  // Numbers as on the rest of the page.
  const thin = (text) => text.replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const count = (n) => thin(String(n)).replace("-", "\u2212");
  const raised = (text) => [...text].map((c) => c === "-" ? "\u207b" : "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[c]).join("");
  function number(value) {
    if (Number.isNaN(value)) return "\u2013";
    if (!Number.isFinite(value)) return value > 0 ? "\u221e" : "\u2212\u221e";
    if (value === 0) return "0";
    const [mantissa, power] = value.toExponential(2).split("e");
    const exponent = Number(power);
    const short = (text) => text.includes(".") ? text.replace(/\.?0+$/, "") : text;
    if (exponent < -3 || exponent >= 6) {
      return `${short(mantissa)} \u00d7 10${raised(String(exponent))}`.replace("-", "\u2212");
    }
    const [whole, part] = short(value.toFixed(Math.max(0, 2 - exponent))).split(".");
    const sign = whole.startsWith("-") ? "\u2212" : "";
    return sign + thin(whole.replace("-", "")) + (part ? `.${part}` : "");
  }

  // What is asked for: kept in the address, so that a view can be linked to.
  const form = byId("explorer-form"), head = byId("explorer-head"), body = byId("explorer-rows");
  const keys = data.columns.map(([key]) => key);
  const steps = [...new Set(data.groups.map((group) => group.step))].sort((a, b) => a - b);
  const initial = { sort: "kl_maxent", dir: "desc", page: 0 };
  const state = { ...initial };
  let chosen = [];

  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function options(name, items, every) {
    const select = form.elements.namedItem(name);
    const listed = every === undefined ? items : [["", every], ...items];
    listed.forEach(([value, label]) => select.append(element("option", label, { value })));
    select.closest("label").hidden = items.length < 2;
  }

  function sketch(group, i) {
    const drawing = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
    let outline = "M0 63";
    for (let b = 0; b < data.bars; b++) {
      outline += `V${63 - code[group.bars.charCodeAt(data.bars * i + b)]}h4`;
    }
    path.setAttribute("d", outline + "V63z");
    drawing.setAttribute("class", "sketch");
    drawing.setAttribute("viewBox", `0 0 ${4 * data.bars} 63`);
    drawing.setAttribute("preserveAspectRatio", "none");
    drawing.setAttribute("aria-hidden", "true");
    drawing.append(path);
    return drawing;
  }

  function row(i) {
    const g = groupOf[i], group = data.groups[g], made = element("tr");
    const name = element("th", undefined, { scope: "row" }), link = pictures.get(i);
    name.append(link ? element("a", nameOf(i), { href: link }) : nameOf(i));
    const where = element("td", data.layers[group.layer], { class: "where" });
    const detail = [];
    if (data.sites.length > 1) detail.push(data.short[group.site]);
    if (steps.length > 1) detail.push(`step ${count(group.step)}`);
    if (detail.length) where.append(element("small", detail.join(" \u00b7 ")));
    const said = data.flags.filter((_, bit) => flags[i] & (1 << bit)).map(([, label]) => label);
    const verdicts = element("td", said.join(", "), { class: "verdicts" });
    verdicts.append(element("small", data.shapes[shape[i]]));
    made.append(name, where, verdicts);
    if (data.bars) {
      const cell = element("td");
      cell.append(sketch(group, i - starts[g]));
      made.append(cell);
    }
    values.forEach((column) => made.append(element("td", number(column[i]), { class: "number" })));
    return made;
  }

  function filter() {
    const asked = new FormData(form), word = asked.get("search").trim().toLowerCase();
    const layer = asked.get("layer"), site = asked.get("site"), step = asked.get("step");
    const mask = asked.getAll("flag").reduce((sum, key) => sum | (1 << data.flags.findIndex(([f]) => f === key)), 0);
    const column = values[keys.indexOf(asked.get("column"))];
    const limit = asked.get("limit").trim() === "" ? NaN : Number(asked.get("limit"));
    const above = asked.get("relation") !== "below";
    const inside = data.groups.map((group) =>
      (layer === "" || group.layer === Number(layer))
      && (site === "all" || (site === "" ? group.main : group.site === Number(site)))
      && (step === "all" || (step === "" ? group.last : group.step === Number(step))));
    const found = data.groups.map((group) => data.layers[group.layer].toLowerCase().includes(word));
    const matches = (i) => found[groupOf[i]] || String(unit[i]) === word || nameOf(i).toLowerCase().includes(word);
    chosen = [];
    for (let i = 0; i < total; i++) {
      if (!inside[groupOf[i]] || (mask && !(flags[i] & mask))) continue;
      if (!Number.isNaN(limit) && !(above ? column[i] >= limit : column[i] <= limit)) continue;
      if (word && !matches(i)) continue;
      chosen.push(i);
    }
  }

  function sort() {
    const column = state.sort === "unit" ? unit : state.sort === "layer" ? groupOf : values[keys.indexOf(state.sort)];
    const sign = state.dir === "asc" ? 1 : -1;
    chosen.sort((a, b) => {
      const x = column[a], y = column[b];
      if (x === y || (x !== x && y !== y)) return a - b;
      return x !== x ? 1 : y !== y ? -1 : sign * (x < y ? -1 : 1);  // what is missing comes last
    });
  }

  function show() {
    const pages = Math.max(1, Math.ceil(chosen.length / PAGE));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    body.replaceChildren(...chosen.slice(PAGE * state.page, PAGE * (state.page + 1)).map(row));
    byId("explorer-count").textContent = `${count(chosen.length)} of ${count(total)} units, page ${count(state.page + 1)} of ${count(pages)}`;
    byId("explorer-back").disabled = state.page === 0;
    byId("explorer-on").disabled = state.page >= pages - 1;
    for (const cell of head.querySelectorAll("th[data-sort]")) {
      const here = cell.dataset.sort === state.sort;
      cell.setAttribute("aria-sort", here ? (state.dir === "asc" ? "ascending" : "descending") : "none");
    }
  }

  function update(again = true) {
    if (again) { filter(); sort(); }
    show();
  }

  function remember() {
    const asked = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value !== "" && value !== "above") asked.append(name, value);
    if (!asked.has("limit")) asked.delete("column");
    for (const name of ["sort", "dir", "page"]) if (state[name] !== initial[name]) asked.set(name, state[name]);
    const text = asked.toString();
    try { history.replaceState(null, "", text ? `#units?${text}` : "#units"); } catch { /* a frame without address */ }
  }

  function recall() {
    const [place, text] = location.hash.split("?");
    if (place !== "#units" || text === undefined) return false;
    const asked = new URLSearchParams(text);
    form.reset();
    for (const field of form.elements) {
      if (field.type === "checkbox") field.checked = asked.getAll("flag").includes(field.value);
      else if (field.name && asked.has(field.name)) field.value = asked.get(field.name);
      if (field.tagName === "SELECT" && field.selectedIndex < 0) field.selectedIndex = 0;
    }
    state.sort = [...keys, "unit", "layer"].includes(asked.get("sort")) ? asked.get("sort") : initial.sort;
    state.dir = asked.get("dir") === "asc" ? "asc" : "desc";
    state.page = Number(asked.get("page")) || 0;
    update();
    byId("units").scrollIntoView();
    return true;
  }

  const numbered = (names) => names.map((name, i) => [i, name]);
  const past = data.groups.some((group) => !group.last);
  options("layer", numbered(data.layers), "every layer");
  const aside = data.groups.some((group) => !group.main);
  options("site", aside ? [["all", "every site"], ...numbered(data.sites)] : [], "before the nonlinearity");
  options("step", past ? [["all", "every step"], ...steps.map((step) => [step, count(step)])] : [], "the last");
  options("column", data.columns);
  if (!data.bars) head.querySelector(".drawn").remove();

  form.addEventListener("input", () => { state.page = 0; update(); remember(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("explorer-clear").addEventListener("click", () => {
    form.reset();
    Object.assign(state, initial);
    update();
    remember();
  });
  head.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const key = button.closest("th").dataset.sort;
    const first = key === "unit" || key === "layer" ? "asc" : "desc";
    state.dir = state.sort === key ? (state.dir === "asc" ? "desc" : "asc") : first;
    Object.assign(state, { sort: key, page: 0 });
    update();
    remember();
  });
  byId("explorer-back").addEventListener("click", () => { state.page--; update(false); remember(); });
  byId("explorer-on").addEventListener("click", () => { state.page++; update(false); remember(); });
  window.addEventListener("hashchange", recall);

  byId("explorer-live").hidden = false;
  byId("explorer-static").hidden = true;
  if (!recall()) update();
})();
