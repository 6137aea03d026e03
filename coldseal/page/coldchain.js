// What the log says of a sensor's product: the range that held when, by what it watched and which profile held
// for that, and its excursions. For the curve alone: no verdict rests on it.

const TIERS = ["nominal", "warning", "excursion", "critical"];

// A change holds from its moment on; what was planned for later falls.
function changed(history, at, value) {
  return [...history.filter((step) => step.at < at), { at, value }];
}

function valueAt(history, time) {
  return history.findLast(({ at }) => at <= time)?.value;
}

// From when to when which range holds for a series: low or high is undefined where there is no bound.
function rangesOf(entries, { device, sensor, quantity, unit }) {
  const profiles = new Map();
  const held = new Map(); // of each asset: which profile holds
  let watched = [];
  const hold = (asset, at, profile) => held.set(asset, changed(held.get(asset) ?? [], at, profile));
  for (const { kind, data, time } of entries) {
    const { assign, release, profile } = data;
    if (kind === "profile" && isObject(profile)) profiles.set(`${profile.name}/${profile.version}`, profile);
    if (kind === "config" && isObject(assign)) {
      const at = parseTime(assign.from) ?? time;
      if (assign.profile !== undefined) hold(assign.asset, at, `${assign.profile}/${assign.version}`);
      else if (assign.device === device && assign.sensor === sensor) watched = changed(watched, at, assign.asset);
    }
    if (kind === "config" && isObject(release)) {
      const at = parseTime(release.at) ?? time;
      const isAll = release.device === undefined && release.profile === undefined;
      const isOurs = isAll ? valueAt(watched, at) === release.asset : release.device === device && release.sensor === sensor;
      if (isOurs) watched = changed(watched, at, undefined);
      if (isAll || release.profile !== undefined) hold(release.asset, at, undefined);
    }
  }
  const moments = [...watched, ...[...held.values()].flat()].map(({ at }) => at);
  const starts = [...new Set(moments)].sort((one, other) => one - other);
  const ranges = starts.map((from, at) => {
    const name = valueAt(held.get(valueAt(watched, from)) ?? [], from);
    const rule = profiles.get(name)?.quantities?.[quantity];
    return { from, to: starts[at + 1] ?? Infinity, name, ...boundsOf(isObject(rule) && rule.unit === unit ? rule : {}) };
  });
  return joined(ranges.filter(({ low, high }) => low !== undefined || high !== undefined));
}

function boundsOf({ low, high }) {
  const read = (text) => (typeof text === "string" && text !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined);
  return { low: read(low), high: read(high) };
}

// The same range, one behind the other, is one.
function joined(ranges) {
  const found = [];
  for (const range of ranges) {
    const before = found.at(-1);
    const isSame = before !== undefined && ["name", "low", "high"].every((key) => before[key] === range[key]) && before.to === range.from;
    if (isSame) before.to = range.to;
    else found.push(range);
  }
  return found;
}

// The excursions of a series: each with all that its entries say, from the first reading to the end, or as far
// as it is known.
function excursionsOf(entries, { device, sensor, quantity }) {
  const found = new Map();
  for (const { kind, data } of entries) {
    const isOurs = kind === "excursion" && data.device === device && data.sensor === sensor && data.quantity === quantity;
    const [from, to] = [parseTime(data.from), parseTime(data.to)];
    if (!isOurs || from === null || to === null) continue;
    const before = found.get(data.id) ?? { from, to, tier: "nominal", isMean: data.direction === "mkt" };
    const tier = TIERS.indexOf(data.tier) > TIERS.indexOf(before.tier) ? data.tier : before.tier;
    found.set(data.id, { ...before, from: Math.min(before.from, from), to: Math.max(before.to, to), tier });
  }
  return [...found.values()];
}
