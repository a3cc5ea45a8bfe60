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
      const open = [...content.querySelectorAll("details[open]")].map((d) => d.id);
      const focus = where(document.activeElement);
      content.innerHTML = text;
      for (const id of open) { const d = id && document.getElementById(id); if (d) d.open = true; }
      const back = focus && content.querySelector(focus);
      if (back) back.focus({ preventScroll: true });
      say("Updated " + new Date().toLocaleTimeString("en-GB"));
    } catch { again = true; } finally { busy = false; }
  };

  // where finds the same element again in what has come.
  const where = (e) => {
    if (!e || !content.contains(e)) return null;
    if (e.id) return "#" + CSS.escape(e.id);
    if (e.matches("a[href]")) return "a[href=\"" + CSS.escape(e.getAttribute("href")) + "\"]";
    if (e.matches("summary") && e.parentElement.id) return "#" + CSS.escape(e.parentElement.id) + " > summary";
    const form = e.closest("form");
    return form && e.matches("button") ? "form[action=\"" + CSS.escape(form.getAttribute("action")) + "\"] button" : null;
  };

  // A screen reader is told no more than once a minute.
  let said = 0;
  const say = (text) => {
    if (Date.now() - said < 60000) return;
    said = Date.now();
    news.textContent = text;
  };

  const events = new EventSource("/live?of=" + encodeURIComponent(of));
  events.addEventListener("changed", update);
  events.addEventListener("ended", () => location.reload());
  let lost = null;
  events.addEventListener("error", () => {
    lost = lost || setTimeout(() => { news.textContent = "The centre does not answer: this page may be old."; news.classList.add("old"); }, 15000);
  });
  events.addEventListener("open", () => {
    clearTimeout(lost); lost = null;
    if (news.classList.contains("old")) { news.textContent = ""; news.classList.remove("old"); update(); }
  });
  setInterval(() => { if (again) update(); }, 5000);
})();
