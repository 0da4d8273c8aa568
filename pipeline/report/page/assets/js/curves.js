// Score against length: every program, the frontiers, intervals, ranges of seeds, floors.

import { byId, choice, el, segments } from "./dom.js";
import { counted } from "./format.js";
import { lookOf, mark, pageColour, stroke } from "./looks.js";
import { figureWidth } from "./medium.js";
import {
  CONFIG,
  MOST_PANELS,
  arranged,
  axisKey,
  axisName,
  baseLayout,
  heading,
  lengthAxis,
  lengthTicks,
  scoreAxis,
  scoreTitle,
} from "./panels.js";
import { numPrograms, shownCurves, shownPoints, shownTasks } from "./selection.js";
import { change, onChange, state } from "./state.js";
import { ALL, FACETS, FACET_NAMES, chosenScore, curvesOf, higherIsBetter, study, valuesOf } from "./study.js";
import { hideTooltip, showTooltip } from "./tooltip.js";
import { bandTraces, curveTraces, pointTraces } from "./traces.js";

const PANEL_HEIGHT = 330;
const ALONE_HEIGHT = 470;
const RING_PIXELS = 10;
const SCOPES = [[ALL, "all programs"], ["view", "each view"], ["family", "each family"], ["seed", "each seed"]];
const SPLITS = [["test", "test"], ["validation", "validation"]];
// What redraws the whole figure; a target or a chosen program only moves a line or a ring.
const REDRAWING = ["all", "chosen", "split", "scope", "colour", "intervals", "imported", "theme"];

let figure = null;
let tasks = [];
let isBound = false;

export function startCurves() {
  figure = byId("curves-figure");
  onChange((changed) => {
    if (["target", "point", "goal"].some((name) => changed.has(name)) && !REDRAWING.some((name) => changed.has(name))) drawMarks();
  });
}

export function redrawsCurves(changed) {
  return REDRAWING.some((name) => changed.has(name));
}

export async function drawCurves() {
  drawControls();
  const mask = shownPoints();
  tasks = shownTasks().slice(0, MOST_PANELS);
  drawLegend(mask);
  const number = numPrograms(mask);
  const left = shownTasks().length - tasks.length;
  const more = left > 0 ? `${counted(left, "more task")} can be chosen among the filters.` : "";
  const hollow = hasImported(mask) ? "Hollow points are results that others published, of which no program file is here." : "";
  byId("curves-note").textContent = [`${counted(number, "program")} shown.`, more, hollow, "Drag to zoom, double-click to zoom out."].filter(Boolean).join(" ");
  if (tasks.length === 0) {
    await Plotly.purge(figure);
    isBound = false;
    figure.replaceChildren(el("p", { class: "empty" }, "The filters leave no task."));
    return;
  }
  if (!isBound) figure.replaceChildren();
  const width = figureWidth(figure);
  const { places, height } = arranged(tasks.length, width, tasks.length === 1 ? ALONE_HEIGHT : PANEL_HEIGHT);
  const layout = baseLayout(width, height);
  const data = [];
  const groups = groupedPoints(mask);
  const curves = shownCurves(state.scope);
  const bands = state.scope === ALL ? shownCurves("seed") : [];
  const [low, high] = lengthRange(mask);
  for (const [panel, task] of tasks.entries()) {
    const place = places[panel];
    layout[axisKey("x", panel)] = lengthAxis(low, high, place.width, {
      domain: place.x,
      anchor: axisName("y", panel),
      matches: panel === 0 ? undefined : "x",
      title: { text: place.isLowest ? "program length (log scale)" : "", standoff: 8, font: { size: 12 } },
    });
    const shown = [...(groups.get(task) ?? new Map()).values()].flat();
    layout[axisKey("y", panel)] = scoreAxis(scoresOf(shown, curves, task), {
      domain: place.y,
      anchor: axisName("x", panel),
      title: { text: scoreTitle(task, state.split), standoff: 6, font: { size: 12 } },
    });
    layout.annotations.push(heading(task, place, place.width));
    const axes = { xaxis: axisName("x", panel), yaxis: axisName("y", panel) };
    data.push(...pointTraces(groups.get(task) ?? new Map(), axes, number));
    data.push(...bandTraces(bands.filter((curve) => study.curves.task.at(curve) === task), axes));
    for (const curve of curves) if (study.curves.task.at(curve) === task) data.push(...curveTraces(curve, axes));
  }
  layout.shapes = marks(layout);
  await Plotly.react(figure, data, layout, CONFIG);
  if (!isBound) bind();
}

