// The Merkle tree (RFC 6962, section 2), rebuilt from the entries that are there and the hashes that stand
// for those that are not.

const EMPTY_ROOT = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

function leafHash(entry) {
  return sha256(join([0], entry));
}

function nodeHash(left, right) {
  return sha256(join([1], left, right));
}

// Cuts [first, end) into complete subtrees, left to right, each the largest that is aligned and fits.
function subtrees(first, end) {
  const places = [];
  let at = first;
  while (at < end) {
    let level = 0;
    while (at % 2 ** (level + 1) === 0 && at + 2 ** (level + 1) <= end) level += 1;
    places.push({ level, index: at / 2 ** level });
    at += 2 ** level;
  }
  return places;
}

// What is not in the runs: before, between and behind them.
function gapsOf(runs, size) {
  const gaps = [];
  let end = 0;
  for (const [first, next] of [...runs, [size, size]]) {
    if (end < first) gaps.push([end, first]);
    end = next;
  }
  return gaps;
}

class Tree {
  constructor() {
    this.levels = []; // of each: index -> hash
  }

  put(level, index, hash) {
    while (this.levels.length <= level) this.levels.push(new Map());
    this.levels[level].set(index, hash);
  }

  get(level, index) {
    return this.levels[level]?.get(index);
  }

  // Computes every node whose two halves are known, level by level.
  async grow() {
    for (let level = 0; level < this.levels.length; level += 1) {
      const below = this.levels[level];
      const lefts = [...below.keys()].filter((index) => index % 2 === 0 && below.has(index + 1));
      const open = lefts.filter((index) => this.get(level + 1, index / 2) === undefined);
      const made = await inBatches(open, (index) => nodeHash(below.get(index), below.get(index + 1)));
      open.forEach((index, at) => this.put(level + 1, index / 2, made[at]));
    }
  }

  // The root over the first `size` leaves; null where it does not follow from what is known.
  async root(size) {
    const parts = subtrees(0, size).map(({ level, index }) => this.get(level, index));
    if (parts.length === 0) return fromHex(EMPTY_ROOT);
    if (parts.includes(undefined)) return null;
    let found = parts.pop();
    while (parts.length > 0) found = await nodeHash(parts.pop(), found);
    return found;
  }
}
