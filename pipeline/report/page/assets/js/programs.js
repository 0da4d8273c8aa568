// The table of all programs that are shown: sorted, searched, and as fast for a hundred thousand as for ten. Only the
// rows on view are in the document.

import { announce, byId, el, table } from "./dom.js";
import { counted, intervalText, lengthText, parameterText, scoreText, wholeText } from "./format.js";
import { lookOf, mark } from "./looks.js";
import { shownCurves, shownPoints } from "./selection.js";
import { change, onChange, state } from "./state.js";
import { ALL, idOf, isProgram, pointName, study } from "./study.js";

const ROW_PIXELS = 32;
const MORE_ROWS = 12;
const SEARCHED = ["study", "task", "model", "family", "view", "parameters", "settings", "status"];
const SLOW_SEARCH_MS = 120;

const text = (name) => ({ name, of: (point) => study.points[name].at(point) });
const COLUMNS = [
  { head: "Program", width: 196, ...text("family"), show: nameCell },
  { head: "Task", width: 150, ...text("task") },
  { head: "Base model", width: 190, ...text("model") },
  { head: "Study", width: 120, ...text("study"), isShown: () => study.points.study.texts.length > 1 },
  { head: "Seed", width: 64, right: true, name: "seed", of: (point) => numberOf(study.points.seed.at(point)), show: (point) => study.points.seed.at(point) ?? "–" },
  { head: "Length", width: 96, right: true, ...text("program_length_bits"), show: (point) => lengthText(study.points.program_length_bits.at(point)) },
  { head: "Payload", width: 96, right: true, ...text("payload_bits"), show: (point) => lengthText(study.points.payload_bits.at(point)) },
  { head: "Test", width: 76, right: true, ...text("test_performance"), show: (point) => scoreText(study.points.test_performance.at(point)) },
  { head: "95% interval", width: 126, right: true, ...text("test_low"), show: (point) => intervalText(study.points.test_low.at(point), study.points.test_high.at(point)) },
  { head: "Validation", width: 92, right: true, ...text("validation_performance"), show: (point) => scoreText(study.points.validation_performance.at(point)) },
  { head: "Parameters", width: 220, ...text("parameters"), show: (point) => parameterText(study.points.parameters.at(point)) || (study.points.status_reason.at(point) ?? "") },
];

let columns = [];
let rows = [];
let body = null;
let box = null;
let focused = 0;
let timer = null;

export function startPrograms() {
  columns = COLUMNS.filter((it) => it.isShown === undefined || it.isShown());
  const search = el("input", { type: "search", id: "search", placeholder: "family, model, parameter, id", value: state.search });
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => change({ search: search.value }), SLOW_SEARCH_MS);
  });
  byId("programs-controls").replaceChildren(
    el("label", {}, "Search", search),
    el("span", { id: "programs-count", class: "note", role: "status" }),
  );
  const width = columns.reduce((sum, it) => sum + it.width, 0);
  body = el("tbody");
  const head = el("tr", {}, columns.map(headCell));
  const sizes = el("colgroup", {}, columns.map((it) => el("col", { style: `width: ${(100 * it.width) / width}%` })));
  const caption = el("caption", { class: "visually-hidden" }, "Programs. Arrow keys move between rows, Enter shows details.");
  const grid = el("table", { id: "programs-grid" }, caption, sizes, el("thead", {}, head), body);
  box = el("div", { class: "grid" }, grid);
  box.addEventListener("scroll", () => requestAnimationFrame(drawRows), { passive: true });
  body.addEventListener("click", (event) => openRow(event.target.closest("tr")));
  body.addEventListener("keydown", moveByKey);
  byId("programs-table").replaceChildren(box);
  onChange((changed) => {
    if (changed.has("point")) drawRows();
    if (changed.has("all") || changed.has("search")) search.value = state.search;
  });
}

export function drawPrograms() {
  const mask = shownPoints();
  const matches = searcher(state.search);
  rows = [];
  for (let point = 0; point < mask.length; point += 1) if (mask[point] && matches(point)) rows.push(point);
  sort();
  const number = rows.filter(isProgram).length;
  const without = rows.length - number;
  byId("programs-count").textContent = counted(number, "program") + (without > 0 ? `, ${counted(without, "cell")} without one` : "");
  byId("programs-grid").setAttribute("aria-rowcount", rows.length + 1);
  for (const [place, it] of columns.entries()) {
    const cell = byId("programs-grid").tHead.rows[0].cells[place];
    if (it.name === state.sort) cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
    cell.querySelector(".arrow").textContent = it.name === state.sort ? (state.descending ? "▾" : "▴") : "";
  }
  focused = 0;
  box.scrollTop = 0;
  drawRows();
}

