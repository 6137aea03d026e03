// How a log that was lost goes on: under the next origin, with a genesis entry that cites what was witnessed
// last. Here the citation is read and the witnesses' lines in it are verified; the log before is another bundle.

const NUMBERED = /^(.+)\/([2-9]|[1-9][0-9]{1,8})$/;
const MAX_CITED_NOTE = 16_384;

function nextOrigin(origin) {
  const [, first, number] = NUMBERED.exec(origin) ?? [];
  return first === undefined ? `${origin}/2` : `${first}/${Number(number) + 1}`;
}

// Gives the checkpoint that a genesis entry cites, null where it cites none.
function readLink({ log, data }) {
  if (!Object.hasOwn(data, "after")) return null;
  const { after } = data;
  const isWhole = hasExactly(after, ["note", "origin", "root", "size"]) && areTexts([after.note, after.origin, after.root]);
  if (!isWhole) refuse("genesis, after", "other fields", "note, origin, root, size");
  const bytes = UTF8.encode(after.note);
  const cited = readCheckpoint(bytes);
  if (cited.size === 0 || bytes.length > MAX_CITED_NOTE) refuse("genesis, after", `size ${cited.size}`, "a checkpoint to continue from");
  const isSame = after.origin === cited.origin && after.size === cited.size && isEqual(fromBase64(after.root, "genesis, after"), cited.root);
  if (!isSame) refuse("genesis, after", after.origin, "what its note says");
  if (log !== nextOrigin(cited.origin)) refuse("genesis, log", log, `${nextOrigin(cited.origin)}, behind ${cited.origin}`);
  return cited;
}

// How many of the known witnesses cosigned what is cited; a line that fails is none.
async function witnessesOf({ note }, witnesses) {
  const text = UTF8.encode(note.text);
  const held = await Promise.all(witnesses.map(async (key) => {
    const line = note.signatures.find(({ name, id }) => name === key.name && id === key.id);
    try {
      return line !== undefined && (await isSignedBy(key, line.signature, text));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return false;
    }
  }));
  return held.filter(Boolean).length;
}
