// Makes trm/show/html/kernel.wasm of kernel.wat. Needs node and the npm package `wabt`:
//   npm install --prefix FOLDER wabt@1.0.39 && NODE_PATH=FOLDER/node_modules node scripts/build_kernel.mjs [OUT.wasm]
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const wabt = await createRequire(process.cwd() + "/")("wabt")();
const source = new URL("../trm/show/html/kernel.wat", import.meta.url);
const kernel = wabt.parseWat("kernel.wat", readFileSync(source, "utf-8"), { simd: true });
kernel.validate();
writeFileSync(process.argv[2] ?? new URL("kernel.wasm", source), kernel.toBinary({}).buffer);