function bind() {
  isBound = true;
  figure.on("plotly_hover", ({ points, event }) => {
    const point = points[0].customdata;
    if (point !== undefined) showTooltip(point, event);
  });
  figure.on("plotly_unhover", hideTooltip);
  figure.on("plotly_click", ({ points }) => {
    hideTooltip();
    if (points[0].customdata !== undefined) change({ point: points[0].customdata });
  });
  figure.on("plotly_relayout", (changes) => {
    const key = Object.keys(changes).find((name) => /^xaxis\d*\.(range|autorange)/.test(name));
    if (key !== undefined) setTicks();
  });
}

// Ticks for the range that is on view now.
function setTicks() {
  const patch = {};
  for (let panel = 0; panel < tasks.length; panel += 1) {
    const axis = figure.layout[axisKey("x", panel)];
    const [low, high] = axis.range.map((power) => 10 ** power);
    const width = (axis.domain[1] - axis.domain[0]) * figure.layout.width;
    for (const [name, value] of Object.entries(lengthTicks(low, high, width))) patch[`${axisKey("x", panel)}.${name}`] = value;
  }
  Plotly.relayout(figure, patch).then(drawMarks);
}

function drawMarks() {
  if (isBound) Plotly.relayout(figure, { shapes: marks(figure.layout) });
}

// Lines and rings over the panels: floors, the target, the chosen program.
function marks(layout) {
  const found = [];
  for (const [panel, task] of tasks.entries()) {
    const y = axisName("y", panel);
    const across = { type: "line", xref: `${axisName("x", panel)} domain`, x0: 0, x1: 1, yref: y };
    const floor = floorScore(task);
    if (floor !== null) found.push({ ...across, y0: floor, y1: floor, line: { color: pageColour("soft"), width: 1, dash: "dot" } });
    if (state.goal === task && state.target !== null) {
      found.push({ ...across, y0: state.target, y1: state.target, line: { color: pageColour("accent"), width: 1.5, dash: "dash" }, name: "target" });
    }
    if (state.point !== null && study.points.task.at(state.point) === task) {
      const bits = study.points.program_length_bits.at(state.point);
      const score = study.points[`${state.split}_performance`].at(state.point);
      if (bits !== null && score !== null) {
        found.push(ring(layout, panel, bits, score));
      }
    }
  }
  return found;
}

// A circle around a program. The library refuses sizes in pixels to the left of a place on a logarithmic axis.
function ring(layout, panel, bits, score) {
  const axis = layout[axisKey("x", panel)];
  const width = (axis.domain[1] - axis.domain[0]) * (layout.width - layout.margin.l - layout.margin.r);
  const away = 10 ** ((RING_PIXELS * (axis.range[1] - axis.range[0])) / width);
  return {
    type: "circle",
    xref: axisName("x", panel),
    yref: axisName("y", panel),
    ysizemode: "pixel",
    yanchor: score,
    x0: bits / away,
    x1: bits * away,
    y0: -RING_PIXELS,
    y1: RING_PIXELS,
    line: { color: pageColour("accent"), width: 2.5 },
  };
}

// Score of the best program that ignores the base model, chosen like every other program.
function floorScore(task) {
  const { points } = study;
  const sign = higherIsBetter(task) ? 1 : -1;
  let best = null;
  for (let point = 0; point < points.rows; point += 1) {
    if (!points.is_floor.values[point] || points.task.at(point) !== task || chosenScore(point) === null) continue;
    if (best === null || sign * chosenScore(point) > sign * chosenScore(best)) best = point;
  }
  return best === null ? null : points[`${state.split}_performance`].at(best);
}

