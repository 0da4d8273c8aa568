// Figures of several panels: axes of length and score, places of the panels, fonts. One figure holds all panels of a
// section, since browsers have room for a few drawing surfaces only.

import { byteText } from "./format.js";
import { pageColour } from "./looks.js";
import { leastPanelWidth } from "./medium.js";
import { study } from "./study.js";

export const MOST_PANELS = 12;
export const CONFIG = {
  displaylogo: false,
  responsive: false,
  scrollZoom: false,
  doubleClick: "reset",
  modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  toImageButtonOptions: { format: "svg", filename: "task-complexity" },
};

const LABEL_PIXELS = 56;
const GAP = { x: 58, y: 74 };
const MARGIN = { l: 58, r: 14, t: 34, b: 50 };
const MOST_ACROSS = 3;
const STEPS = [1, 2, 4, 5, 10, 20];

// Texts of a study in a figure: the library reads some markup.
export function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

export function shortened(text, most) {
  return text.length <= most ? text : `${text.slice(0, Math.ceil(most / 2) - 1)}…${text.slice(1 - Math.floor(most / 2))}`;
}

// Places of panels of one figure: how many beside each other, and the layout that all figures share.
export function arranged(number, width, panelHeight) {
  const across = Math.max(1, Math.min(number, MOST_ACROSS, Math.floor(width / (leastPanelWidth() + GAP.x))));
  const down = Math.ceil(number / across);
  const height = down * panelHeight + (down - 1) * GAP.y + MARGIN.t + MARGIN.b;
  const inner = { x: width - MARGIN.l - MARGIN.r, y: height - MARGIN.t - MARGIN.b };
  const places = Array.from({ length: number }, (_, panel) => {
    const column = panel % across;
    const row = Math.floor(panel / across);
    const wide = (inner.x - (across - 1) * GAP.x) / across / inner.x;
    const tall = (inner.y - (down - 1) * GAP.y) / down / inner.y;
    const left = (column * (wide * inner.x + GAP.x)) / inner.x;
    const top = 1 - (row * (tall * inner.y + GAP.y)) / inner.y;
    return {
      x: [left, Math.min(1, left + wide)],
      y: [Math.max(0, top - tall), top],
      width: wide * inner.x,
      isLeft: column === 0,
      isLowest: panel + across >= number,
    };
  });
  return { places, height, across };
}

// Layout of a figure without its axes.
export function baseLayout(width, height) {
  return {
    width,
    height,
    margin: MARGIN,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: pageColour("soft") },
    showlegend: false,
    hovermode: "closest",
    hoverdistance: 14,
    dragmode: "zoom",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: pageColour("soft"), activecolor: pageColour("ink"), orientation: "h" },
    annotations: [],
    shapes: [],
  };
}

// Axis of program length between two lengths in bits: ticks at powers of 2 bytes, as many labelled as fit.
export function lengthAxis(low, high, width, more = {}) {
  return {
    type: "log",
    range: [Math.log10(low / 1.25), Math.log10(high * 1.25)],
    ...lengthTicks(low, high, width),
    ...lineLook(),
    ...more,
  };
}

export function lengthTicks(low, high, width) {
  const first = Math.floor(Math.log2(low / 8)) - 1;
  const last = Math.ceil(Math.log2(high / 8)) + 1;
  const room = width / Math.max(1, Math.log2(high / low));
  const step = STEPS.find((it) => it * room >= LABEL_PIXELS) ?? STEPS.at(-1);
  const exponents = [];
  // 1 KiB is always among them.
  for (let it = Math.max(0, first); it <= last; it += 1) if ((it - 10) % step === 0) exponents.push(it);
  return {
    tickmode: "array",
    tickvals: exponents.map((it) => 8 * 2 ** it),
    ticktext: exponents.map((it) => byteText(2 ** it)),
  };
}

// Axis of scores: it starts at 0 where 0 is near, with a little room for markers that lie there.
export function scoreAxis(scores, more = {}) {
  let [low, high] = [Infinity, -Infinity];
  for (const score of scores) {
    if (!Number.isFinite(score)) continue;
    low = Math.min(low, score);
    high = Math.max(high, score);
  }
  if (low > high) [low, high] = [0, 1];
  const span = Math.max(high - low, 0.02 * Math.abs(high), 1e-9);
  const bottom = low >= 0 && low <= span ? 0 : low;
  const room = 0.06 * (high - bottom || 1);
  return { ...lineLook(), range: [bottom - room / 2, high + room], nticks: 7, ...more };
}

// What the axis of scores of a task says.
export function scoreTitle(task, split) {
  const known = study.tasks.get(task);
  if (!known) return split;
  return `${split} ${known.metric}${known.higher ? " ↑" : " ↓"}`;
}

export function heading(text, place, width) {
  return {
    text: `<b>${plain(shortened(text, Math.floor(width / 7.5)))}</b>`,
    x: place.x[0],
    y: place.y[1],
    xref: "paper",
    yref: "paper",
    xanchor: "left",
    yanchor: "bottom",
    yshift: 6,
    showarrow: false,
    font: { size: 13, color: pageColour("ink") },
  };
}

export function axisName(letter, panel) {
  return panel === 0 ? letter : `${letter}${panel + 1}`;
}

export function axisKey(letter, panel) {
  return `${letter}axis${panel === 0 ? "" : panel + 1}`;
}

function lineLook() {
  return {
    showline: true,
    linecolor: pageColour("line"),
    gridcolor: pageColour("grid"),
    zeroline: false,
    ticks: "outside",
    ticklen: 4,
    tickcolor: pageColour("line"),
    tickfont: { size: 11 },
    automargin: false,
  };
}
