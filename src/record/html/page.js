(function () {
"use strict";
// A file that was appended to has this script once for each run.
if (window.tcpreen) return;
window.tcpreen = true;
const root = document.documentElement;
root.classList.add("js");
const PAGE = 400, SILENCE = 100, SHOWN = 4096;
let sessions = [], shown = [], current = null, mode = "both", query = "", drawn = 0;
let app, list, main, box, count, rows, buttons;

// Text is only ever put into text nodes: nothing in a record becomes markup.
function make(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function read() {
  const found = new Map();
  for (const node of document.querySelectorAll("body > [data-s]")) {
    const d = node.dataset;
    let session = found.get(d.s);
    if (!session) {
      session = { name: d.i || d.s, head: d.h || "session " + d.s, start: Number(d.t), last: 0, sum: [0, 0], end: "", bad: false, events: [] };
      found.set(d.s, session);
    }
    const time = Number(d.t) || 0;
    session.last = Math.max(session.last, time);
    if (d.k === "s") continue;
    const event = { kind: d.k, side: node.classList.contains("v") ? 1 : 0, time, node };
    if (d.k === "d") {
      event.size = Number(d.n); event.at = Number(d.o);
      session.sum[event.side] += event.size;
    }
    if (d.k === "z") { session.end = node.textContent; session.bad = node.classList.contains("bad"); }
    session.events.push(event);
  }
  return [...found.values()];
}

function text(event) { return event.kind === "d" ? (event.node.lastChild || event.node).textContent : event.node.textContent; }

function bytes(event) {
  let raw = "";
  try { raw = atob(event.node.dataset.b || ""); } catch (error) { /* cut */ }
  return raw;
}

function hex(raw, at) {
  let out = "";
  for (let row = 0; row < raw.length; row += 8) {
    let digits = "", seen = "";
    for (let i = row; i < Math.min(row + 8, raw.length); i++) {
      const code = raw.charCodeAt(i);
      digits += code.toString(16).padStart(2, "0") + " ";
      seen += code > 31 && code < 127 ? raw[i] : ".";
    }
    out += (at + row).toString(16).padStart(8, "0") + "  " + digits.padEnd(24) + " |" + seen + "|\n";
  }
  return out;
}

function size(n) { return n < 10000 ? n + " B" : n < 1e7 ? (n / 1024).toFixed(0) + " KiB" : (n / 1048576).toFixed(1) + " MiB"; }
function span(ms) { return ms < 10 ? ms.toFixed(3) + " ms" : ms < 1000 ? ms.toFixed(0) + " ms" : (ms / 1000).toFixed(3) + " s"; }

function marked(string) {
  if (!query) return [string];
  const parts = [], low = string.toLowerCase();
  let from = 0;
  if (low.length !== string.length) return [string];
  for (let at = low.indexOf(query); at >= 0 && parts.length < 2000; at = low.indexOf(query, from)) {
    parts.push(string.slice(from, at), make("mark", {}, string.slice(at, at + query.length)));
    from = at + query.length;
  }
  parts.push(string.slice(from));
  return parts;
}

function cell(event) {
  const cell = make("div");
  const whole = text(event), raw = mode === "text" ? "" : bytes(event);
  if (mode !== "hex") cell.append(make("div", { class: "t" }, ...marked(whole.slice(0, SHOWN)), whole.length > SHOWN ? "\n…" : ""));
  if (mode !== "text" && raw) cell.append(make("div", { class: "t hex", tabindex: "0" }, hex(raw.slice(0, SHOWN), event.at), raw.length > SHOWN ? "… " + size(raw.length - SHOWN) + " more" : ""));
  return cell;
}

function row(event) {
  if (event.kind !== "d") {
    const bad = event.kind === "n" || event.node.classList.contains("bad") ? " bad" : "";
    return make("div", { class: "row" }, make("div", { class: "say" + bad }, event.node.textContent));
  }
  const bar = make("i");
  bar.style.width = Math.min(100, 4 + 8 * Math.log2(1 + event.size)) + "%";
  const arrow = event.side ? "◀ " : "", back = event.side ? "" : " ▶";
  const axis = make("div", { class: "axis" }, ((event.time - current.start) / 1000).toFixed(6), make("div", { class: "bar" }, bar), arrow + size(event.size) + back);
  const node = make("div", { class: "row " + (event.side ? "v" : "c") });
  if (event.side) node.append(make("div"), axis, cell(event)); else node.append(cell(event), axis, make("div"));
  return node;
}

function gap(ms) {
  const axis = make("div", { class: "axis" }, span(ms));
  axis.style.minHeight = Math.min(120, 16 + 14 * Math.log10(ms / SILENCE + 1)) + "px";
  return make("div", { class: "row gap" }, make("div"), axis, make("div"));
}

function draw() {
  document.getElementById("more")?.remove();
  const until = Math.min(drawn + PAGE, current.events.length);
  let before = drawn ? current.events[drawn - 1].time : current.start;
  for (; drawn < until; drawn++) {
    const event = current.events[drawn];
    if (event.time - before >= SILENCE) rows.append(gap(event.time - before));
    before = Math.max(before, event.time);
    rows.append(row(event));
  }
  if (drawn < current.events.length) {
    const more = make("button", { id: "more" }, "more: " + (current.events.length - drawn) + " events");
    more.addEventListener("click", draw);
    rows.append(more);
  }
}

function open(session) {
  current = session;
  for (const item of list.children) item.setAttribute("aria-selected", String(item.session === session));
  main.replaceChildren();
  if (!session) { main.append(make("p", {}, "No session matches.")); return; }
  const modes = make("div", { id: "modes", role: "group", "aria-label": "What is shown" });
  buttons = ["text", "hex", "both"].map((name) => {
    const button = make("button", { "aria-pressed": String(name === mode), title: "key " + name[0] }, name);
    button.addEventListener("click", () => show(name));
    return button;
  });
  modes.append(...buttons);
  main.append(make("div", { id: "head" }, make("b", {}, session.head), make("span", { class: session.bad ? "bad" : "" }, session.end || "open"), modes));
  main.append(make("div", { class: "row names" }, make("div", {}, "client, " + size(session.sum[0])), make("div", { class: "axis" }, "seconds"), make("div", {}, "server, " + size(session.sum[1]))));
  rows = make("div");
  main.append(rows);
  drawn = 0;
  main.scrollTop = 0;
  draw();
  if (query) { while (drawn < session.events.length && drawn < 20 * PAGE && !rows.querySelector("mark")) draw(); rows.querySelector("mark")?.scrollIntoView({ block: "center" }); }
}

function show(name) { mode = name; if (current) open(current); }

function search() {
  query = box.value.toLowerCase();
  shown = query ? sessions.filter((it) => it.head.toLowerCase().includes(query) || it.events.some((event) => text(event).toLowerCase().includes(query))) : sessions;
  list.replaceChildren(...shown.map((session) => {
    const item = make("li", { role: "option", "aria-selected": "false" },
      make("b", {}, session.head),
      make("span", { class: session.bad ? "bad" : "" }, session.end || "open"),
      make("span", {}, session.events.length + " events, " + size(session.sum[0]) + " ▶ ◀ " + size(session.sum[1])));
    item.session = session;
    item.addEventListener("click", () => open(session));
    return item;
  }));
  count.textContent = shown.length + " of " + sessions.length + " sessions";
  open(shown.includes(current) ? current : shown[0]);
}

function step(by) {
  const next = shown[Math.max(0, Math.min(shown.length - 1, shown.indexOf(current) + by))];
  if (next && next !== current) { open(next); list.children[shown.indexOf(next)].scrollIntoView({ block: "nearest" }); }
}

function key(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target === box) { if (event.key === "Escape") { box.value = ""; search(); box.blur(); } return; }
  const action = { "/": () => box.focus(), j: () => step(1), k: () => step(-1), t: () => show("text"), h: () => show("hex"), b: () => show("both") }[event.key];
  if (action) { event.preventDefault(); action(); }
}

function begin() {
  sessions = read();
  box = make("input", { id: "q", type: "search", placeholder: "search in all sessions ( / )", "aria-label": "search" });
  count = make("div", { id: "count", role: "status" });
  list = make("ul", { id: "list", role: "listbox", "aria-label": "sessions", tabindex: "0" });
  main = make("main", { id: "main", tabindex: "0" });
  app = make("div", { id: "app" }, make("div", { id: "side" }, make("div", { id: "top" }, make("h1", {}, "tcpreen"), box, count), list), main);
  document.body.append(app);
  let timer = 0;
  box.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 150); });
  document.addEventListener("keydown", key);
  const wanted = decodeURIComponent(location.hash.slice(1));
  if (wanted) box.value = wanted;
  search();
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin); else begin();
})();
