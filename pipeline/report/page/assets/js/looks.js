// Colours and markers, in the theme of the page.

import { svg } from "./dom.js";
import { study } from "./study.js";

const PLAIN = { light: "#444444", dark: "#b9c1c9", symbol: "circle", dash: "solid" };

// Outlines within a square of 14, for legends; the figures draw their own.
const OUTLINES = {
  circle: "M12 7A5 5 0 1 1 2 7A5 5 0 1 1 12 7Z",
  square: "M2.5 2.5H11.5V11.5H2.5Z",
  diamond: "M7 1L13 7L7 13L1 7Z",
  "diamond-tall": "M7 1L11 7L7 13L3 7Z",
  "triangle-up": "M7 1.5L13 12H1Z",
  "triangle-down": "M7 12.5L13 2H1Z",
  "triangle-left": "M1.5 7L12 1V13Z",
  "triangle-right": "M12.5 7L2 1V13Z",
  cross: "M5 1.5H9V5H12.5V9H9V12.5H5V9H1.5V5H5Z",
  x: "M2 4L4 2L7 5L10 2L12 4L9 7L12 10L10 12L7 9L4 12L2 10L5 7Z",
  hexagon: "M7 1L12.2 4V10L7 13L1.8 10V4Z",
  hexagon2: "M4 1.8H10L13 7L10 12.2H4L1 7Z",
  octagon: "M4.5 1H9.5L13 4.5V9.5L9.5 13H4.5L1 9.5V4.5Z",
  pentagon: "M7 1L13 5.5L10.7 12.5H3.3L1 5.5Z",
  star: "M7 .5L8.9 5.1L13.8 5.4L10 8.6L11.2 13.4L7 10.8L2.8 13.4L4 8.6L.2 5.4L5.1 5.1Z",
};

let theme = "light";

export function setLooksTheme(name) {
  theme = name;
}

export function lookOf(dimension, value) {
  return study.looks[dimension]?.[value] ?? PLAIN;
}

export function colourOf(look) {
  return look[theme];
}

// A colour of the page, as the style sheet has it.
export function pageColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function mark(look, { hollow = false } = {}) {
  const colour = colourOf(look);
  const paint = { fill: hollow ? "none" : colour, stroke: colour, "stroke-width": 1.4 };
  return svg("svg", { class: "mark", viewBox: "0 0 14 14", "aria-hidden": "true" }, svg("path", { d: OUTLINES[look.symbol], ...paint }));
}

export function stroke(look, { width = 2, colour = colourOf(look) } = {}) {
  const dash = look.dash === "solid" ? null : look.dash.replaceAll("px", "");
  const line = svg("line", { x1: 0, y1: 5, x2: 26, y2: 5, stroke: colour, "stroke-width": width, "stroke-dasharray": dash });
  return svg("svg", { class: "stroke", viewBox: "0 0 26 10", "aria-hidden": "true" }, line);
}
