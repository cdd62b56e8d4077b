// Follows the log of an operation: what its job has emitted and logged, through the outcome. It runs
// in pages and in Node. log.d.ts describes the options. It reads the stream with fetch, as client.js
// does, and goes on behind the last event when the stream has ended or the server was away.

import { Client, eventsOf, timerOf } from "./client.js";

const FINAL = ["succeeded", "failed", "canceled"];
const LONGEST_PAUSE_SECONDS = 10;

export async function followLog(url, { after = 0, onEvent, onReset, ...options } = {}) {
  const client = new Client(url, options);
  for (let [failures, empty, last] = [0, 0, after]; ; ) {
    try {
      const [timer, headers] = [timerOf(client.signal), { Accept: "text/event-stream" }];
      if (last) headers["Last-Event-ID"] = String(last);
      const response = await client.ask(url, { headers, timer });
      // The outcome was seen before.
      if (response.status === 204) return null;
      empty += 1;
      for await (const { id, event, data } of eventsOf(response, timer)) {
        [last, failures, empty] = [Number(id), 0, 0];
        if (event === "reset") await onReset?.(data.after);
        await onEvent?.({ id: last, event, data });
        if (FINAL.includes(event) && data?.status === event && data.links) return data;
      }
      // A server that cannot keep the stream open is asked less and less often while nothing is new.
      await client.pause(Math.min(LONGEST_PAUSE_SECONDS, 1.3 ** empty));
    } catch (error) {
      failures += 1;
      await client.recover(error, failures);
    }
  }
}
