// Which programs and curves the filters leave.

import { FACETS, curvesOf, isProgram, scopeOf, study } from "./study.js";
import { isChosen, state } from "./state.js";

// 1 for each point that is shown.
export function shownPoints() {
  const { points } = study;
  const mask = new Uint8Array(points.rows).fill(1);
  for (const facet of Object.keys(state.chosen)) {
    const { values, texts } = points[facet];
    const kept = texts.map((text) => isChosen(facet, text));
    const keepsNone = isChosen(facet, null);
    for (let row = 0; row < mask.length; row += 1) {
      const code = values[row];
      if (!(code < 0 ? keepsNone : kept[code])) mask[row] = 0;
    }
  }
  if (state.imported !== "on") {
    for (let row = 0; row < mask.length; row += 1) if (points.is_imported.values[row]) mask[row] = 0;
  }
  return mask;
}

// How many programs there are among all points, or those of a mask.
export function numPrograms(mask = new Uint8Array(study.points.rows).fill(1)) {
  return mask.reduce((sum, it, point) => sum + (it && isProgram(point) ? 1 : 0), 0);
}

// Numbers of the curves of a kind of scope that are shown. A curve over all programs stays what it is, whichever
// families are hidden: it is the frontier of the study, not of the reader's choice.
export function shownCurves(kind) {
  return curvesOf(kind).filter((curve) => {
    if (state.imported !== "on" && study.curves.is_imported.values[curve]) return false;
    const of = scopeOf(curve);
    if (of.name !== null && !isChosen(of.kind, of.name)) return false;
    return ["study", "task", "model", "stage"].every((facet) => isChosen(facet, study.curves[facet].at(curve)));
  });
}

export function shownTasks() {
  const found = new Set(study.points.task.texts.filter((task) => isChosen("task", task)));
  return [...found];
}

export function isFiltered() {
  return FACETS.some((facet) => facet in state.chosen) || state.imported !== "on";
}
