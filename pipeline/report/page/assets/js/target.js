// The shortest program of each base model that reaches a score that the reader moves.

import { byId, choice, el, table } from "./dom.js";
import { bitText, lengthText, scoreText } from "./format.js";
import { colourOf, lookOf, pageColour } from "./looks.js";
import { figureWidth } from "./medium.js";
import { CONFIG, baseLayout, lengthAxis, plain, shortened } from "./panels.js";
import { shownCurves, shownTasks } from "./selection.js";
import { change, state } from "./state.js";
import { ALL, chosenScore, complexityInterval, groupKey, shortestReaching, study } from "./study.js";
import { hideTooltip, showTooltip } from "./tooltip.js";

const STEPS = 400;
const USUAL_SHARE = 0.75;
const ROW_PIXELS = 25;
const NAME_PIXELS = 7.5;

let isBound = false;
let drawnFor = null;

export function drawTarget() {
  const goals = shownTasks().filter((task) => study.tasks.has(task));
  const goal = goals.includes(state.goal) ? state.goal : goals[0];
  const curves = goal === undefined ? [] : shownCurves(ALL).filter((curve) => study.curves.task.at(curve) === goal);
  const scores = curves.flatMap((curve) => study.membersOf[curve].map(chosenScore));
  if (scores.length === 0) {
    byId("target-controls").replaceChildren();
    byId("target-figure").hidden = true;
    byId("target-table").replaceChildren(el("p", { class: "empty" }, "The filters leave no frontier."));
    drawnFor = null;
    return;
  }
  byId("target-figure").hidden = false;
  const ends = [Math.min(...scores), Math.max(...scores)];
  const target = state.target !== null && state.goal === goal ? Math.min(Math.max(state.target, ends[0]), ends[1]) : usualTarget(goal, ends);
  drawControls(goals, goal, ends, target);
  const rows = curves
    .map((curve) => ({ curve, point: shortestReaching(curve, target), interval: complexityInterval(curve, target) }))
    .sort((one, other) => study.modelOrder.get(study.curves.model.at(one.curve)) - study.modelOrder.get(study.curves.model.at(other.curve)));
  drawFigure(rows);
  drawTable(goal, target, rows);
}

// A part of the way from the worst score to the best one.
function usualTarget(goal, [low, high]) {
  const share = study.tasks.get(goal).higher ? USUAL_SHARE : 1 - USUAL_SHARE;
  return low + share * (high - low);
}

// The slider stays the same element while it is moved: one that is made anew would lose the pointer.
function drawControls(goals, goal, ends, target) {
  const key = JSON.stringify([goals, goal, ends]);
  if (drawnFor !== key) {
    drawnFor = key;
    const known = study.tasks.get(goal);
    const slider = el("input", {
      id: "target-slider",
      type: "range",
      min: ends[0],
      max: ends[1],
      step: (ends[1] - ends[0]) / STEPS || 1,
      "aria-label": `Target, ${known.metric}`,
      oninput: (event) => change({ goal, target: Number(event.target.value) }),
    });
    const marks = study.targets.filter((it) => it.task === goal && it.target_performance >= ends[0] && it.target_performance <= ends[1]);
    const named = marks.map((it) => [String(it.target_performance), targetName(it)]);
    byId("target-controls").replaceChildren(
      choice("Task", goals.map((task) => [task, task]), goal, (task) => change({ goal: task, target: null })),
      el("label", {}, `Target, ${known.metric}${known.higher ? "" : " (lower is better)"}`, slider),
      el("output", { id: "target-value", class: "value", for: "target-slider" }),
      named.length === 0
        ? null
        : choice("or", [["", "a target of the study"], ...named], "", (value) => value && change({ goal, target: Number(value) })),
    );
  }
  byId("target-slider").value = target;
  byId("target-value").textContent = scoreText(target);
}

function targetName({ target_name: name, target_fraction: fraction, target_performance: score }) {
  if (name) return `${name}: ${scoreText(score)}`;
  return fraction === null ? scoreText(score) : `${Math.round(100 * fraction)}% of the best: ${scoreText(score)}`;
}

