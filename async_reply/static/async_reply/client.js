// Submits a request that takes long, and follows its operation to the result. It runs in pages and
// in Node. client.d.ts describes the options. A page cannot see a 302, because fetch follows it: the
// client asks the monitor, which never redirects. Without a monitor, a redirected answer is the result.

const [SUCCEEDED, FAILED] = [["succeeded", "completed"], ["failed", "canceled", "cancelled"]];
const UNFINISHED = ["pending", "running", "canceling", "accepted", "queued", "notstarted", "inprogress"];
const [REQUEST_SECONDS, UPLOAD_SECONDS, LONGEST_PAUSE_SECONDS, LONGEST_DELAY_SECONDS] = [60, 3600, 30, 1e6];
// A stream has a comment every 30 seconds. A server that cannot keep it open ends it at once.
const [SILENCE_SECONDS, SHORT_STREAM_SECONDS, FIELDS] = [75, 3, /^(event|id|data): ?(.*)$/gm];
// Bodies that are sent as they are. All others are sent as JSON.
const RAW = [String, FormData, URLSearchParams, Blob, ArrayBuffer, Uint8Array];
const FETCH = (...request) => globalThis.fetch(...request);
const absolute = (url) => new URL(url, globalThis.document?.baseURI);
const isAddress = (value) => typeof value === "string" || value instanceof URL;
const statusOf = (operation) => String(operation?.status ?? "").toLowerCase();
export const questionOf = (operation) => operation.input_required ?? operation.inputRequired; // or in camel case
/** Marks an error that a repeated request may avoid. */
const passing = (error) => Object.assign(error, { isPassing: true });

/** The operation failed or was canceled, or the server refused a request. */
export class OperationFailed extends Error {
  constructor(problem, { status = problem.status, operation = null, retryAfter = null } = {}) {
    super(problem.detail || problem.message || problem.title || `The server answered ${status}.`);
    const isCanceled = /^cancel/.test(statusOf(operation)) || /operation-canceled$/.test(problem.type);
    Object.assign(this, { name: "OperationFailed", problem, status, operation, retryAfter, isCanceled });
  }
}

export async function submit(url, body, options = {}) {
  const client = new Client(url, options);
  const isRaw = body === undefined || RAW.some((type) => Object(body) instanceof type);
  const headers = isRaw ? {} : { "Content-Type": "application/json" };
  if (options.idempotencyKey) headers["Idempotency-Key"] = options.idempotencyKey;
  const sent = { method: "POST", headers, body: isRaw ? body : JSON.stringify(body), seconds: UPLOAD_SECONDS };
  // A request without a key is not repeated: it could start a second operation.
  if (!options.idempotencyKey) client.retries = 0;
  const response = await client.persist(url, sent);
  if (response.status !== 202) return { location: null, result: null, operation: null, response };
  const operation = await documentOf(response);
  const address = (name) => response.headers.get(name) && new URL(response.headers.get(name), response.url).href;
  const status = address("Location") ?? operation?.links?.self ?? null;
  const monitor = address("Operation-Location") ?? address("Azure-AsyncOperation") ?? operation?.links?.monitor;
  if (!monitor && !status) throw new TypeError("The 202 names no URL that this page can read: see CORS.");
  return { location: monitor ?? status, result: monitor ? status : null, operation, response };
}

export async function follow(location, options = {}) {
  const submission = isAddress(location) ? { location } : location;
  return submission.location ? new Follower(submission, options).run() : submission.response;
}

export async function cancel(target, options = {}) {
  const client = new Client(isAddress(target) ? target : target.links.self, options);
  const operation = isAddress(target) ? await documentOf(await client.persist(target)) : target;
  if (SUCCEEDED.concat(FAILED).includes(statusOf(operation))) return null;
  if (operation?.links && !operation.links.cancel) return null;
  const [url, method] = operation?.links ? [operation.links.cancel, "POST"] : [target, "DELETE"];
  return documentOf(await client.persist(url, { method }));
}

/** Sends requests. The caller's headers go to the origin of the first URL only. For the other modules, too. */
export class Client {
  constructor(url, { headers = {}, credentials = "same-origin", signal, fetch = FETCH, retries = 20 }) {
    Object.assign(this, { origin: absolute(url).origin, headers, credentials, signal, fetch, retries });
  }

