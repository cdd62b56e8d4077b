// Submits the body in the first argument by Azure's own pipeline, and polls by @azure/core-lro.
// Prints the end as JSON: {value} or {error}, and the states that the poller reported.
import { createHttpPoller } from "@azure/core-lro";
import { createDefaultHttpClient, createHttpHeaders, createPipelineFromOptions, createPipelineRequest }
  from "@azure/core-rest-pipeline";

const { url, headers, body, interrupt, cancel } = JSON.parse(process.argv[2]);
const pipeline = createPipelineFromOptions({});
const client = createDefaultHttpClient();

async function send(method, url, body) {
  const request = createPipelineRequest({
    url, method, allowInsecureConnection: true, body: body && JSON.stringify(body),
    headers: createHttpHeaders({ ...headers, ...(body && { "Content-Type": "application/json" }) }),
  });
  const response = await pipeline.sendRequest(client, request);
  if (response.status >= 400) throw new Error(`${response.status} ${response.bodyAsText}`);
  const parsed = response.bodyAsText ? JSON.parse(response.bodyAsText) : undefined;
  const rawResponse = {
    request: { method, url, body }, statusCode: response.status, headers: response.headers.toJSON(),
    body: parsed,
  };
  return { flatResponse: parsed, rawResponse };
}

let links;
const operation = {
  sendInitialRequest: async () => {
    const sent = await send("POST", url, body);
    links = sent.flatResponse.links;
    return sent;
  },
  sendPollRequest: (path) => send("GET", path),
};

const states = [];
const options = { intervalInMs: 500, resolveOnUnsuccessful: false };
let poller = createHttpPoller(operation, options);
try {
  await poller.submitted();
  if (interrupt) poller = createHttpPoller(operation, { ...options, restoreFrom: await poller.serialize() });
  if (cancel) await send("POST", links.cancel);
  poller.onProgress((state) => states.push(state.status));
  console.log(JSON.stringify({ value: await poller.pollUntilDone(), states }));
} catch (error) {
  console.log(JSON.stringify({ error: error.message, states }));
}
