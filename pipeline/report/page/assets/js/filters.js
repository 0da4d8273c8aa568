// The column of filters.

import { byId, el } from "./dom.js";
import { counted, wholeText } from "./format.js";
import { lookOf, mark } from "./looks.js";
import { isFiltered, numPrograms, shownPoints } from "./selection.js";
import { change, choose, isChosen, onChange, state } from "./state.js";
import { FACETS, FACET_NAMES, study, valuesOf } from "./study.js";

const NARROW = "(max-width: 820px)";

export function startFilters() {
  byId("filters-fold").open = !matchMedia(NARROW).matches;
  drawFilters();
  onChange((changed) => {
    if (["all", "chosen", "imported", "colour", "theme"].some((name) => changed.has(name))) drawFilters();
  });
}

function drawFilters() {
  const focus = document.activeElement?.dataset?.key;
  const lists = [...byId("facets").querySelectorAll("ul")].map((it) => [it.dataset.facet, it.scrollTop]);
  byId("facets").replaceChildren(...FACETS.map(facetBox).filter(Boolean), ...importedSwitch());
  for (const [facet, top] of lists) {
    const found = byId("facets").querySelector(`ul[data-facet="${facet}"]`);
    if (found) found.scrollTop = top;
  }
  // The box that was used is made anew: focus stays where it was.
  if (focus) [...byId("facets").querySelectorAll("[data-key]")].find((it) => it.dataset.key === focus)?.focus();
  byId("filters-count").textContent = isFiltered() ? `${wholeText(numPrograms(shownPoints()))} of ${counted(numPrograms(), "program")}` : "";
}

function facetBox(facet) {
  const values = valuesOf(facet);
  if (values.length < 2) return null;
  const { values: codes, texts } = study.points[facet];
  const counts = new Map();
  for (const code of codes) counts.set(code, (counts.get(code) ?? 0) + 1);
  const countOf = (value) => counts.get(value === null ? -1 : texts.indexOf(value));
  const some = facet in state.chosen;
  const all = el("button", { type: "button", class: "quiet", "data-key": `${facet} all`, onclick: () => choose(facet, new Set(values)) }, "all");
  const box = el("fieldset", { class: "facet", "data-facet": facet }, el("legend", {}, FACET_NAMES[facet], some ? all : null));
  box.append(el("ul", { "data-facet": facet }, values.map((value) => entry(facet, value, values, countOf(value)))));
  return box;
}

function entry(facet, value, values, number) {
  const name = value ?? (facet === "seed" ? "no seed" : "none");
  const toggle = (event) => {
    const kept = new Set(values.filter((it) => isChosen(facet, it)));
    if (event.target.checked) kept.add(value);
    else kept.delete(value);
    choose(facet, kept);
  };
  const input = el("input", { type: "checkbox", checked: isChosen(facet, value), "data-key": `${facet} ${name}`, onchange: toggle });
  const label = el(
    "label",
    { title: name },
    input,
    facet === state.colour ? mark(lookOf(facet, value)) : null,
    el("span", { class: "name" }, name),
    el("span", { class: "count" }, wholeText(number)),
  );
  const only = el(
    "button",
    { type: "button", class: "quiet only", "data-key": `${facet} ${name} only`, "aria-label": `Only ${name}`, onclick: () => choose(facet, new Set([value])) },
    "only",
  );
  return el("li", {}, label, only);
}

function importedSwitch() {
  if (!study.points.is_imported.values.includes(1)) return [];
  const box = el("input", {
    type: "checkbox",
    checked: state.imported === "on",
    "data-key": "imported",
    onchange: (event) => change({ imported: event.target.checked ? "on" : "off" }),
  });
  return [el("label", { class: "switch" }, box, "Published results")];
}
