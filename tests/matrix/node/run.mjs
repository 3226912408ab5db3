// Does everything that the matrix asks of a client, and prints what came of it as one line of JSON.
// Arguments: the client's module, the folder of packages, and what model.py has, as JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [name, packages, given] = process.argv.slice(2);
const task = JSON.parse(given);
const load = (id) => import(pathToFileURL(createRequire(`${packages}/`).resolve(id)));
const client = await (await import(`./${name}.mjs`)).default(load, task);

async function collected(prompt) {
  const pieces = [];
  try {
    for await (const piece of client.stream(prompt)) pieces.push(piece);
  } catch (error) {
    return { pieces, message: String(error.message), status: error.status ?? null };
  }
  return { pieces };
}

async function refused(work) {
  try {
    return await work();
  } catch (error) {
    return { message: String(error.message), status: error.status ?? null };
  }
}

async function first(prompt) {
  for await (const piece of client.stream(prompt)) return piece; // leaving the loop leaves the stream
}

const { prompts } = task;
const results = {
  plain: await refused(() => client.plain(prompts.hello)),
  stream: await collected(prompts.hello),
  tools: await refused(() => client.tools()),
  look: await refused(() => client.look()),
  shape: await refused(async () => JSON.parse(await client.shape())),
  refused: await refused(() => client.plain(prompts.refuse)),
  broken: await collected(prompts.break),
  left: await first(prompts.wait),
};
console.log(JSON.stringify(results));
process.stdin.resume(); // alive until the test has seen that the upstream was left
process.stdin.on("end", () => process.exit(0));
