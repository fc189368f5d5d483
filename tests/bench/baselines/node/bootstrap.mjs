// Turns a bundled module into a Lambda runtime process, which polls the Runtime API for events over one connection.
//
// AWS's own runtime for Node (aws-lambda-ric) needs a native build. This one does less: no callbacks, no streams.

import { Agent, request } from "node:http";
import { fileURLToPath } from "node:url";

const RUNTIME = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime`;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

/** Serves the handler until the runtime ends, if this module is the main one. */
export async function serve(url, handler) {
  if (process.argv[1] !== fileURLToPath(url)) return;
  for (;;) {
    const { headers, body: event } = await call("GET", "/invocation/next");
    const id = headers["lambda-runtime-aws-request-id"];
    process.env._X_AMZN_TRACE_ID = headers["lambda-runtime-trace-id"] ?? "";
    const deadline = Number(headers["lambda-runtime-deadline-ms"]);
    const context = { awsRequestId: id, getRemainingTimeInMillis: () => deadline - Date.now() };
    try {
      const result = await handler(JSON.parse(event), context);
      await call("POST", `/invocation/${id}/response`, JSON.stringify(result));
    } catch (error) {
      const report = { errorType: error.name, errorMessage: error.message, stackTrace: error.stack.split("\n") };
      await call("POST", `/invocation/${id}/error`, JSON.stringify(report));
    }
  }
}

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
    const asking = request(`${RUNTIME}${path}`, { method, agent, headers }, (response) => {
      response.setEncoding("utf8");
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => resolve({ headers: response.headers, body: text }));
      response.on("error", reject);
    });
    asking.on("error", reject);
    asking.end(body);
  });
}
