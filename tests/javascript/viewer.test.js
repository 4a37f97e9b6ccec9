import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { TARGET, built } from "../../app/viewer/build.mjs";

test("the shipped page of saved views is built from these modules: npm run viewer writes it", async () => {
  assert.equal(await readFile(TARGET, "utf8"), await built());
});