// For print: the members of the frontiers over all programs, which is what a reader on paper needs.
export function drawPrintedFrontier() {
  const lines = shownCurves(ALL).flatMap((curve) =>
    study.membersOf[curve].map((point) => [
      study.curves.task.at(curve),
      study.curves.model.at(curve),
      study.points.family.at(point),
      lengthText(study.points.program_length_bits.at(point)),
      scoreText(study.points.test_performance.at(point)),
      intervalText(study.points.test_low.at(point), study.points.test_high.at(point)),
      idOf(point).slice(0, 12),
    ]),
  );
  const heads = ["Task", "Base model", "Program", "Length", "Test score", "95% interval", "Cell"];
  byId("programs-print").replaceChildren(table("Frontiers over all programs", heads, lines, { right: [3, 4, 5] }));
}

function sort() {
  const by = columns.find((it) => it.name === state.sort) ?? columns[0];
  const sign = state.descending ? -1 : 1;
  const keys = new Map(rows.map((point) => [point, by.of(point)]));
  rows.sort((one, other) => {
    const [a, b] = [keys.get(one), keys.get(other)];
    // What has no value is last either way.
    if (a === null || b === null) return (a === null) - (b === null) || one - other;
    if (a === b) return one - other;
    return a < b ? -sign : sign;
  });
}

// Whether a program has every word that was searched for. Each text is looked at once, not each row.
function searcher(search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const known = words.map((word) => SEARCHED.map((name) => study.points[name].texts.map((it) => it.toLowerCase().includes(word))));
  return (point) =>
    words.every(
      (word, place) =>
        SEARCHED.some((name, which) => known[place][which][study.points[name].values[point]]) ||
        (/^[0-9a-f]{4,}$/.test(word) && idOf(point).startsWith(word.slice(0, 16))),
    );
}

function drawRows() {
  if (body === null) return;
  const first = Math.max(0, Math.floor(box.scrollTop / ROW_PIXELS) - MORE_ROWS);
  const last = Math.min(rows.length, first + Math.ceil(box.clientHeight / ROW_PIXELS) + 2 * MORE_ROWS);
  const hadFocus = body.contains(document.activeElement);
  const shown = rows.slice(first, last).map((point, offset) => rowOf(point, first + offset));
  body.replaceChildren(gap(first), ...shown, gap(rows.length - last));
  if (hadFocus) body.querySelector(`tr[aria-rowindex="${focused + 2}"]`)?.focus({ preventScroll: true });
}

function gap(number) {
  const height = `height: ${number * ROW_PIXELS}px`;
  return el("tr", { class: "gap", "aria-hidden": "true" }, el("td", { colspan: columns.length, style: height }));
}

function rowOf(point, place) {
  const cells = columns.map((it) => {
    const shown = it.show ? it.show(point) : (it.of(point) ?? "–");
    return el("td", { class: it.right ? "right" : null, title: typeof shown === "string" ? shown : null }, shown);
  });
  return el(
    "tr",
    {
      tabindex: place === focused ? "0" : "-1",
      "data-place": place,
      "aria-rowindex": place + 2,
      "aria-selected": point === state.point ? "true" : "false",
    },
    cells,
  );
}

function nameCell(point) {
  const family = study.points.family.at(point);
  const hollow = study.points.is_imported.values[point] === 1;
  const marked = el("span", { class: study.isMember[point] ? "member" : null }, family);
  return el("span", { class: "cell-name" }, mark(lookOf("family", family), { hollow }), marked);
}

function headCell(it) {
  const press = () => {
    const same = state.sort === it.name;
    change({ sort: it.name, descending: same && !state.descending ? "yes" : "" });
    announce(`Sorted by ${it.head}, ${state.descending ? "descending" : "ascending"}`);
  };
  const arrow = el("span", { class: "arrow", "aria-hidden": "true" });
  return el("th", { scope: "col", class: it.right ? "right" : null }, el("button", { type: "button", onclick: press }, it.head, arrow));
}

function openRow(row) {
  if (row === null || row.dataset.place === undefined) return;
  focused = Number(row.dataset.place);
  change({ point: rows[focused] });
}

const MOVES = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity };

function moveByKey(event) {
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    openRow(event.target.closest("tr"));
    return;
  }
  if (!(event.key in MOVES)) return;
  event.preventDefault();
  focused = Math.max(0, Math.min(rows.length - 1, focused + MOVES[event.key]));
  const top = focused * ROW_PIXELS;
  if (top < box.scrollTop) box.scrollTop = top;
  // The head of the table covers its first row.
  if (top + 2 * ROW_PIXELS > box.scrollTop + box.clientHeight) box.scrollTop = top + 2 * ROW_PIXELS - box.clientHeight;
  drawRows();
  announce(`${wholeText(focused + 1)} of ${wholeText(rows.length)}: ${pointName(rows[focused])}`);
}

function numberOf(value) {
  return value === null ? null : Number(value);
}
