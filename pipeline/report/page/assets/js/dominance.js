// Two sets of programs of one base model held against each other: lengths at equal score.

import { byId, el, table } from "./dom.js";
import { counted, factorText, scoreText } from "./format.js";
import { shownTasks } from "./selection.js";
import { isChosen, state } from "./state.js";
import { study } from "./study.js";

const MOST_ROWS = 200;

export function hasDominance() {
  return study.dominance.length > 0;
}

export function drawDominance() {
  const tasks = shownTasks();
  const rows = study.dominance.filter(
    (it) =>
      tasks.includes(it.task) &&
      isChosen("study", it.study) &&
      isChosen("model", it.model) &&
      (state.imported === "on" || !(it.is_imported || it.reference_is_imported)),
  );
  if (rows.length === 0) {
    byId("dominance-table").replaceChildren(el("p", { class: "empty" }, "The filters leave no two sets that reach a common score."));
    return;
  }
  const side = (programs, isImported) => programs + (isImported && study.hasOwn ? ", published" : "");
  const lines = rows.slice(0, MOST_ROWS).map((it) => [
    it.task,
    it.model,
    `${side(it.programs, it.is_imported)} against ${side(it.reference_programs, it.reference_is_imported)}`,
    `${scoreText(it.performance_from)} to ${scoreText(it.performance_to)}`,
    factorText(it.ratio),
    it.ratio_low === null || it.ratio_high === null ? "–" : `${factorText(it.ratio_low)} to ${factorText(it.ratio_high)}`,
    `${Math.round(100 * it.shorter_share)}%`,
  ]);
  const heads = ["Task", "Base model", "Programs", "Scores of both", "Times shorter", "95% interval", "Shorter over"];
  const left = rows.length - lines.length;
  byId("dominance-table").replaceChildren(
    table("Lengths at equal test score", heads, lines, { right: [3, 4, 5, 6] }),
    ...(left > 0 ? [el("p", { class: "note" }, `${counted(left, "more row")} can be chosen among the filters.`)] : []),
  );
}
