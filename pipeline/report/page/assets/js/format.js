// Numbers and lengths as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB"];
const NONE = "–";

// 1536 -> "1.5 KiB".
export function byteText(bytes) {
  let size = bytes;
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(size) ? size : Number(size.toPrecision(size < 100 ? 3 : 4))} ${UNITS[unit]}`;
}

export function lengthText(bits) {
  return bits === null ? NONE : byteText(bits / 8);
}

export function wholeText(number) {
  return number === null ? NONE : Math.round(number).toLocaleString("en");
}

export function bitText(bits) {
  return bits === null ? NONE : `${wholeText(bits)} bits`;
}

export function scoreText(score) {
  return score === null ? NONE : score.toFixed(Math.abs(score) >= 10 ? 1 : 2);
}

export function intervalText(low, high) {
  return low === null || high === null ? NONE : `${scoreText(low)} to ${scoreText(high)}`;
}

// 12345 -> "12.3 k".
export function shortText(number) {
  if (number === null || Number.isNaN(number)) return NONE;
  const steps = [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]];
  const found = steps.find(([, size]) => Math.abs(number) >= size);
  return found ? `${Number((number / found[1]).toPrecision(3))} ${found[0]}` : String(Number(number.toPrecision(3)));
}

export function secondsText(seconds) {
  if (seconds === null) return NONE;
  if (seconds < 120) return `${Number(seconds.toPrecision(3))} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(1)} min` : `${shortText(seconds / 3600)} h`;
}

export function factorText(factor) {
  return `${Number(factor.toPrecision(factor < 10 ? 2 : 3)).toLocaleString("en")}×`;
}

// {"lr": 0.0001, "rank": null} -> "lr 0.0001".
export function parameterText(json) {
  const found = json === null ? {} : JSON.parse(json);
  const said = Object.entries(found).filter(([, value]) => value !== null);
  return said.map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
}

export function counted(number, one, many = `${one}s`) {
  return `${wholeText(number)} ${number === 1 ? one : many}`;
}
