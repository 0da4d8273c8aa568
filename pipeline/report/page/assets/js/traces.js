// What the curves are drawn of: points, frontiers with their intervals, ranges of seeds.

import { colourOf, lookOf, pageColour } from "./looks.js";
import { state } from "./state.js";
import { groupKey, scopeOf, study } from "./study.js";

// From so many programs on, markers have this size and opacity.
const CROWDS = [
  { from: 20_000, size: 4, opacity: 0.22 },
  { from: 3_000, size: 5, opacity: 0.4 },
  { from: 0, size: 7, opacity: 0.5 },
];

export function pointTraces(group, axes, number) {
  const { points } = study;
  const score = points[`${state.split}_performance`].values;
  const lengths = points.program_length_bits.values;
  const crowd = CROWDS.find((it) => number >= it.from);
  return [...group.values()].map((rows) => {
    const look = lookOf(state.colour, points[state.colour].at(rows[0]));
    const hollow = points.is_imported.values[rows[0]];
    return {
      type: "scattergl",
      mode: "markers",
      x: Float64Array.from(rows, (row) => lengths[row]),
      y: Float64Array.from(rows, (row) => score[row]),
      customdata: Int32Array.from(rows),
      hoverinfo: "none",
      marker: {
        color: colourOf(look),
        symbol: hollow ? `${look.symbol}-open` : look.symbol,
        size: crowd.size,
        opacity: crowd.opacity,
      },
      ...axes,
    };
  });
}

// The steps of a frontier, and its members with their intervals.
export function curveTraces(curve, axes) {
  const { points } = study;
  const members = study.membersOf[curve].filter((point) => points[`${state.split}_performance`].at(point) !== null);
  if (members.length === 0) return [];
  const score = (point) => points[`${state.split}_performance`].at(point);
  const x = members.map((point) => points.program_length_bits.at(point));
  const y = members.map(score);
  const imported = study.curves.is_imported.values[curve] === 1;
  const line = lineLook(curve);
  const end = study.largest.get(groupKey(study.curves, curve)) ?? x.at(-1);
  const looks = members.map((point) => lookOf(state.colour, points[state.colour].at(point)));
  const steps = {
    type: "scatter",
    mode: "lines",
    x: [...x, Math.max(end, x.at(-1))],
    y: [...y, y.at(-1)],
    line: { shape: "hv", color: line.colour, dash: line.dash, width: imported ? 1.2 : 2 },
    hoverinfo: "skip",
    ...axes,
  };
  const dots = {
    type: "scatter",
    mode: "markers",
    x,
    y,
    customdata: members,
    hoverinfo: "none",
    marker: {
      color: imported ? pageColour("paper") : looks.map(colourOf),
      symbol: looks.map((look) => look.symbol),
      size: members.length > 60 ? 6 : 9,
      line: { width: imported ? 1.6 : 1, color: imported ? looks.map(colourOf) : pageColour("paper") },
    },
    ...axes,
  };
  const low = members.map((point) => points.test_low.at(point));
  if (state.split === "test" && state.intervals === "on" && low.some((it) => it !== null)) {
    dots.error_y = {
      type: "data",
      symmetric: false,
      // Both ends of a percentile interval may lie on one side of the score.
      array: members.map((point) => Math.max(0, (points.test_high.at(point) ?? score(point)) - score(point))),
      arrayminus: members.map((point, place) => Math.max(0, score(point) - (low[place] ?? score(point)))),
      color: line.colour,
      thickness: 1,
      width: 3,
    };
  }
  return [steps, dots];
}

// A line has the colour of what all its programs share; where they share nothing, it is grey and its dash tells the
// base model.
function lineLook(curve) {
  const model = study.curves.model.at(curve);
  const scope = scopeOf(curve);
  const own = lookOf("model", model).dash;
  if (scope.kind === state.colour) return { colour: colourOf(lookOf(state.colour, scope.name)), dash: own };
  if (["model", "stage", "study"].includes(state.colour)) {
    const look = lookOf(state.colour, study.curves[state.colour].at(curve));
    return { colour: colourOf(look), dash: look.dash };
  }
  return { colour: pageColour("soft"), dash: own };
}

// Lowest to highest score over the frontiers of single seeds, where every seed has a program.
export function bandTraces(curves, axes) {
  const groups = Map.groupBy(curves, (curve) => groupKey(study.curves, curve));
  return [...groups.values()].filter((group) => group.length > 1).map((group) => bandTrace(group, axes)).filter(Boolean);
}

function bandTrace(curves, axes) {
  const { points } = study;
  const bits = (point) => points.program_length_bits.at(point);
  const score = (point) => points[`${state.split}_performance`].at(point);
  const members = curves.map((curve) => study.membersOf[curve]);
  if (members.some((of) => of.length === 0)) return null;
  const start = Math.max(...members.map((of) => bits(of[0])));
  const lengths = [...new Set(members.flat().map(bits))].filter((it) => it >= start).sort((one, other) => one - other);
  const ends = lengths.map((length) => {
    const scores = members.map((of) => score(of.findLast((point) => bits(point) <= length)));
    return [Math.min(...scores), Math.max(...scores)];
  });
  const last = Math.max(lengths.at(-1), study.largest.get(groupKey(study.curves, curves[0])) ?? 0);
  const x = [];
  const side = [[], []];
  for (const [place, length] of lengths.entries()) {
    x.push(length, lengths[place + 1] ?? last);
    for (const which of [0, 1]) side[which].push(ends[place][which], ends[place][which]);
  }
  const model = study.curves.model.at(curves[0]);
  return {
    type: "scatter",
    mode: "lines",
    x: [...x, ...x.toReversed()],
    y: [...side[1], ...side[0].toReversed()],
    fill: "toself",
    fillcolor: state.colour === "model" ? colourOf(lookOf("model", model)) : pageColour("soft"),
    opacity: 0.16,
    line: { width: 0 },
    hoverinfo: "skip",
    ...axes,
  };
}
