// Refreshes the parts of the dashboard while the page is visible and its switch is on. A part keeps
// its nodes, and only what differs is changed: focus, open tables and scrolled places stay.

const STORED = "async_reply.dashboard.refresh";
// A slow server is asked less often: the pause is at least so many times as long as the answer took.
const PAUSES_PER_ANSWER = 10;
const MAX_PAUSE_SECONDS = 60;

const control = document.querySelector(".async-reply-refresh");
const toggle = document.getElementById("async-reply-refresh");
const status = document.getElementById("async-reply-refresh-status");
const parts = [...document.querySelectorAll(".async-reply-part")].map((element) => ({
  element, seconds: Number(element.dataset.seconds), timer: 0, isAsked: false, hasFailed: false,
}));

function stored() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null; // the browser keeps nothing for this site
  }
}

function store(value) {
  try {
    localStorage.setItem(STORED, value);
  } catch { /* the switch then holds for this page */ }
}

function isOn() {
  return toggle.checked && document.visibilityState === "visible";
}

/** Whether a node may become another one: it is of the same sort, and stands for the same thing. */
function matches(node, fresh) {
  return node.nodeName === fresh.nodeName && node.dataset?.key === fresh.dataset?.key;
}

function update(node, fresh) {
  if (node.nodeType !== Node.ELEMENT_NODE) {
    if (node.nodeValue !== fresh.nodeValue) node.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name, value } of fresh.attributes) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  for (const { name } of [...node.attributes]) {
    // The browser sets `open` where the user has opened a table.
    if (name !== "open" && !fresh.hasAttribute(name)) node.removeAttribute(name);
  }
  updateChildren(node, fresh);
}

function updateChildren(parent, fresh) {
  let next = parent.firstChild;
  for (const child of [...fresh.childNodes]) {
    let match = next;
    while (match && !matches(match, child)) match = match.nextSibling;
    if (!match) {
      parent.insertBefore(child, next);
      continue;
    }
    while (next !== match) next = remove(next);
    next = match.nextSibling;
    update(match, child);
  }
  while (next) next = remove(next);
}

function remove(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function tell() {
  status.textContent = parts.some((part) => part.hasFailed) ? status.dataset.failed : "";
}

function end() {
  toggle.checked = false;
  toggle.disabled = true;
  parts.forEach((part) => clearTimeout(part.timer));
  status.textContent = status.dataset.ended;
}

async function refresh(part) {
  if (part.isAsked) return;
  clearTimeout(part.timer);
  part.isAsked = true;
  const begun = performance.now();
  try {
    // Without a session the admin leads to its page for logging in.
    const response = await fetch(part.element.dataset.link, { redirect: "manual" });
    if (response.type === "opaqueredirect" || response.status === 403) {
      end();
      return;
    }
    if (!response.ok) throw new Error(`status ${response.status}`);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!toggle.checked) return;
    updateChildren(part.element, fresh.body);
    part.hasFailed = false;
  } catch {
    part.hasFailed = true;
  } finally {
    part.isAsked = false;
  }
  tell();
  const took = Math.min((performance.now() - begun) / 1000, MAX_PAUSE_SECONDS / PAUSES_PER_ANSWER);
  schedule(part, Math.max(part.seconds, took * PAUSES_PER_ANSWER));
}

function schedule(part, seconds) {
  clearTimeout(part.timer);
  if (isOn()) part.timer = setTimeout(refresh, seconds * 1000, part);
}

function start() {
  for (const part of parts) {
    clearTimeout(part.timer);
    if (isOn()) refresh(part);
  }
}

toggle.checked = stored() !== "off";
control.hidden = false;
toggle.addEventListener("change", () => {
  store(toggle.checked ? "on" : "off");
  start();
});
document.addEventListener("visibilitychange", start);
parts.forEach((part) => schedule(part, part.seconds));
