// Has the AsyncAPI initiative's own parser judge a document: what it finds, as JSON, and 1 if there is an error.
"use strict";

const { Parser } = require("@asyncapi/parser");
const { readFileSync } = require("node:fs");

new Parser().parse(readFileSync(process.argv[2], "utf8")).then(({ document, diagnostics }) => {
  const faults = diagnostics.map(({ code, severity, path, message }) => ({
    code, severity, path: path.join("."), message,
  }));
  const found = {
    faults,
    channels: document ? document.channels().all().map((each) => each.address()).sort() : [],
    operations: document ? document.operations().all().length : 0,
    messages: document ? document.components().messages().all().map((each) => each.name()).sort() : [],
  };
  process.stdout.write(JSON.stringify(found) + "\n");
  process.exitCode = faults.some(({ severity }) => severity === 0) ? 1 : 0;
});
