"use strict";
// Replace the parts of the page that have changed until the server has nothing more to tell.
const FIRST = 700, LONGEST = 8000, FACTOR = 1.3; // milliseconds between two requests

async function fetched(url) {
  const response = await fetch(url, { credentials: "same-origin" });
  if (response.redirected) return null; // to the sign-in
  if (!response.ok) throw new Error(response.status);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

function show(fresh) {
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const shown = document.querySelector(`[data-part="${part.dataset.part}"]`);
    if (shown && shown.innerHTML !== part.innerHTML) shown.replaceChildren(...part.childNodes);
  }
}

async function follow(url, wait) {
  for (let more = true; more; wait = Math.min(wait * FACTOR, LONGEST)) {
    await new Promise((done) => setTimeout(done, wait));
    if (document.hidden) continue;
    try {
      const fresh = await fetched(url);
      more = fresh !== null && fresh.querySelector("[data-more]") !== null;
      if (fresh) show(fresh);
    } catch {
      wait = LONGEST; // the shop does not answer: try again later
    }
  }
}

const live = document.querySelector("[data-live]");
if (live) follow(live.dataset.live, FIRST);
