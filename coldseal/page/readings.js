// Readings: the table that the entries give, the curve of each sensor, and timestamps (RFC 3161).

const COLUMNS = ["seq", "time", "device", "sensor", "quantity", "value", "unit", "flags", "indication", "calibration"];
const COLUMNS_BEFORE = COLUMNS.slice(0, 8); // tables of bundles from before calibration was known

function quantitiesOf({ kind, data }) {
  return kind === "reading" && Array.isArray(data.q) ? data.q.filter(isObject) : [];
}

// RFC 4180: quoted only where it must be.
function csvField(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csvRow(fields) {
  return `${fields.map(csvField).join(",")}\n`;
}

// What a sensor showed, with its unit where that was another one.
function indicationOf({ i, iu }) {
  return [i, iu].map((text) => String(text ?? "")).filter((text) => text !== "").join(" ");
}

// The rows of one entry in readings.csv.
function csvRows(entry, width) {
  const { seq, t, src, data } = entry;
  const flags = Array.isArray(data.flags) ? data.flags.filter((flag) => typeof flag === "string").join(" ") : "";
  const row = (item) => [seq, t, src.dev, data.sensor, item.n, item.v, item.u, flags, indicationOf(item), item.c];
  return quantitiesOf(entry).map((item) => csvRow(row(item).slice(0, width))).join("");
}

// The seq at which the table is not what the entries give, or null where it is.
function csvFault(content, entries) {
  const table = fromUtf8(content, "readings.csv");
  const columns = [COLUMNS, COLUMNS_BEFORE].find((each) => table.startsWith(csvRow(each)));
  if (columns === undefined) return 0;
  let at = csvRow(columns).length;
  let last = 0;
  for (const entry of entries) {
    const rows = csvRows(entry, columns.length);
    if (!table.startsWith(rows, at)) return entry.seq;
    if (rows !== "") last = entry.seq;
    at += rows.length;
  }
  return at === table.length ? null : last;
}

// One series for each sensor and quantity: its points in order of seq, with what the log says of its product.
function seriesOf(entries) {
  const found = new Map();
  for (const entry of entries) {
    for (const { n, u, v, t } of quantitiesOf(entry)) {
      const value = Number(v);
      if (typeof v !== "string" || v === "" || !Number.isFinite(value)) continue;
      const name = JSON.stringify([entry.src.dev, entry.data.sensor, n, u]);
      if (!found.has(name)) found.set(name, { device: String(entry.src.dev), sensor: String(entry.data.sensor), quantity: String(n), unit: String(u), points: [] });
      found.get(name).points.push({ time: parseTime(t) ?? entry.time, value, seq: entry.seq, isDoubtful: Array.isArray(entry.data.flags) });
    }
  }
  const all = [...found.values()];
  for (const series of all) {
    series.points.sort((one, other) => one.time - other.time || one.seq - other.seq);
    series.excursions = excursionsOf(entries, series);
    series.ranges = rangesOf(entries, series).filter(({ from, to }) => from <= series.points.at(-1).time && to > series.points[0].time);
  }
  const isTemperature = ({ unit }) => unit === "Cel";
  return all.sort((one, other) => isTemperature(other) - isTemperature(one));
}

// One value of DER at `at`: its tag, its content, and where the next one begins.
function readDer(bytes, at) {
  let size = bytes[at + 1];
  let start = at + 2;
  if (size > 0x80) {
    size = Number.parseInt(toHex(bytes.subarray(start, start + (size & 0x7f))), 16);
    start += bytes[at + 1] & 0x7f;
  }
  if (!(start + size <= bytes.length)) refuse("timestamp", `byte ${at}`, "DER");
  return { tag: bytes[at], content: bytes.subarray(start, start + size), next: start + size };
}

function partsOf(bytes) {
  const parts = [];
  for (let at = 0; at < bytes.length; at = parts.at(-1).next) parts.push(readDer(bytes, at));
  return parts.map(({ content }) => content);
}

// What a timestamp says: the hash that was stamped (in hex) and when. Its signature is not verified.
function readTimestamp(response) {
  try {
    const [, token] = partsOf(partsOf(response)[0]); // RFC 3161, 2.4.2: status, token
    const signed = partsOf(partsOf(partsOf(token)[1])[0]); // RFC 5652, 5.1: version, hashes, content …
    const stamped = partsOf(partsOf(partsOf(partsOf(signed[2])[1])[0])[0]); // version, policy, imprint, serial, time …
    return { imprint: toHex(partsOf(stamped[2])[1]), time: new TextDecoder().decode(stamped[4]) };
  } catch {
    return refuse("timestamp", "other bytes", "a granted timestamp");
  }
}
