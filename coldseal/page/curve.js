// The curve of one series as SVG: broken where readings are missing, with ranges and excursions where the
// log has them.

const SVG = "http://www.w3.org/2000/svg";
const FRAME = { width: 800, height: 240, left: 56, right: 12, top: 12, bottom: 32 };
const MAX_POINTS = 1600; // two for each pixel: more cannot be seen
const GAP_INTERVALS = 4; // of the usual interval between readings, and
const GAP_MS = 30_000; // so much time: then readings are missing

function drawn(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Where readings are missing: from and to, in milliseconds.
function missingIn(points) {
  const steps = points.slice(1).map(({ time }, at) => time - points[at].time);
  const usual = steps.toSorted((one, other) => one - other)[Math.floor(steps.length / 2)] ?? 0;
  const limit = Math.max(GAP_MS, GAP_INTERVALS * usual);
  return steps.flatMap((step, at) => (step > limit ? [{ from: points[at].time, to: points[at + 1].time }] : []));
}

// Keeps the least and the greatest value of each of some hundred stretches, in order.
function thinned(points) {
  if (points.length <= MAX_POINTS) return points;
  const width = Math.ceil((2 * points.length) / MAX_POINTS);
  const kept = [];
  for (let at = 0; at < points.length; at += width) {
    const part = points.slice(at, at + width);
    const least = part.reduce((one, other) => (other.value < one.value ? other : one));
    const most = part.reduce((one, other) => (other.value > one.value ? other : one));
    kept.push(...(least.time <= most.time ? [least, most] : [most, least]));
  }
  return kept;
}

// Round steps that divide a range in four or five.
function ticksOf(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((found) => found >= rough);
  const ticks = [];
  for (let at = Math.ceil(low / step); at * step <= high; at += 1) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}

function summaryOf({ points }) {
  const values = points.map(({ value }) => value);
  const sum = values.reduce((total, value) => total + value, 0);
  return {
    count: values.length,
    low: values.reduce((least, value) => Math.min(least, value)),
    high: values.reduce((most, value) => Math.max(most, value)),
    mean: sum / values.length,
  };
}

function boundsIn({ low, high }) {
  return [low, high].filter((bound) => bound !== undefined);
}

function limitsOf({ ranges }) {
  return ranges.flatMap(boundsIn);
}

function scaleOf(series) {
  const { points } = series;
  const limits = limitsOf(series);
  const { low, high } = summaryOf(series);
  const [least, most] = [Math.min(low, ...limits), Math.max(high, ...limits)];
  const margin = (most - least) * 0.08 || 1;
  const [first, last] = [points[0].time, points.at(-1).time];
  const [bottom, top] = [least - margin, most + margin];
  const across = FRAME.width - FRAME.left - FRAME.right;
  const down = FRAME.height - FRAME.top - FRAME.bottom;
  const isWithin = (time) => Math.min(Math.max(time, first), last);
  return {
    x: (time) => FRAME.left + (last === first ? across / 2 : (across * (isWithin(time) - first)) / (last - first)),
    y: (value) => FRAME.top + (down * (top - value)) / (top - bottom),
    first, last, bottom, top,
  };
}

function pathOf(points, missing, { x, y }) {
  const ends = new Set(missing.map(({ to }) => to));
  return points.map(({ time, value }, at) => `${at === 0 || ends.has(time) ? "M" : "L"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`).join("");
}

function drawCurve(series, label) {
  const { points, ranges, excursions } = series;
  const scale = scaleOf(series);
  const missing = missingIn(points);
  const right = FRAME.width - FRAME.right;
  const floor = FRAME.height - FRAME.bottom;
  const svg = drawn("svg", { viewBox: `0 0 ${FRAME.width} ${FRAME.height}`, role: "img", "aria-label": label });
  const band = (kind, { from, to }) => {
    const width = Math.max(1, scale.x(to) - scale.x(from));
    svg.append(drawn("rect", { class: kind, x: scale.x(from), y: FRAME.top, width, height: floor - FRAME.top }));
  };
  for (const span of missing) band("missing", span);
  for (const span of excursions) if (!span.isMean) band("excursion", span); // a mean is of no moment
  for (const tick of ticksOf(scale.bottom, scale.top)) {
    svg.append(drawn("line", { class: "grid", x1: FRAME.left, x2: right, y1: scale.y(tick), y2: scale.y(tick) }));
    svg.append(drawn("text", { class: "tick", x: FRAME.left - 6, y: scale.y(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  for (const range of ranges) {
    const [x1, x2] = [scale.x(range.from), scale.x(range.to)];
    for (const limit of boundsIn(range)) svg.append(drawn("line", { class: "limit", x1, x2, y1: scale.y(limit), y2: scale.y(limit) }));
  }
  for (const at of [0, 0.25, 0.5, 0.75, 1]) {
    const time = scale.first + at * (scale.last - scale.first);
    const anchor = at === 0 ? "start" : at === 1 ? "end" : "middle";
    svg.append(drawn("text", { class: "tick", x: FRAME.left + at * (right - FRAME.left), y: FRAME.height - 10, "text-anchor": anchor }, shortTime(time)));
  }
  svg.append(drawn("path", { class: "curve", d: pathOf(keepingEnds(points, missing), missing, scale) }));
  if (points.length === 1) svg.append(drawn("circle", { class: "point", cx: scale.x(points[0].time), cy: scale.y(points[0].value), r: 3 }));
  return svg;
}

// Thins each unbroken part by itself, so that the breaks stay where they are.
function keepingEnds(points, missing) {
  const ends = new Set(missing.map(({ to }) => to));
  const parts = [[]];
  for (const point of points) {
    if (ends.has(point.time)) {
      parts.push([]);
      ends.delete(point.time);
    }
    parts.at(-1).push(point);
  }
  return parts.flatMap((part) => (part.length > MAX_POINTS ? [part[0], ...thinned(part.slice(1, -1)), part.at(-1)] : part));
}

function shortTime(time) {
  return new Date(time).toISOString().slice(0, 16).replace("T", " ");
}
