// The container: reads a ZIP by its central directory, strictly. Each file once, nothing beyond the limits,
// and nothing before, behind or beside it.

const ZIP_LIMITS = { files: 65_534, file: 4096 * (2 + 65_535), total: 2 ** 30, name: 255 };
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let crc = index;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

// Gives name -> bytes of every file.
async function readZip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const files = new Map();
  let total = 0;
  for (const item of directoryOf(bytes, view)) {
    total += item.size;
    if (total > ZIP_LIMITS.total) refuse("ZIP", total, `at most ${ZIP_LIMITS.total} bytes in all`);
    if (files.has(item.name)) refuse("ZIP", item.name, "each file once");
    files.set(item.name, await contentOf(bytes, view, item));
  }
  return files;
}

function endOf(view) {
  const at = view.byteLength - 22;
  const isEnd = at >= 0 && view.getUint32(at, true) === 0x06054b50 && view.getUint16(at + 20, true) === 0;
  return isEnd ? at : refuse("ZIP", "another end", "a whole ZIP file, without a comment or anything behind it");
}

function directoryOf(bytes, view) {
  const end = endOf(view);
  const count = view.getUint16(end + 10, true);
  const start = view.getUint32(end + 16, true);
  if (view.getUint16(end + 4, true) || view.getUint16(end + 8, true) !== count) refuse("ZIP", "parts", "one file");
  if (count > ZIP_LIMITS.files || start === 0xffffffff) refuse("ZIP", count, "a bundle that this page can hold");
  const items = [];
  let at = start;
  while (items.length < count) {
    if (at + 46 > end || view.getUint32(at, true) !== 0x02014b50) refuse("ZIP", `byte ${at}`, "a directory entry");
    const nameSize = view.getUint16(at + 28, true);
    const next = at + 46 + nameSize + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    if (next > end) refuse("ZIP", `byte ${at}`, "a whole directory entry");
    items.push({
      name: safeName(bytes.subarray(at + 46, at + 46 + nameSize)),
      flags: view.getUint16(at + 8, true),
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      at: view.getUint32(at + 42, true),
    });
    at = next;
  }
  if (at !== end) refuse("ZIP", `byte ${at}`, "nothing behind the directory");
  if (count > 0 && !items.some((item) => item.at === 0)) refuse("ZIP", "something else", "a file at its first byte");
  return items;
}

// A relative path of plain segments.
function safeName(bytes) {
  const name = fromUtf8(bytes, "a name in the ZIP");
  const isPlain = name.split("/").every((part) => part !== "" && part !== "." && part !== "..");
  if (!isPlain || /[\\:\x00-\x1f\x7f]/.test(name) || name.length > ZIP_LIMITS.name) refuse("ZIP", name, "a plain relative name");
  return name;
}

async function contentOf(bytes, view, item) {
  const { name, at } = item;
  if (item.flags & 1) refuse(name, "encrypted", "a readable file");
  if (item.size > ZIP_LIMITS.file) refuse(name, item.size, `at most ${ZIP_LIMITS.file} bytes`);
  if (at + 30 > bytes.length || view.getUint32(at, true) !== 0x04034b50) refuse(name, `byte ${at}`, "its content");
  const nameSize = view.getUint16(at + 26, true);
  const start = at + 30 + nameSize + view.getUint16(at + 28, true);
  if (start + item.packed > bytes.length) refuse(name, "the end of the ZIP", "its content");
  if (fromUtf8(bytes.subarray(at + 30, at + 30 + nameSize), name) !== name) refuse(name, "two names", "one");
  const packed = bytes.subarray(start, start + item.packed);
  const content = item.method === 8 ? await inflate(packed, item) : packed;
  if (item.method !== 0 && item.method !== 8) refuse(name, `method ${item.method}`, "stored or deflated");
  if (content.length !== item.size || crc32(content) !== item.crc) refuse(name, "other bytes", "its size and CRC");
  return content;
}

async function inflate(packed, { name, size }) {
  const content = new Uint8Array(size);
  let at = 0;
  try {
    const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length > size) await reader.cancel(); // more than it said: never unpacked
      content.set(value, at); // throws a RangeError then
      at += value.length;
    }
  } catch {
    refuse(name, "other bytes", "deflated content");
  }
  return content.subarray(0, at);
}