function drawFigure(rows) {
  const figure = byId("target-figure");
  const { points, curves } = study;
  const colour = state.colour === "stage" ? "stage" : "model";
  const names = rows.map(({ curve }) => rowName(curve));
  const reached = rows.map(({ curve, point }) => (point === null ? largestTried(curve) : points.program_length_bits.at(point)));
  const looks = rows.map(({ curve }) => lookOf(colour, curves[colour].at(curve)));
  const all = rows.flatMap(({ curve }) => study.membersOf[curve].map((point) => points.program_length_bits.at(point)));
  const width = figureWidth(figure);
  const left = Math.min(230, width / 3);
  const layout = baseLayout(width, rows.length * ROW_PIXELS + 96);
  layout.margin = { l: left, r: 90, t: 10, b: 52 };
  layout.dragmode = false;
  layout.xaxis = lengthAxis(Math.min(...all), Math.max(...all, ...reached), width - left - 90, {
    title: { text: "program length (log scale)", standoff: 8, font: { size: 12 } },
    fixedrange: true,
  });
  layout.yaxis = {
    tickmode: "array",
    tickvals: names.map((_, place) => place),
    ticktext: names.map((name) => plain(shortened(name, Math.floor(left / NAME_PIXELS)))),
    range: [rows.length - 0.5, -0.5],
    gridcolor: pageColour("grid"),
    zeroline: false,
    fixedrange: true,
    tickfont: { size: 12, color: pageColour("ink") },
  };
  const dots = {
    type: "scatter",
    mode: "markers",
    x: reached,
    y: names.map((_, place) => place),
    customdata: rows.map(({ point }) => point),
    hoverinfo: "none",
    marker: {
      size: 11,
      color: rows.map(({ point }, place) => (point === null ? pageColour("paper") : colourOf(looks[place]))),
      symbol: rows.map(({ point }, place) => (point === null ? "triangle-right" : looks[place].symbol)),
      line: { width: 1.5, color: looks.map(colourOf) },
    },
  };
  // Beside the interval where there is one: a line through a number makes it hard to read.
  const labels = {
    type: "scatter",
    mode: "text",
    x: rows.map(({ curve, interval }, place) => Math.max(reached[place], interval === null ? 0 : (interval[1] ?? largestTried(curve)))),
    y: names.map((_, place) => place),
    text: rows.map(({ point }, place) => `  ${point === null ? "> " : ""}${lengthText(reached[place])}`),
    textposition: "middle right",
    textfont: { size: 12, color: pageColour("ink") },
    cliponaxis: false,
    hoverinfo: "skip",
  };
  const bars = {
    type: "scatter",
    mode: "lines",
    x: rows.flatMap(({ curve, interval }) => (interval === null ? [] : [interval[0] ?? largestTried(curve), interval[1] ?? largestTried(curve), null])),
    y: rows.flatMap(({ interval }, place) => (interval === null ? [] : [place, place, null])),
    line: { color: pageColour("soft"), width: 1.5 },
    hoverinfo: "skip",
  };
  Plotly.react(figure, [bars, dots, labels], layout, { ...CONFIG, displayModeBar: false });
  if (isBound) return;
  isBound = true;
  figure.on("plotly_hover", ({ points: [hovered], event }) => {
    if (hovered.customdata !== null && hovered.customdata !== undefined) showTooltip(hovered.customdata, event);
  });
  figure.on("plotly_unhover", hideTooltip);
  figure.on("plotly_click", ({ points: [clicked] }) => {
    hideTooltip();
    if (clicked.customdata !== null && clicked.customdata !== undefined) change({ point: clicked.customdata });
  });
}

function drawTable(goal, target, rows) {
  const { points } = study;
  const { metric, higher } = study.tasks.get(goal);
  const lines = rows.map(({ curve, point, interval }) => [
    rowName(curve),
    point === null ? `not reached up to ${lengthText(largestTried(curve))}` : lengthText(points.program_length_bits.at(point)),
    point === null ? "–" : bitText(points.program_length_bits.at(point)),
    boundsText(interval),
    point === null ? "–" : el("button", { type: "button", class: "quiet", onclick: () => change({ point }) }, points.family.at(point)),
    point === null ? "–" : scoreText(points.test_performance.at(point)),
  ]);
  const caption = `${goal}: shortest program that reaches ${metric} ${higher ? "at least" : "at most"} ${scoreText(target)} on the split that it was chosen on`;
  byId("target-table").replaceChildren(
    table(caption, ["Base model", "Complexity, at most", "in bits", "95% interval", "Program", "Test score"], lines, { right: [1, 2, 3, 5] }),
  );
}

// An upper end that no test established is open.
function boundsText(interval) {
  if (interval === null) return "–";
  const [low, high] = interval;
  if (low === null) return "not reached";
  return `${lengthText(low)} to ${high === null ? "open" : lengthText(high)}`;
}

function rowName(curve) {
  const { curves } = study;
  const name = curves.model.at(curve);
  const published = curves.is_imported.values[curve] && study.hasOwn ? " (published)" : "";
  const of = curves.study.texts.length > 1 ? `${curves.study.at(curve)}: ` : "";
  return `${of}${name}${published}`;
}

// The largest program of the base model of a curve: so far it does not reach the target.
function largestTried(curve) {
  return study.largest.get(groupKey(study.curves, curve)) ?? 1;
}