  /** The answer; raises OperationFailed for a status from 400 on. */
  async ask(url, { seconds = REQUEST_SECONDS, timer = timerOf(this.signal), headers, ...request } = {}) {
    const target = absolute(url);
    const own = typeof this.headers === "function" ? await this.headers() : this.headers;
    const sent = new Headers(target.origin === this.origin ? own : {});
    Object.entries(headers ?? {}).forEach(([name, value]) => sent.set(name, value));
    timer.start(seconds);
    const more = { headers: sent, credentials: this.credentials, signal: timer.signal };
    const response = await this.fetch(target.href, { ...request, ...more })
      .catch((error) => { throw passing(error); })
      .finally(() => timer.stop());
    if (response.status >= 400) throw await failureOf(response);
    return response;
  }

  /** Ask, and repeat the request while the network or the server is away. */
  async persist(url, request, failures = 1) {
    return this.ask(url, request).catch(async (error) => {
      await this.recover(error, failures);
      return this.persist(url, request, failures + 1);
    });
  }

  /** Pause after an error that may pass; raise any other error, and the caller's abort. */
  async recover(error, failures) {
    this.signal?.throwIfAborted();
    const isTooMuch = failures > this.retries && (globalThis.navigator?.onLine !== false || !this.retries);
    if (!error.isPassing || isTooMuch) throw error;
    await this.pause(error.retryAfter ?? Math.min(LONGEST_PAUSE_SECONDS, 2 ** (failures - 1)));
  }

  /** Wait so long and up to a quarter longer: not all clients come back at once. */
  async pause(seconds) {
    const { start, stop, end, signal } = timerOf(this.signal);
    start(seconds * (1 + Math.random() / 4));
    // A machine that is back on the network asks at once.
    globalThis.addEventListener?.("online", end, { signal });
    await new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener("abort", resolve)));
    stop();
    this.signal?.throwIfAborted();
  }
}

/** Follows one operation by the best way that works: events, then long polls, then polls. */
class Follower {
  constructor({ location, result = null, operation = null }, options) {
    Object.assign(this, { location: absolute(location).href, result, operation, options, looks: 0 });
    Object.assign(this, { client: new Client(location, options), strikes: { events: 0, wait: 0, poll: 0 } });
  }

  async run() {
    for (let failures = 0; ; ) {
      // After an error a plain poll finds out whether the server is back.
      const mode = failures || !this.operation ? "poll" : this.bestMode();
      try {
        const answer = mode === "events" ? await this.stream() : await this.look(mode);
        if (answer) return answer;
        failures = 0;
      } catch (error) {
        [failures, this.strikes[mode]] = [failures + 1, this.strikes[mode] + 1];
        // If the stream is refused, the next poll says why.
        const isRefused = mode === "events" && error instanceof OperationFailed && !error.operation;
        if (!isRefused && !(await this.renew(error))) await this.client.recover(error, failures);
      }
    }
  }

  /** The first of the wanted ways that has not failed twice in a row. */
  bestMode() {
    const works = (mode) => this.strikes[mode] < 2 && (mode !== "events" || this.operation.links?.events);
    return (this.options.modes ?? ["events", "wait", "poll"]).find(works) ?? "poll";
  }

  /** Ask for the document once, then pause if the operation has not finished. */
  async look(mode) {
    const [start, wait] = [Date.now(), mode === "wait" ? this.options.waitSeconds ?? 20 : 0];
    const headers = wait ? { Prefer: `wait=${wait}` } : {};
    // A question ends a wait, but for a client that knows it already.
    if (wait && this.tag && questionOf(this.operation)) headers["If-None-Match"] = this.tag;
    const [url, isMonitor] = [this.operation?.links?.monitor ?? this.location, this.result !== null];
    const response = await this.client.ask(url, { headers, seconds: REQUEST_SECONDS + wait });
    const [operation, retryAfter] = [await documentOf(response, isMonitor), retryAfterOf(response)];
    if (!operation && isMonitor && response.status === 200) throw new TypeError("The monitor shows no status.");
    if (!operation && ![202, 304].includes(response.status) && retryAfter === null) return response;
    if (operation) this.tag = response.headers.get("ETag");
    const answer = operation && (await this.note(operation, response));
    if (answer) return answer;
    this.looks += 1;
    if (wait) this.strikes.wait = 0;
    const wasHeld = wait && Date.now() - start > wait * 900;
    if (!wasHeld) await this.client.pause(retryAfter ?? Math.min(10, 1.3 ** this.looks));
  }

