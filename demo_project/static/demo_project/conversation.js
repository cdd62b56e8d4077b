// Draws each request and its answer as two arrows between the client and the API. `fetch` of a
// conversation is given to client.js, which sends all its requests with it.

const SENT = ["Prefer", "Idempotency-Key", "Accept", "Range"];
const GOT = ["Location", "Operation-Location", "Retry-After", "Preference-Applied", "Content-Range", "Content-Type"];
const UNSAID = [null, "*/*", "application/json"];
const FINISHED = { succeeded: "Done", failed: "It failed", canceled: "It was canceled" };
const MOST_EVENTS = 8;

/** An element with this class; texts are inserted as texts. */
export function element(tag, className = "", ...content) {
  const made = Object.assign(document.createElement(tag), { className });
  made.append(...content);
  return made;
}

/** A URL as a person reads it: the path, and the first characters of ids and keys. */
export function short(url) {
  const { pathname, searchParams } = new URL(url, document.baseURI);
  const path = pathname.replace(/([0-9a-f]{8})[0-9a-f-]{28}/, "$1…");
  return searchParams.has("sig") ? `${path}?sig=${searchParams.get("sig").slice(0, 6)}…` : path;
}

function field(name, value) {
  const text = /^(https?:|\/)/.test(value) ? short(value) : value.replace(/^([0-9a-f]{8})-[0-9a-f-]{27}$/, "$1…");
  const line = element("span", "field", element("b", "", `${name}: `), text);
  line.title = value;
  return line;
}

const fields = (headers, names) => names
  .filter((name) => !UNSAID.includes(headers.get(name)))
  .map((name) => field(name, headers.get(name)));

export class Conversation {
  requests = 0;

  constructor(list) {
    this.list = list;
    list.addEventListener("scroll", () => {
      this.isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    });
  }

  clear() {
    Object.assign(this, { requests: 0, stream: null, isAtEnd: true, start: performance.now() });
    this.list.replaceChildren();
  }

  /** fetch, drawn. */
  fetch = async (url, init = {}) => {
    const headers = new Headers(init.headers);
    const row = this.#draw(init.method ?? "GET", url, headers, init.body);
    const sentAt = performance.now();
    try {
      const response = await window.fetch(url, init);
      await this.#answer(row, response, { wanted: headers.get("Prefer"), seconds: (performance.now() - sentAt) / 1000 });
      return response;
    } catch (error) {
      const isOwn = init.signal?.aborted;
      this.#say(row, isOwn ? "The client stopped listening." : "No answer. The client tries again.", "lost");
      throw error;
    }
  };

  /** A document that the client has read: an event, if a stream is open. */
  note(operation) {
    if (!this.stream) return;
    const { row, list } = this.stream;
    const progress = Number.isFinite(operation.progress) ? `, ${operation.progress} %` : "";
    list.append(element("span", "field event", element("b", "", "event: "), operation.status + progress));
    if (list.children.length > MOST_EVENTS) {
      this.stream.hidden += 1;
      this.stream.more.textContent = `… ${this.stream.hidden} events …`;
      list.children[0].remove();
    }
    row.dataset.status = operation.status;
    if (operation.status in FINISHED) this.#say(row, `${FINISHED[operation.status]}: the server told it at once.`);
    this.#show();
  }

  #draw(method, url, headers, body) {
    if (!this.requests) this.clear();
    this.requests += 1;
    this.stream = null;
    const seconds = ((performance.now() - this.start) / 1000).toFixed(1);
    const line = element("code", "", `${method} ${short(url)}`);
    line.title = url;
    const sent = element("div", "message sent", element("time", "", `${seconds} s`), line, ...fields(headers, SENT));
    if (typeof body === "string") sent.append(element("span", "field body", body));
    if (body instanceof FormData) sent.append(...[...body].map(([name, value]) => this.#part(name, value)));
    const row = element("li", "exchange", sent);
    row.dataset.status = this.list.lastElementChild?.dataset.status ?? "pending";
    this.list.append(row);
    this.#show();
    return row;
  }

  #part(name, value) {
    const text = value instanceof File ? `${value.name}, ${value.size.toLocaleString("en")} bytes` : value;
    return element("span", "field body", element("b", "", `${name}: `), text);
  }

  async #answer(row, response, { wanted, seconds }) {
    const isStream = response.headers.get("Content-Type")?.startsWith("text/event-stream");
    const operation = isStream ? null : await documentOf(response);
    const got = element("div", "message got", element("b", "code", `${response.status} ${response.statusText}`.trim()));
    if (operation) {
      const progress = Number.isFinite(operation.progress) ? `, ${operation.progress} %` : "";
      got.append(element("span", "field body", operation.status + progress));
      row.dataset.status = operation.status;
    }
    if (response.status >= 400) row.dataset.status = "failed";
    got.append(...fields(response.headers, GOT));
    row.append(got);
    if (isStream) this.#open(row, got);
    const held = wanted?.startsWith("wait") && seconds > 0.5 ? ` The server held the request for ${seconds.toFixed(1)} s.` : "";
    this.#say(row, meaning(row, response, { operation, isStream }) + held);
  }

  #open(row, got) {
    const [more, list] = [element("span", "field more"), element("span", "events")];
    got.append(more, list);
    this.stream = { row, more, list, hidden: 0 };
  }

  #say(row, text, className = "") {
    row.querySelector(".means")?.remove();
    row.append(element("p", `means ${className}`, text));
    this.#show();
  }

  /** Keep the last row in sight, unless the reader has scrolled back. */
  #show() {
    if (this.isAtEnd) this.list.scrollTop = this.list.scrollHeight;
  }
}

function meaning(row, response, { operation, isStream }) {
  const isPost = row.querySelector("code").textContent.startsWith("POST");
  if (isStream) return "One request, kept open: the server tells each change.";
  if (response.status === 202 && operation?.status !== "canceling" && isPost) return "Accepted. The client is told where to ask, and when.";
  if (response.status >= 500) return "The server is away. The client tries again.";
  if (response.status >= 400) return "Refused, with a problem document.";
  if (operation?.status === "canceling") return "The worker is asked to stop.";
  if (operation?.status in FINISHED) return operation.resourceLocation ? "Done. The document says where the result is." : `${FINISHED[operation.status]}.`;
  if (operation) return `Not yet. Ask again in ${response.headers.get("Retry-After") ?? "some"} s.`;
  return response.redirected ? "The result redirected to the new resource." : "The result.";
}

/** The operation in an answer, which can still be read; null for other content. */
async function documentOf(response) {
  if (!response.headers.get("Content-Type")?.startsWith("application/json")) return null;
  const body = await response.clone().json().catch(() => null);
  return body?.status && body.links ? body : null;
}
