// What the reader has chosen. All of it stands in the address, so that a view can be linked.

import { ALL, FACETS, idOf, pointOfId, study, valuesOf } from "./study.js";

const NO_VALUE = "-none-";
const MANY_MODELS = 4;

// `chosen` holds facet -> Set of values, only for facets that leave something out.
export const state = {};
const listeners = [];

export function startState() {
  readHash();
  window.addEventListener("hashchange", () => {
    readHash();
    tell(["all"]);
  });
}

// Calls the function with the names of what has changed, after each change.
export function onChange(listener) {
  listeners.push(listener);
}

export function change(patch) {
  const changed = Object.keys(patch).filter((name) => patch[name] !== state[name]);
  if (changed.length === 0) return;
  Object.assign(state, patch);
  history.replaceState(null, "", hashOf());
  tell(changed);
}

export function choose(facet, values) {
  const chosen = { ...state.chosen };
  if (values.size === valuesOf(facet).length) delete chosen[facet];
  else chosen[facet] = values;
  change({ chosen });
}

export function isChosen(facet, value) {
  return !(facet in state.chosen) || state.chosen[facet].has(value);
}

export function reset() {
  change({ ...defaults(), theme: state.theme });
}

function tell(changed) {
  for (const listener of listeners) listener(new Set(changed));
}

function defaults() {
  const stages = valuesOf("stage").length;
  const many = stages > 2 ? "stage" : "model";
  return {
    chosen: {},
    split: "test",
    scope: ALL,
    colour: valuesOf("model").length <= MANY_MODELS ? "family" : many,
    intervals: "on",
    imported: "on",
    goal: valuesOf("task")[0] ?? null,
    target: null,
    line: null,
    search: "",
    sort: "program_length_bits",
    descending: "",
    point: null,
    theme: null,
  };
}

const PLAIN = ["split", "scope", "colour", "intervals", "imported", "goal", "line", "search", "sort", "descending", "theme"];

function hashOf() {
  const found = new URLSearchParams();
  const usual = defaults();
  for (const [facet, values] of Object.entries(state.chosen)) {
    if (values.size === 0) found.append(facet, "");
    for (const value of values) found.append(facet, value ?? NO_VALUE);
  }
  for (const name of PLAIN) if (state[name] !== usual[name]) found.append(`_${name}`, state[name]);
  if (state.target !== null) found.append("_target", String(state.target));
  if (state.point !== null) found.append("_point", idOf(state.point));
  return `#${found}`;
}

function readHash() {
  const found = new URLSearchParams(location.hash.slice(1));
  const usual = defaults();
  const chosen = {};
  for (const facet of FACETS) {
    if (!found.has(facet)) continue;
    const known = new Set(valuesOf(facet));
    const named = found.getAll(facet).map((value) => (value === NO_VALUE ? null : value));
    chosen[facet] = new Set(named.filter((value) => known.has(value)));
  }
  Object.assign(state, usual, { chosen });
  for (const name of PLAIN) if (found.has(`_${name}`)) state[name] = found.get(`_${name}`);
  if (!(state.colour in study.looks)) state.colour = usual.colour;
  const target = found.get("_target");
  state.target = target === null || Number.isNaN(Number(target)) ? null : Number(target);
  state.point = found.has("_point") ? pointOfId(found.get("_point")) : null;
}
