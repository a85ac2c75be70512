// Keeps a page as things are: the service makes it anew when something happens, and what changed is
// put in its place. Without this script it shows all the same.
"use strict";
const script = document.currentScript;
const said = document.getElementById("said");
const SOONEST_MS = 1500, LATEST_MS = 20000;
let last = script.dataset.after, stream = null, timer = 0, looked = 0, patience = SOONEST_MS;

function listen() {
  // A page that is only waited for until it is known follows no events.
  if (stream || document.hidden || !script.dataset.events) return;
  stream = new EventSource(`${script.dataset.events}after=${last}`);
  stream.onmessage = event => {
    last = event.lastEventId;
    said.textContent = JSON.parse(event.data).sentence;
    soon();
  };
}

function soon(wait = SOONEST_MS) {
  timer ||= setTimeout(look, Math.max(0, looked + wait - Date.now()));
}

function ask_again() {
  // What is being computed is waited for, longer each time.
  const unknown = document.querySelector("[data-unknown]");
  patience = unknown ? Math.min(2 * patience, LATEST_MS) : SOONEST_MS;
  if (unknown) soon(patience);
}

async function look() {
  try {
    const reply = await fetch(location.href);
    if (reply.ok && !reply.redirected) await show(new DOMParser().parseFromString(await reply.text(), "text/html"));
  } catch { /* the stream says when it is there again */ }
  timer = 0;
  looked = Date.now();
  ask_again();
}

async function show(page) {
  await Promise.all([...page.querySelectorAll("[data-live]")].map(async now => {
    const before = document.getElementById(now.id);
    if (!before || before.innerHTML === now.innerHTML || before.contains(document.activeElement)) return;
    if (before.querySelector("details")?.open) now.querySelector("details")?.setAttribute("open", "");
    // A picture takes another's place once it can be shown; the rest does not wait for it.
    const pictures = [...now.querySelectorAll("img")];
    if (pictures.length) await Promise.all(pictures.map(picture));
    before.replaceChildren(...now.childNodes);
  }));
}

function picture(one) {
  const fresh = new Image();
  fresh.src = one.getAttribute("src");
  return fresh.decode().catch(() => {});
}

// A browser has few connections to a host: a page that nobody sees holds none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream?.close();
    stream = null;
  } else {
    listen();
    soon();
  }
});
looked = Date.now();
listen();
ask_again();
