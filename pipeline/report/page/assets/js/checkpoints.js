// Along the training of a model family: the best score within fixed lengths, checkpoint by checkpoint.

import { byId, choice, el } from "./dom.js";
import { byteText } from "./format.js";
import { colourOf, mark, pageColour, stroke } from "./looks.js";
import { figureWidth } from "./medium.js";
import { CONFIG, MOST_PANELS, arranged, axisKey, axisName, baseLayout, heading, plain, scoreAxis, scoreTitle, shortened } from "./panels.js";
import { shownCurves, shownTasks } from "./selection.js";
import { change, isChosen, state } from "./state.js";
import { ALL, bestWithin, chosenScore, higherIsBetter, study } from "./study.js";
import { hideTooltip, showTooltip } from "./tooltip.js";

const FEWEST = 3;
const PANEL_HEIGHT = 260;
const NAME_CHARACTERS = 18;
const NAME_PIXELS = 6.4;

let isBound = false;

// Model family -> its checkpoints in the order of training, of the families that have enough of them.
function trainings() {
  const families = Map.groupBy(study.standings.filter((it) => isChosen("model", it.model) && isChosen("stage", it.stage)), (it) => it.family);
  return new Map([...families].filter(([, of]) => new Set(of.map((it) => it.order)).size >= FEWEST));
}

export function hasCheckpoints() {
  const families = [...Map.groupBy(study.standings, (it) => it.family).values()];
  return families.some((of) => new Set(of.map((it) => it.order)).size >= FEWEST);
}

export function drawCheckpoints() {
  const families = trainings();
  const figure = byId("checkpoints-figure");
  const name = families.has(state.line) ? state.line : [...families.keys()][0];
  const rows = name === undefined ? [] : rowsOf(families.get(name));
  const tasks = shownTasks().filter((task) => rows.some((row) => row.task === task)).slice(0, MOST_PANELS);
  if (tasks.length === 0) {
    Plotly.purge(figure);
    isBound = false;
    figure.replaceChildren(el("p", { class: "empty" }, "The filters leave no model family with three checkpoints."));
    byId("checkpoints-legend").replaceChildren();
    byId("checkpoints-controls").replaceChildren();
    return;
  }
  if (!isBound) figure.replaceChildren();
  const family = families.get(name);
  const lengths = toldApart(rows);
  byId("checkpoints-controls").replaceChildren(
    choice("Model family", [...families.keys()].map((it) => [it, it]), name, (line) => change({ line })),
  );
  byId("checkpoints-legend").replaceChildren(
    ...lengths.map((length) => el("span", {}, stroke(length), mark(length), `up to ${byteText(length.bytes)}`)),
  );
  const width = figureWidth(figure);
  const { places, height } = arranged(tasks.length, width, PANEL_HEIGHT);
  const names = family.map((it) => plain(shortened(it.short, NAME_CHARACTERS)));
  const below = 30 + NAME_PIXELS * Math.max(...names.map((it) => it.length));
  const layout = baseLayout(width, height + below);
  layout.margin = { ...layout.margin, b: layout.margin.b + below };
  const data = [];
  for (const [panel, task] of tasks.entries()) {
    const place = places[panel];
    layout[axisKey("x", panel)] = {
      domain: place.x,
      anchor: axisName("y", panel),
      range: [-0.5, family.length - 0.5],
      tickmode: "array",
      tickvals: family.map((_, number) => number),
      ticktext: place.isLowest ? names : names.map(() => ""),
      tickangle: -90,
      tickfont: { size: 11 },
      showgrid: false,
      zeroline: false,
      fixedrange: true,
      linecolor: pageColour("line"),
      showline: true,
    };
    const ofTask = rows.filter((row) => row.task === task);
    const found = ofTask.flatMap((row) => lengths.map((length) => bestOf(row, length))).filter((point) => point !== null);
    layout[axisKey("y", panel)] = scoreAxis(found.map(scoreOf), {
      domain: place.y,
      anchor: axisName("x", panel),
      fixedrange: true,
      title: { text: scoreTitle(task, state.split), standoff: 6, font: { size: 12 } },
    });
    layout.annotations.push(heading(task, place, place.width));
    layout.shapes.push(...stageBands(family, panel));
    const axes = { xaxis: axisName("x", panel), yaxis: axisName("y", panel) };
    // The longest is drawn largest and first: a longer program is often no better, and a rim of it then shows.
    for (const [number, length] of [...lengths.entries()].reverse()) {
      const best = ofTask.map((row) => bestOf(row, length));
      data.push({
        type: "scatter",
        mode: "lines+markers",
        x: ofTask.map((row) => row.place),
        y: best.map((point) => (point === null ? null : scoreOf(point))),
        customdata: best,
        hoverinfo: "none",
        connectgaps: true,
        line: { color: colourOf(length), dash: length.dash, width: 1.5 + (1.5 * number) / lengths.length },
        marker: { symbol: length.symbol, size: 6 + (5 * number) / lengths.length, color: colourOf(length) },
        ...axes,
      });
    }
  }
  Plotly.react(figure, data, layout, { ...CONFIG, displayModeBar: false });
  if (!isBound) bind(figure);
}

