// What post-training saves: the length that reaches the best score of an earlier checkpoint, before and after.

import { byId, el, table } from "./dom.js";
import { factorText, lengthText, scoreText } from "./format.js";
import { colourOf, lookOf, pageColour } from "./looks.js";
import { figureWidth } from "./medium.js";
import { CONFIG, MOST_PANELS, arranged, axisKey, axisName, baseLayout, heading, lengthAxis, plain, shortened } from "./panels.js";
import { shownTasks } from "./selection.js";
import { isChosen, state } from "./state.js";
import { study } from "./study.js";

const ROW_PIXELS = 21;
const NAME_PIXELS = 6.6;
const NAMES_PIXELS = 180;
const FACTOR_PIXELS = 84;

export function hasReduction() {
  return study.savings.length > 0;
}

export function drawReduction() {
  const figure = byId("reduction-figure");
  const tasks = shownTasks();
  const rows = study.savings.filter(
    (it) =>
      tasks.includes(it.task) &&
      isChosen("study", it.study) &&
      isChosen("model", it.reference) &&
      isChosen("model", it.model) &&
      (state.imported === "on" || !it.is_imported),
  );
  byId("reduction-table").replaceChildren();
  if (rows.length === 0) {
    Plotly.purge(figure);
    figure.replaceChildren(el("p", { class: "empty" }, "The filters leave no pair of an earlier and a post-trained checkpoint."));
    return;
  }
  if (figure.querySelector(".empty")) figure.replaceChildren();
  drawFigure(figure, rows);
  const lines = rows.map((it) => [
    it.task,
    it.reference,
    it.model,
    scoreText(it.target),
    lengthText(it.reference_bits),
    lengthText(it.model_bits),
    it.model_bits === null ? "not reached" : factorText(it.reference_bits / it.model_bits),
  ]);
  const heads = ["Task", "Before", "Post-trained", "Score", "Length before", "Length after", "Times shorter"];
  byId("reduction-table").replaceChildren(
    el(
      "details",
      {},
      el("summary", {}, "The same as a table"),
      table("Shortest programs that reach the best score of the checkpoint before post-training", heads, lines, { right: [3, 4, 5, 6] }),
    ),
  );
}

function drawFigure(figure, rows) {
  const tasks = [...new Set(rows.map((it) => it.task))].slice(0, MOST_PANELS);
  const names = [...new Set(rows.map(rowName))];
  const width = figureWidth(figure);
  const namesPixels = Math.min(NAMES_PIXELS, width / 3);
  const { places, height } = arranged(tasks.length, width - namesPixels, names.length * ROW_PIXELS + 20);
  const layout = baseLayout(width, height);
  layout.margin = { ...layout.margin, l: namesPixels + 10, r: FACTOR_PIXELS };
  layout.dragmode = false;
  const bits = rows.flatMap((it) => [it.reference_bits, it.model_bits]).filter((it) => it !== null);
  const data = [];
  for (const [panel, task] of tasks.entries()) {
    const place = places[panel];
    const shown = rows.filter((it) => it.task === task);
    layout[axisKey("x", panel)] = lengthAxis(Math.min(...bits), Math.max(...bits), place.width - FACTOR_PIXELS, {
      domain: [place.x[0], place.x[1] - (place.isLeft && place.x[1] > 0.99 ? 0 : 0.04)],
      anchor: axisName("y", panel),
      fixedrange: true,
      title: { text: place.isLowest ? "program length (log scale)" : "", standoff: 8, font: { size: 12 } },
    });
    layout[axisKey("y", panel)] = {
      domain: place.y,
      anchor: axisName("x", panel),
      range: [names.length - 0.4, -0.6],
      tickmode: "array",
      tickvals: names.map((_, number) => number),
      ticktext: names.map((name) => (place.isLeft ? plain(shortened(name, Math.floor(namesPixels / NAME_PIXELS))) : "")),
      tickfont: { size: 11, color: pageColour("ink") },
      gridcolor: pageColour("grid"),
      zeroline: false,
      fixedrange: true,
    };
    layout.annotations.push(heading(task, place, place.width));
    data.push(...dumbbells(shown, names, { xaxis: axisName("x", panel), yaxis: axisName("y", panel) }));
  }
  Plotly.react(figure, data, layout, { ...CONFIG, displayModeBar: false });
}

function dumbbells(rows, names, axes) {
  const place = (it) => names.indexOf(rowName(it));
  const reached = rows.filter((it) => it.model_bits !== null);
  const before = rows.map((it) => lookOf("stage", study.standing.get(it.reference).stage));
  const after = lookOf("stage", study.stages.at(-1));
  return [
    {
      type: "scatter",
      mode: "lines",
      x: reached.flatMap((it) => [it.reference_bits, it.model_bits, null]),
      y: reached.flatMap((it) => [place(it), place(it), null]),
      line: { color: pageColour("soft"), width: 1.5 },
      hoverinfo: "skip",
      ...axes,
    },
    {
      type: "scatter",
      mode: "markers",
      x: reached.map((it) => it.model_bits),
      y: reached.map(place),
      text: reached.map((it) => plain(`${it.model}: ${lengthText(it.model_bits)}`)),
      hovertemplate: "%{text}<extra></extra>",
      marker: { size: 10, symbol: after.symbol, color: colourOf(after) },
      ...axes,
    },
    {
      type: "scatter",
      mode: "markers+text",
      x: rows.map((it) => it.reference_bits),
      y: rows.map(place),
      text: rows.map((it) => (it.model_bits === null ? "not reached" : factorText(it.reference_bits / it.model_bits))),
      textposition: "middle right",
      textfont: { size: 11, color: pageColour("ink") },
      cliponaxis: false,
      customdata: rows.map((it) => plain(`${it.reference}: ${lengthText(it.reference_bits)} for ${scoreText(it.target)}`)),
      hovertemplate: "%{customdata}<extra></extra>",
      marker: { size: 9, symbol: before.map((look) => look.symbol), color: before.map(colourOf) },
      ...axes,
    },
  ];
}

function rowName(it) {
  const of = study.completeness.length > 1 ? `${it.study}: ` : "";
  return of + it.reference + (it.is_imported && study.hasOwn ? " (published)" : "");
}
