// Submits the forms, follows the operation that the address names, and shows what is said meanwhile.
// The address holds the operation's URL behind the #, so that a reload goes on with it.

import { OperationFailed, submit } from "../async_reply/client.js";
import "../async_reply/operation-progress.js";
import { Conversation, element } from "./conversation.js";
import * as results from "./results.js";

const find = (selector) => document.querySelector(selector);
const [progress, running, result] = [find("operation-progress"), find("#running"), find("#result")];
const forms = [...document.querySelectorAll("form.kind")];
const conversation = new Conversation(find(".conversation"));
const token = find("[name=csrfmiddlewaretoken]").value;
const pattern = [...conversation.list.children];
/** What the table of runs says of the present run. */
let run = null;

const way = () => find("[name=way]:checked");
const options = () => ({
  headers: { "X-CSRFToken": token },
  fetch: conversation.fetch,
  modes: [way().value],
});

// -- choose

const tabs = find(".tabs");
for (const form of forms) {
  const tab = Object.assign(element("button", "tab", form.dataset.name), { type: "button" });
  tab.setAttribute("aria-controls", form.id);
  tab.addEventListener("click", () => choose(sessionStorage.kind = form.id));
  tabs.append(tab);
}

function choose(id) {
  forms.forEach((form) => { form.hidden = form.id !== id; });
  [...tabs.children].forEach((tab) => tab.setAttribute("aria-pressed", tab.getAttribute("aria-controls") === id));
}

document.querySelectorAll(".tabs, .ways, p.scripted").forEach((part) => { part.hidden = false; });
choose((forms.find(({ id }) => id === sessionStorage.kind) ?? forms[0]).id);
document.querySelectorAll("[name=way]").forEach((radio) => {
  radio.checked = radio.value === (sessionStorage.way ?? "poll");
  radio.addEventListener("change", () => {
    sessionStorage.way = radio.value;
    // A run in progress goes on in the new way: the element starts anew when it is inserted.
    if (run?.isOpen) restart();
  });
});

// A file that is dropped is submitted at once.
for (const zone of document.querySelectorAll(".drop")) {
  const mark = (isOver) => (event) => { event.preventDefault(); zone.classList.toggle("over", isOver); };
  zone.addEventListener("dragover", mark(true));
  zone.addEventListener("dragleave", mark(false));
  zone.addEventListener("drop", (event) => {
    mark(false)(event);
    zone.querySelector("input").files = event.dataTransfer.files;
    zone.closest("form").requestSubmit();
  });
}

// -- submit

async function bodyOf(form) {
  const data = new FormData(form);
  data.delete("csrfmiddlewaretoken");
  if (!data.has("file")) {
    const typed = (input) => (input.type === "number" ? input.valueAsNumber : input.value);
    return Object.fromEntries([...data.keys()].map((name) => [name, typed(form.elements[name])]));
  }
  if (!data.get("file").size && !data.get("file").name) {
    const name = `${data.get("sample")}.csv`;
    data.set("file", new File([await (await fetch(`/samples/${name}`)).blob()], name, { type: "text/csv" }));
  }
  data.delete("sample");
  if (data.get("name") === "") data.delete("name");
  return data;
}

for (const form of forms) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    clear();
    conversation.clear();
    // Anonymous callers have no keys of their own.
    const isPublic = "public" in form.dataset;
    const key = isPublic ? { credentials: "omit" } : { idempotencyKey: crypto.randomUUID() };
    try {
      const { location } = await submit(form.dataset.api, await bodyOf(form), { ...options(), ...key });
      const { pathname, search } = new URL(location);
      run = { name: form.dataset.name, isOpen: true };
      window.location.hash = pathname + search;
    } catch (error) {
      fail(error);
    } finally {
      button.disabled = false;
    }
  });
}

// -- follow

function clear() {
  progress.removeAttribute("href");
  running.hidden = result.hidden = true;
}

/** Follow the operation that the address names. */
function start() {
  const signIn = find("#sign-in");
  if (signIn) signIn.action = window.location.pathname + window.location.hash;
  const path = window.location.hash.slice(1);
  clear();
  if (!path.startsWith("/api/operations/")) {
    run = null;
    conversation.requests = 0;
    conversation.list.replaceChildren(...pattern);
    return;
  }
  // After a reload the conversation begins with a question.
  if (!run?.isOpen) {
    run = { name: "Seen again", isOpen: true };
    conversation.clear();
  }
  running.hidden = false;
  progress.options = { ...options(), fetchResult: false };
  progress.setAttribute("href", path);
}

function restart() {
  progress.options = { ...options(), fetchResult: false };
  running.append(progress);
}

window.addEventListener("hashchange", start);

progress.addEventListener("operation-change", ({ detail: operation }) => {
  conversation.note(operation);
  if (run && operation.finished_at) run.late ??= Date.now() - Date.parse(operation.finished_at);
});

progress.addEventListener("operation-result", async ({ detail }) => {
  const operation = await detail.json();
  try {
    show("Result", await contentOf(operation), "succeeded");
  } catch (error) {
    fail(error);
  }
  note(operation.kind);
});

progress.addEventListener("operation-error", ({ detail: error }) => {
  fail(error);
  if (error.operation) note(error.operation.kind);
});

/** Read the result; of a file only the start, because it may be large. */
async function contentOf({ kind, resourceLocation: url }) {
  const isFile = kind === "demo.export";
  const headers = isFile ? { Range: "bytes=0-399" } : {};
  const response = await conversation.fetch(url, { headers });
  if (!response.ok) throw new OperationFailed(await response.json());
  if (isFile) {
    const size = response.headers.get("Content-Range")?.split("/")[1];
    return results.file(url, (await response.text()).split("\n").slice(0, 6).join("\n"), size);
  }
  const body = await response.json();
  return body?.columns?.[0]?.type ? results.profile(body) : results.value(body);
}

// -- show

function show(title, content, status) {
  result.dataset.status = status;
  result.querySelector("h2").textContent = title;
  result.querySelector(".content").replaceChildren(...content);
  result.hidden = false;
}

/** A failed operation, a refused request, or a server that stays away. */
function fail(error) {
  const again = Object.assign(element("button", "", "Ask again"), { type: "button" });
  again.addEventListener("click", () => { run = null; start(); });
  if (!(error instanceof OperationFailed)) {
    show("No answer", [element("p", "", "The server did not answer. The operation goes on without this page."), again], "failed");
  } else if (error.isCanceled) {
    show("Canceled", results.problem(error.problem, "It was canceled."), "canceled");
  } else if (!error.operation && [401, 403, 404, 410].includes(error.status)) {
    const words = error.status === 410 ? "This operation has expired." : "This link has expired, or the operation belongs to somebody else.";
    const advice = element("p", "", `${words} Sign in as its owner, or run it again.`);
    show("Not found", [advice, ...results.problem(error.problem, error.message)], "failed");
  } else {
    show(error.problem.title || "It failed", results.problem(error.problem, error.message), "failed");
  }
  if (run) run.isOpen = false;
}

/** Add the run to the table that compares the ways. */
function note(kind) {
  if (!run) return;
  run.isOpen = false;
  const late = run.late === undefined ? "" : `${(Math.max(0, run.late) / 1000).toFixed(2)} s`;
  const name = way().closest("label").querySelector("b").textContent;
  const cells = [run.name, name, conversation.requests, late].map((cell) => element("td", "", String(cell)));
  cells[0].title = kind;
  find("#runs tbody").prepend(element("tr", "", ...cells));
  find("#runs").hidden = false;
}

start();
