// Follows the log of an operation: what its job has emitted and logged, through the outcome. It runs
// in pages and in Node. log.d.ts describes the options. It reads the stream with fetch, as client.js
// does, and goes on after the last event when the stream has ended or the server was away.

import { Client, eventsOf, timerOf } from "./client.js";

const FINAL = ["succeeded", "failed", "canceled"];
const LONGEST_PAUSE_SECONDS = 10;
// The answers to a signed link that has expired, with and without a login.
const REFUSED = [401, 403, 404];

export async function followLog(url, { after = 0, onEvent, onReset, renew, ...options } = {}) {
  const client = new Client(url, options);
  for (let [address, refusal, failures, empty, last] = [url, null, 0, 0, after]; ; ) {
    try {
      const [timer, headers] = [timerOf(client.signal), { Accept: "text/event-stream" }];
      if (last) headers["Last-Event-ID"] = String(last);
      const response = await client.ask(address, { headers, timer });
      // The outcome was seen before.
      if (response.status === 204) return null;
      [refusal, empty] = [null, empty + 1];
      for await (const { id, event, data } of eventsOf(response, timer)) {
        [last, failures, empty] = [Number(id), 0, 0];
        if (event === "reset") await onReset?.(data.after);
        await onEvent?.({ id: last, event, data });
        if (FINAL.includes(event) && data?.status === event && data.links) return data;
      }
      // A server that cannot keep the stream open is asked less and less often while nothing is new.
      await client.pause(Math.min(LONGEST_PAUSE_SECONDS, 1.3 ** empty));
    } catch (error) {
      const other = refusal || !REFUSED.includes(error.status) ? null : await otherUrl(address, renew);
      [address, refusal, failures] = [other ?? address, other && error, failures + 1];
      if (!other) await client.recover(error, failures);
    }
  }
}

/** The caller's new URL when a signed link has expired, or the link without its key; else null. */
async function otherUrl(url, renew) {
  if (renew) return renew();
  const bare = new URL(url, globalThis.document?.baseURI);
  if (!bare.searchParams.has("sig")) return null;
  bare.searchParams.delete("sig");
  return bare;
}