// Task -> colour value and origin -> points.
function groupedPoints(mask) {
  const { points } = study;
  const score = points[`${state.split}_performance`].values;
  const lengths = points.program_length_bits.values;
  const colours = points[state.colour].values;
  const groups = new Map(tasks.map((task) => [task, new Map()]));
  const ofCode = points.task.texts.map((task) => groups.get(task));
  for (let row = 0; row < points.rows; row += 1) {
    if (!mask[row] || !(lengths[row] > 0) || Number.isNaN(score[row])) continue;
    const group = ofCode[points.task.values[row]];
    if (group === undefined) continue;
    const key = 2 * colours[row] + points.is_imported.values[row];
    if (!group.has(key)) group.set(key, []);
    group.get(key).push(row);
  }
  return groups;
}

// Scores that the axis of a task must hold: those of points, and the ends of the intervals that are drawn.
function* scoresOf(shown, curves, task) {
  const { points } = study;
  for (const point of shown) yield points[`${state.split}_performance`].values[point];
  const withIntervals = state.split === "test" && state.intervals === "on";
  for (const curve of curves) {
    if (study.curves.task.at(curve) !== task) continue;
    for (const point of study.membersOf[curve]) {
      yield points[`${state.split}_performance`].values[point];
      if (withIntervals) yield* [points.test_low.values[point], points.test_high.values[point]];
    }
  }
}

function lengthRange(mask) {
  const lengths = study.points.program_length_bits.values;
  let [low, high] = [Infinity, 0];
  for (let row = 0; row < mask.length; row += 1) {
    if (!mask[row] || !(lengths[row] > 0)) continue;
    low = Math.min(low, lengths[row]);
    high = Math.max(high, lengths[row]);
  }
  return high === 0 ? [8 * 64, 8 * 1024] : [low, high];
}

function drawControls() {
  const scopes = SCOPES.filter(([kind]) => curvesOf(kind).length > 0);
  const colours = FACETS.filter((facet) => facet in study.looks && Object.keys(study.looks[facet]).length > 0);
  byId("curves-controls").replaceChildren(
    segments("Score on", "split", SPLITS, state.split, (split) => change({ split })),
    choice("Frontier of", scopes, state.scope, (scope) => change({ scope })),
    choice("Colour by", colours.map((facet) => [facet, FACET_NAMES[facet].toLowerCase()]), state.colour, (colour) => change({ colour })),
    el(
      "label",
      {},
      el("input", {
        type: "checkbox",
        checked: state.intervals === "on",
        onchange: (event) => change({ intervals: event.target.checked ? "on" : "off" }),
      }),
      "intervals",
    ),
  );
}

function hasImported(mask) {
  return study.points.is_imported.values.some((imported, row) => imported && mask[row]);
}

function drawLegend(mask) {
  const { points } = study;
  const seen = new Set();
  for (let row = 0; row < mask.length; row += 1) {
    if (mask[row]) seen.add(points[state.colour].values[row]);
  }
  const isLine = ["model", "stage", "study"].includes(state.colour);
  const entries = valuesOf(state.colour)
    .filter((value) => seen.has(value === null ? -1 : points[state.colour].texts.indexOf(value)))
    .map((value) => el("span", {}, isLine ? stroke(lookOf(state.colour, value)) : null, mark(lookOf(state.colour, value)), value ?? "none"));
  const models = [...new Set(shownCurves(ALL).map((curve) => study.curves.model.at(curve)))];
  if (!isLine && models.length > 1 && models.length <= 6) {
    const grey = pageColour("soft");
    entries.push(...models.map((model) => el("span", {}, stroke(lookOf("model", model), { colour: grey }), model)));
  }
  if (hasImported(mask)) entries.push(el("span", {}, mark({ ...lookOf("none"), symbol: "circle" }, { hollow: true }), "published by others"));
  byId("curves-legend").replaceChildren(...entries);
}
