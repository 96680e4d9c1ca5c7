// The loop of a Node.js function: takes calls from the host, hands each to the handler.
//
// The host listens on a Unix socket and speaks the paths of AWS Lambda's Runtime API (2018-06-01)
// over HTTP/1.1; one connection is kept for all calls. No packages are needed.

import { existsSync } from "node:fs";
import { Agent, request } from "node:http";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const BASE = "/2018-06-01/runtime/";
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

/** Sends one request to the host; its headers and body. */
function ask(method, path, body = "") {
  return new Promise((answered, failed) => {
    const options = {
      agent,
      socketPath: process.env.DUNNAGE_RUNTIME_SOCKET,
      method,
      path: BASE + path,
      headers: { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) },
    };
    const sent = request(options, (answer) => {
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => answered({ headers: answer.headers, body: Buffer.concat(chunks) }));
      answer.on("error", failed);
    });
    sent.on("error", failed);
    sent.end(body);
  });
}

/** Tells the host that the function failed, and why. */
function report(path, error) {
  const thrown = error instanceof Error ? error : new Error(String(error));
  const stackTrace = String(thrown.stack).split("\n");
  const failure = { errorMessage: thrown.message, errorType: thrown.name, stackTrace };
  return ask("POST", path, JSON.stringify(failure));
}

/** What a handler is told about its call, by the names that Lambda uses. */
function contextOf(headers) {
  const deadline = Number(headers["lambda-runtime-deadline-ms"] ?? 0);
  return {
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"] ?? "",
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME ?? "",
    memoryLimitInMB: process.env.FUNCTION_MAX_MEMORY_MB ?? "",
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
  };
}

/** `module.function` to the function itself; the module may be ESM or CommonJS. */
async function load(name) {
  const dot = name.lastIndexOf(".");
  if (dot < 1) {
    throw new Error(`"${name}" does not name a handler: it is written module.function`);
  }
  const [stem, exported] = [resolve(name.slice(0, dot)), name.slice(dot + 1)];
  const file = [".mjs", ".js", ".cjs"].map((ending) => stem + ending).find(existsSync);
  if (file === undefined) {
    throw new Error(`there is no ${stem}.mjs, .js or .cjs`);
  }
  const module = await import(pathToFileURL(file).href);
  const handler = module[exported] ?? module.default?.[exported];
  if (typeof handler !== "function") {
    throw new Error(`${file} does not export a function ${exported}`);
  }
  return handler;
}

async function serve(handler) {
  for (;;) {
    const { headers, body } = await ask("GET", "invocation/next");
    const context = contextOf(headers);
    const call = `invocation/${context.awsRequestId}/`;
    let answer;
    try {
      answer = JSON.stringify((await handler(JSON.parse(body), context)) ?? null);
    } catch (error) {
      await report(call + "error", error);
      continue;
    }
    await ask("POST", call + "response", answer);
  }
}

let handler;
try {
  handler = await load(process.env.DUNNAGE_HANDLER ?? "");
} catch (error) {
  await report("init/error", error);
  console.error(error);
  process.exit(1);
}
await serve(handler);
