// What the page shows, as the other modules ask for it. Set once, before anything is drawn.

import { column } from "./packed.js";

export const ALL = "all";
export const FACETS = ["study", "task", "model", "stage", "family", "view", "seed"];
export const FACET_NAMES = {
  study: "Study",
  task: "Task",
  model: "Base model",
  stage: "Stage of training",
  family: "Program family",
  view: "View",
  seed: "Seed",
};

// Filled by `setStudy`.
export const study = {};

export function setStudy({ header, tables }) {
  Object.assign(study, header, tables);
  study.standing = new Map(header.standings.map((it) => [it.model, it]));
  study.modelOrder = new Map(header.standings.map((it, place) => [it.model, place]));
  addStages(study.points);
  addStages(study.curves);
  study.membersOf = Array.from({ length: study.curves.rows }, () => []);
  for (let row = 0; row < study.members.rows; row += 1) {
    study.membersOf[study.members.curve.values[row]].push(study.members.point.values[row]);
  }
  study.isMember = new Uint8Array(study.points.rows);
  study.curveNumbers = [...study.membersOf.keys()];
  for (const curve of curvesOf(ALL)) for (const point of study.membersOf[curve]) study.isMember[point] = 1;
  study.largest = largestBits();
  // Whether some programs are not what others published: only then it is worth saying which are.
  study.hasOwn = study.points.is_imported.values.includes(0);
}

// Numbers of the curves of a kind of scope: "all", "view", "family" or "seed".
export function curvesOf(kind) {
  return study.curveNumbers.filter((curve) => scopeOf(curve).kind === kind);
}

export function scopeOf(curve) {
  const scope = study.curves.scope.at(curve);
  const colon = scope.indexOf(":");
  return colon < 0 ? { kind: scope, name: null } : { kind: scope.slice(0, colon), name: scope.slice(colon + 1) };
}

// Score that a program was chosen by.
export function chosenScore(point) {
  return study.points[`${study.points.select.at(point)}_performance`].at(point);
}

// A cell whose budget holds no program is a point without one.
export function isProgram(point) {
  return study.points.program_length_bits.at(point) !== null;
}

export function higherIsBetter(task) {
  return study.tasks.get(task)?.higher ?? true;
}

// A program in a few words, for announcements.
export function pointName(point) {
  const { points } = study;
  return `${points.family.at(point)}, ${points.task.at(point)}, ${points.model.at(point)}`;
}

export function idOf(point) {
  const bytes = study.identities.bytes.values;
  let id = "";
  for (let place = 8 * point; place < 8 * point + 8; place += 1) id += bytes[place].toString(16).padStart(2, "0");
  return id;
}

export function pointOfId(id) {
  for (let point = 0; point < study.points.rows; point += 1) if (idOf(point) === id) return point;
  return null;
}

// Values of a facet that occur, in the order in which people expect them; null last.
export function valuesOf(facet) {
  const { values, texts } = study.points[facet];
  const found = new Set(values);
  const known = texts.filter((_, code) => found.has(code));
  const order = {
    model: (text) => study.modelOrder.get(text),
    stage: (text) => study.stages.indexOf(text),
    family: (text) => Object.keys(study.looks.family).indexOf(text),
    view: (text) => Object.keys(study.looks.view).indexOf(text),
    seed: (text) => Number(text),
  }[facet];
  if (order) known.sort((one, other) => order(one) - order(other));
  return found.has(-1) ? [...known, null] : known;
}

// Best score within a length, by the score that the curve was chosen by; null where every member is longer.
export function bestWithin(curve, bits) {
  const within = study.membersOf[curve].filter((point) => study.points.program_length_bits.at(point) <= bits);
  return within.at(-1) ?? null;
}

// The shortest member that reaches a score, null where none does.
export function shortestReaching(curve, target) {
  const sign = higherIsBetter(study.curves.task.at(curve)) ? 1 : -1;
  return study.membersOf[curve].find((point) => sign * chosenScore(point) >= sign * target) ?? null;
}

// 95% interval in bits of the shortest member whose true score reaches a target, by the rule of `reduce/complexity.py`;
// null without intervals of the members, an end null where it is not established.
export function complexityInterval(curve, target) {
  const { points } = study;
  const sign = higherIsBetter(study.curves.task.at(curve)) ? 1 : -1;
  const [lowest, highest] = sign > 0 ? [points.test_low, points.test_high] : [points.test_high, points.test_low];
  const members = study.membersOf[curve];
  if (members.some((point) => lowest.at(point) === null)) return null;
  const bits = (point) => (point === undefined ? null : points.program_length_bits.at(point));
  const low = members.find((point) => sign * highest.values[point] >= sign * target);
  const lastBelow = members.findLastIndex((point) => sign * lowest.values[point] < sign * target);
  return [bits(low), bits(members[lastBelow + 1])];
}

function addStages(rows) {
  const codes = rows.model.texts.map((model) => study.stages.indexOf(study.standing.get(model).stage));
  rows.stage = column(Int8Array.from(rows.model.values, (code) => codes[code]), study.stages);
}

// Study, task and model -> the largest program; and task -> what its axis says.
function largestBits() {
  const { points } = study;
  const numbered = new Map();
  study.tasks = new Map();
  for (let point = 0; point < points.rows; point += 1) {
    const task = points.task.values[point];
    // Numbers first, names afterwards: names for each of a hundred thousand programs would take seconds.
    const place = points.study.values[point] * points.task.texts.length + task;
    const key = 2 * (place * points.model.texts.length + points.model.values[point]) + points.is_imported.values[point];
    const found = numbered.get(key);
    const bits = points.program_length_bits.at(point) ?? 0;
    if (found === undefined) numbered.set(key, { point, bits });
    else if (bits > found.bits) found.bits = bits;
    if (points.metric.values[point] >= 0 && !study.tasks.has(points.task.texts[task])) {
      const higher = points.higher_is_better.values[point] === 1;
      study.tasks.set(points.task.texts[task], { metric: study.metrics[points.metric.at(point)], higher });
    }
  }
  return new Map([...numbered.values()].map(({ point, bits }) => [groupKey(points, point), bits]));
}

// What is compared with each other: one study, task, model and origin.
export function groupKey(rows, row) {
  return [rows.study.at(row), rows.task.at(row), rows.model.at(row), rows.is_imported.values[row]].join("\n");
}
