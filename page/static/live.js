// Keeps the changing part of a page up to date. Without it the page is as whole,
// and as old as when it was loaded.
"use strict";
(() => {
  const content = document.getElementById("content");
  const news = document.getElementById("news");
  const of = content && content.dataset.live;
  if (!of || !window.EventSource) return;

  // What somebody is writing is not taken from them.
  const writing = () => [...content.querySelectorAll("textarea")].some((t) => t.value !== "" || t === document.activeElement);

  let again = false, busy = false;
  const update = async () => {
    if (busy || writing()) { again = true; return; }
    busy = true; again = false;
    try {
      const url = new URL(of, location.href);
      url.searchParams.set("fragment", "");
      const answer = await fetch(url, { credentials: "same-origin", redirect: "error" });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) { again = true; return; }
      const text = await answer.text();
      if (writing()) { again = true; return; }
      const focus = document.activeElement, before = saying();
      const next = document.createElement("div");
      next.innerHTML = text;
      become(content, next);
      if (focus && content.contains(focus)) focus.focus({ preventScroll: true });
      if (saying() === null) tell("Updated " + new Date().toLocaleTimeString("en-GB"));
      else if (saying() !== before) news.textContent = saying();
    } catch { again = true; } finally { busy = false; }
  };

  // become changes the children of an element into those of another, and leaves
  // alone what is the same: focus, selection, and what is open stay. Elements
  // with an id are the same as those with that id only.
  const become = (old, next) => {
    let at = old.firstChild;
    for (const n of [...next.childNodes]) {
      let same = null;
      if (n.id) same = [...old.children].find((o) => o.id === n.id);
      else if (at && !at.id && at.nodeName === n.nodeName) same = at;
      if (!same) { old.insertBefore(n, at); continue; }
      if (same === at) at = at.nextSibling; else old.insertBefore(same, at);
      if (same.nodeType === Node.ELEMENT_NODE) { attributes(same, n); become(same, n); }
      else if (same.data !== n.data) same.data = n.data;
    }
    while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
  };

  const attributes = (old, next) => {
    for (const { name, value } of [...next.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  };

  // A page may say itself what its news are.
  const saying = () => { const e = content.querySelector("[data-news]"); return e ? e.dataset.news : null; };

  // Else a screen reader is told no more than once a minute that there are any.
  let said = 0;
  const tell = (text) => {
    if (Date.now() - said < 60000) return;
    said = Date.now();
    news.textContent = text;
  };

  const events = new EventSource("/live?of=" + encodeURIComponent(of));
  events.addEventListener("changed", update);
  events.addEventListener("ended", () => location.reload());
  let lost = null;
  events.addEventListener("error", () => {
    lost = lost || setTimeout(() => { news.textContent = news.dataset.lost; news.classList.add("old"); }, 15000);
  });
  events.addEventListener("open", () => {
    clearTimeout(lost); lost = null;
    if (news.classList.contains("old")) { news.textContent = ""; news.classList.remove("old"); update(); }
  });
  setInterval(() => { if (again) update(); }, 5000);
})();
