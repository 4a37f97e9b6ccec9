// Writes fsr/trace/viewer.html: script and style of app/viewer with the page's own modules, in one file. Run it by
// `npm run viewer` after a change of either.

import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
export const TARGET = here("../../fsr/trace/viewer.html");

export async function built() {
  const bundled = await build({
    entryPoints: [here("viewer.js")],
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2022",
    charset: "ascii",
    write: false,
  });
  const script = bundled.outputFiles[0].text.trim().replaceAll("</script", "<\\/script");
  const style = await transform(await readFile(here("viewer.css"), "utf8"), { loader: "css", minify: true });
  const parts = {
    HASH: `sha256-${createHash("sha256").update(script).digest("base64")}`,
    STYLE: style.code.trim(),
    SCRIPT: script,
  };
  const page = await readFile(here("viewer.html"), "utf8");
  return page.replace(/\{\{(HASH|STYLE|SCRIPT)\}\}/g, (_, name) => parts[name]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeFile(TARGET, await built());