function bind(figure) {
  isBound = true;
  figure.on("plotly_hover", ({ points: [hovered], event }) => {
    if (Number.isInteger(hovered.customdata)) showTooltip(hovered.customdata, event);
  });
  figure.on("plotly_unhover", hideTooltip);
  figure.on("plotly_click", ({ points: [clicked] }) => {
    hideTooltip();
    if (Number.isInteger(clicked.customdata)) change({ point: clicked.customdata });
  });
}

// A row for each checkpoint and task that has a curve: its place in the training and its curves.
function rowsOf(family) {
  const place = new Map(family.map((it, number) => [it.model, number]));
  const curves = shownCurves(ALL).filter((curve) => place.has(study.curves.model.at(curve)));
  const groups = Map.groupBy(curves, (curve) => `${study.curves.task.at(curve)}\n${study.curves.model.at(curve)}`);
  const rows = [...groups.values()].map((of) => ({
    task: study.curves.task.at(of[0]),
    place: place.get(study.curves.model.at(of[0])),
    curves: of,
  }));
  return rows.sort((one, other) => one.place - other.place);
}

function scoreOf(point) {
  return study.points[`${state.split}_performance`].at(point);
}

// The best program of a checkpoint within a length, over the curves that are shown.
function bestOf(row, length) {
  const sign = higherIsBetter(row.task) ? 1 : -1;
  const found = row.curves.map((curve) => bestWithin(curve, 8 * length.bytes)).filter((point) => point !== null);
  return found.sort((one, other) => sign * (chosenScore(one) - chosenScore(other))).at(-1) ?? null;
}

// The lengths at which any checkpoint is better than at the length before.
function toldApart(rows) {
  let before = null;
  return study.lengths.filter((length) => {
    const now = rows.map((row) => bestOf(row, length));
    const isNew = now.some((point) => point !== null) && now.join() !== before;
    before = now.join();
    return isNew;
  });
}

// Every other stage of training is shaded.
function stageBands(family, panel) {
  const bands = [];
  let start = 0;
  for (let place = 1; place <= family.length; place += 1) {
    if (place < family.length && family[place].stage === family[start].stage) continue;
    bands.push([start - 0.5, place - 0.5]);
    start = place;
  }
  return bands
    .filter((_, number) => number % 2 === 1)
    .map(([x0, x1]) => ({
      type: "rect",
      xref: axisName("x", panel),
      yref: `${axisName("y", panel)} domain`,
      x0,
      x1,
      y0: 0,
      y1: 1,
      fillcolor: pageColour("raised"),
      line: { width: 0 },
      layer: "below",
    }));
}
