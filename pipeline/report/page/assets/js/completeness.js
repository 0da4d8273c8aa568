// What became of the plan, and what the programs cost.

import { byId, el, table } from "./dom.js";
import { counted, shortText, wholeText } from "./format.js";
import { lookOf, mark } from "./looks.js";
import { shownPoints } from "./selection.js";
import { isProgram, study, valuesOf } from "./study.js";

const HOUR = 3600;
const STATES = [
  ["num_ok", "programs", "#009e73"],
  ["num_infeasible", "infeasible", "#767676"],
  ["num_failed", "failed", "#d55e00"],
  ["num_missing", "missing", "#e69f00"],
  ["num_unresolved", "of base models that are not staged", "#cc79a7"],
];

export function drawCompleteness() {
  byId("completeness-body").replaceChildren(...study.completeness.map(studyBox));
}

export function drawCost() {
  const { points } = study;
  const mask = shownPoints();
  const sums = new Map(valuesOf("family").map((family) => [family, emptySum()]));
  for (let point = 0; point < points.rows; point += 1) {
    if (mask[point]) add(sums.get(points.family.at(point)), point);
  }
  const total = emptySum();
  const shown = [...sums].filter(([, sum]) => sum.programs + sum.infeasible > 0);
  for (const [, sum] of shown) for (const name of Object.keys(total)) total[name] += sum[name];
  const heads = ["Program family", "Programs", "Infeasible", "Core-hours", "Device-hours", "Tokens trained on", "Tokens generated"];
  const rows = shown.map(([family, sum]) => [el("span", { class: "cell-name" }, mark(lookOf("family", family)), " ", family), ...cells(sum)]);
  byId("cost-table").replaceChildren(
    table("Sums over the programs that the filters leave", heads, rows, { right: [1, 2, 3, 4, 5, 6], foot: ["all", ...cells(total)] }),
  );
}

function cells(sum) {
  const hours = (seconds) => (seconds === 0 ? "–" : shortText(seconds / HOUR));
  const tokens = (number) => (number === 0 ? "–" : shortText(number));
  return [wholeText(sum.programs), wholeText(sum.infeasible), hours(sum.cpu), hours(sum.gpu), tokens(sum.trained), tokens(sum.generated)];
}

function emptySum() {
  return { programs: 0, infeasible: 0, cpu: 0, gpu: 0, trained: 0, generated: 0 };
}

function add(sum, point) {
  const { points } = study;
  sum[isProgram(point) ? "programs" : "infeasible"] += 1;
  sum.cpu += points.cpu_seconds.at(point) ?? 0;
  sum.gpu += points.gpu_seconds.at(point) ?? 0;
  sum.trained += points.train_tokens.at(point) ?? 0;
  sum.generated += points.generated_tokens.at(point) ?? 0;
}

function studyBox(it) {
  const states = STATES.filter(([key]) => it[key] > 0);
  const done = (it.num_ok ?? 0) + (it.num_infeasible ?? 0);
  const planned = it.num_planned ?? 0;
  const said = planned === 0 ? [] : [`${wholeText(done)} of ${counted(planned, "planned cell")} are done.`];
  if (it.num_imported > 0) said.push(`${counted(it.num_imported, "result")} that others published, of no plan.`);
  return el(
    "div",
    { class: "study" },
    study.completeness.length > 1 ? el("h3", {}, it.study) : null,
    el("p", {}, said.join(" ")),
    planned === 0
      ? null
      : el("div", { class: "progress", "aria-hidden": "true" }, states.map(([key, , colour]) => el("i", { style: `flex: ${it[key]}; background: ${colour}` }))),
    el("div", { class: "states" }, states.map(([key, name, colour]) => el("span", { style: `--state: ${colour}` }, el("b", {}, wholeText(it[key])), ` ${name}`))),
    failures(it),
    list("missing", it.num_missing, it.missing.map((label) => [label, null])),
    list("in quarantine", it.num_quarantined, it.quarantined),
    it.num_outside > 0 ? el("p", { class: "note" }, `${counted(it.num_outside, "shard")} outside of the plan, left out.`) : null,
    it.num_duplicates > 0 ? el("p", { class: "note" }, `${counted(it.num_duplicates, "cell")} with shards in several folders.`) : null,
  );
}

// Failed cells by cause, some of each with their last messages.
function failures(it) {
  return it.failures.map(({ cause, number, examples }) => list(`failed: ${cause}`, number, examples.map(({ label, message }) => [label, message])));
}

function list(name, number, entries) {
  if (!number) return null;
  return el(
    "details",
    {},
    el("summary", {}, `${wholeText(number)} ${name}`),
    entries.map(([label, more]) => [el("div", {}, label), more ? el("pre", {}, more) : null]),
    number > entries.length ? el("p", { class: "note" }, `and ${wholeText(number - entries.length)} more`) : null,
  );
}
