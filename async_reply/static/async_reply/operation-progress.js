// <operation-progress href="…"> shows an operation while it runs: a bar, its message, the time that
// is left, and a button to cancel it. Events: "operation-change" (detail: the document),
// "operation-result" (detail: the Response) and "operation-error" (detail: the error).
// CSS parts: bar, fill, message, eta, cancel. The attribute data-status holds the status.

import { cancel, follow, OperationFailed, questionOf } from "./client.js";

const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
  :host { display: block; }
  :host([hidden]), [hidden] { display: none !important; }
  .bar { background: color-mix(in srgb, currentColor 15%, transparent); border-radius: 999px; height: .75em; overflow: hidden; }
  .fill { background: var(--operation-progress-color, #1a66d6); block-size: 100%; border-radius: inherit; inline-size: 0; transition: inline-size .3s; }
  .bar:not([aria-valuenow]) .fill { animation: wait 1.6s ease-in-out infinite alternate; inline-size: 25%; }
  .line { align-items: center; display: flex; flex-wrap: wrap; gap: .25em 1em; margin-block-start: .5em; min-block-size: 2em; }
  .message { flex: 1 1 12em; overflow-wrap: anywhere; }
  .said { block-size: 1px; clip-path: inset(50%); inline-size: 1px; overflow: hidden; position: absolute; white-space: nowrap; }
  @keyframes wait { to { margin-inline-start: 75%; } }
  @media (prefers-reduced-motion: reduce) { .fill { animation: none !important; transition: none; } }
  @media (forced-colors: active) { .bar { border: 1px solid; } .fill { background: Highlight; } }
`);

export class OperationProgress extends HTMLElement {
  static observedAttributes = ["href"];
  /** The words of the element. A page may replace them. */
  static labels = {
    progress: "Progress", cancel: "Cancel", left: (time) => `about ${time} left`,
    pending: "Waiting for a worker", running: "Running", canceling: "Stopping", asked: "Waiting for an answer",
    succeeded: "Done", failed: "Failed", canceled: "Canceled",
  };
  /** Options of `follow`, such as headers, and of the request that cancels. */
  options = {};
  /** The last document of the operation. */
  operation = null;
  #parts = {};
  #following = null;

  connectedCallback() {
    if (!this.shadowRoot) this.#build();
    this.#restart();
  }

  disconnectedCallback() {
    this.#following?.abort();
    this.#following = null;
  }

  attributeChangedCallback(_name, before, now) {
    if (this.isConnected && this.shadowRoot && before !== now) this.#restart();
  }

  get href() {
    return this.getAttribute("href") ?? "";
  }

  set href(value) {
    this.setAttribute("href", value);
  }

  #build() {
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLE];
    const make = (tag, name, parent, attributes = {}) => {
      const element = document.createElement(tag);
      Object.assign(element, { className: name, part: name });
      Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
      this.#parts[name] = parent.appendChild(element);
      return element;
    };
    const { labels } = this.constructor;
    const range = { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 };
    const bar = make("div", "bar", root, { ...range, "aria-label": labels.progress });
    make("div", "fill", bar);
    const line = make("div", "line", root);
    make("span", "message", line);
    make("span", "eta", line);
    make("button", "cancel", line, { type: "button", hidden: "" }).textContent = labels.cancel;
    // Screen readers hear each new status, and not each new percentage.
    make("span", "said", root, { role: "status" });
    this.#parts.cancel.addEventListener("click", () => this.cancel());
  }

  #restart() {
    this.#following?.abort();
    this.#following = null;
    if (!this.href) return;
    const following = new AbortController();
    this.#following = following;
    this.operation = null;
    this.#show({ status: "pending" });
    // The page may set `options` in the same moment.
    queueMicrotask(() => this.#follow(following.signal));
  }

  async #follow(signal) {
    if (signal.aborted) return;
    const onChange = (operation) => {
      this.#show(operation);
      this.options.onChange?.(operation);
      this.#tell("change", operation);
    };
    try {
      const response = await follow(this.href, { ...this.options, onChange, signal });
      if (signal.aborted) return;
      if (!this.operation) this.#show({ status: "succeeded" });
      this.#tell("result", response);
    } catch (error) {
      if (signal.aborted) return;
      const status = error.isCanceled ? "canceled" : "failed";
      this.#show({ ...this.operation, status, message: error.message, links: null });
      this.#tell("error", error);
    }
  }

  /** Ask the server to stop the operation. */
  async cancel() {
    this.#parts.cancel.disabled = true;
    try {
      const operation = await cancel(this.operation, { ...this.options, signal: this.#following?.signal });
      if (operation && !this.#isFinished) this.#show(operation);
    } catch (error) {
      // 409: the operation was faster, and the page hears of its end anyway.
      if (error instanceof OperationFailed && error.status === 409) return;
      this.#parts.message.textContent = error.message;
      this.#parts.cancel.disabled = false;
    }
  }

  get #isFinished() {
    return ["succeeded", "failed", "canceled"].includes(this.dataset.status);
  }

  #show(operation) {
    const { labels } = this.constructor;
    const { bar, fill, message, eta, cancel: button, said } = this.#parts;
    const status = String(operation.status).toLowerCase();
    const label = labels[questionOf(operation) ? "asked" : status] ?? operation.status;
    const percent = status === "succeeded" ? 100 : operation.progress;
    if (operation.links) this.operation = operation;
    this.dataset.status = status;
    if (Number.isFinite(percent) || this.#isFinished) bar.setAttribute("aria-valuenow", percent ?? 0);
    else bar.removeAttribute("aria-valuenow");
    fill.style.inlineSize = Number.isFinite(percent) ? `${percent}%` : "";
    message.textContent = operation.message ? `${label}: ${operation.message}` : label;
    bar.setAttribute("aria-valuetext", message.textContent);
    const seconds = operation.eta_seconds ?? operation.etaSeconds;
    eta.textContent = this.#isFinished || !seconds ? "" : labels.left(this.#time(seconds));
    button.hidden = !operation.links?.cancel || this.#isFinished;
    button.disabled = status === "canceling";
    if (said.textContent !== label) said.textContent = label;
  }

  #time(seconds) {
    const [value, unit] = seconds < 90 ? [Math.ceil(seconds), "second"] : [Math.round(seconds / 60), "minute"];
    const language = this.closest("[lang]")?.lang || undefined;
    return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short" }).format(value);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(`operation-${name}`, { detail, bubbles: true, composed: true }));
  }
}

if (!customElements.get("operation-progress")) customElements.define("operation-progress", OperationProgress);