  /** Read events until the operation finishes or the stream ends. */
  async stream() {
    let [start, timer, count] = [Date.now(), timerOf(this.client.signal), 0];
    const headers = { Accept: "text/event-stream" };
    const response = await this.client.ask(this.operation.links.events, { headers, timer });
    for await (const { data: operation } of eventsOf(response, timer)) {
      count += 1;
      const answer = await this.note(operation, null);
      if (answer) return answer;
    }
    const isShort = count < 2 && Date.now() - start < SHORT_STREAM_SECONDS * 1000;
    this.strikes.events = isShort ? this.strikes.events + 1 : 0;
    await this.client.pause(1);
  }

  /** Keep the document and its fresh links, and tell the page; the result if there is one. */
  async note(operation, response) {
    const [content, status] = [JSON.stringify({ ...operation, links: null }), statusOf(operation)];
    if (content !== this.content) this.options.onChange?.(operation);
    Object.assign(this, { operation, content });
    if (FAILED.includes(status)) throw new OperationFailed(operation.error ?? {}, { operation });
    if (!SUCCEEDED.includes(status)) return (this.refusal = null);
    if (this.options.fetchResult === false) return Response.json(operation);
    const url = operation.resourceLocation ?? operation.links?.result ?? this.result;
    return url ? this.client.ask(url) : response;
  }

  /** Whether there is another URL for an operation whose signed link has expired. */
  async renew(error) {
    if (![401, 403, 404].includes(error.status) || error.operation) return false;
    if (this.refusal) throw this.refusal;
    const bare = new URL(this.operation?.links?.monitor ?? this.location);
    if (!this.options.renew && !bare.searchParams.has("sig")) return false;
    bare.searchParams.delete("sig");
    this.location = this.options.renew ? absolute(await this.options.renew()).href : bare.href;
    Object.assign(this, { operation: null, refusal: error });
    return true;
  }
}

/** A signal that aborts with the caller's, or when the started time is over. For the other modules, too. */
export function timerOf(signal) {
  const silence = new AbortController();
  const end = () => silence.abort();
  const stop = () => clearTimeout(stop.id);
  const start = (seconds) => { stop(); stop.id = setTimeout(end, seconds * 1000); };
  return { start, stop, end, signal: AbortSignal.any([silence.signal, ...(signal ? [signal] : [])]) };
}

/** The events in a stream of server-sent events: `id`, `event` and the parsed `data`. For the other modules, too. */
export async function* eventsOf(response, timer) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let text = ""; ; ) {
      timer.start(SILENCE_SECONDS);
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (text + value).split(/\r?\n\r?\n/);
      text = blocks.pop();
      const events = blocks.map((block) => Object.fromEntries(Array.from(block.matchAll(FIELDS), (field) => field.slice(1))));
      yield* events.filter(({ data }) => data).map((event) => ({ ...event, data: JSON.parse(event.data) }));
    }
  } catch (error) {
    throw passing(error);
  } finally {
    timer.stop();
    reader.cancel().catch(() => {});
  }
}

/** The operation's document in an answer; null for another body. The answer can still be read. */
async function documentOf(response, isMonitor = false) {
  if (response.redirected || !/\bjson\b/.test(response.headers.get("Content-Type"))) return null;
  const body = await response.clone().json().catch(() => null);
  const isKnown = [...SUCCEEDED, ...FAILED, ...UNFINISHED].includes(statusOf(body));
  return isKnown || (statusOf(body) && (isMonitor || retryAfterOf(response) !== null)) ? body : null;
}

async function failureOf(response) {
  const { status, statusText: title } = response;
  const body = await response.json().catch(() => null);
  const failure = new OperationFailed({ status, title, ...Object(body) }, { status, retryAfter: retryAfterOf(response) });
  return [408, 425, 429].includes(status) || (status >= 500 && status !== 501) ? passing(failure) : failure;
}

/** Seconds, from one to a million (a longer timer would end at once); null if the page cannot read the header. */
function retryAfterOf({ headers }) {
  const field = headers.get("Retry-After");
  const seconds = /^\d+$/.test(field ?? "") ? Number(field) : (Date.parse(field) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? null : Math.min(LONGEST_DELAY_SECONDS, Math.max(1, seconds));
}
