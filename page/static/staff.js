// Takes a page off the screen when its session has ended unused, and says so a
// minute before. Without it the session ends as well, and the page stays.
"use strict";
(() => {
  const idle = Number(document.getElementById("main").dataset.idle) * 1000;
  const news = document.getElementById("news");
  if (!idle) return;
  let timers = [];
  const start = () => {
    timers.forEach(clearTimeout);
    news.textContent = "";
    timers = [setTimeout(warn, Math.max(idle - 60000, idle / 2)), setTimeout(() => location.replace("/sign-in"), idle)];
  };
  const warn = () => {
    const stay = document.createElement("button");
    stay.type = "button";
    stay.textContent = "Stay signed in";
    stay.addEventListener("click", async () => {
      try {
        const answer = await fetch("/stay", { method: "POST", credentials: "same-origin", redirect: "error" });
        if (answer.ok) start();
      } catch { location.replace("/sign-in"); }
    });
    news.replaceChildren("You will be signed out soon. ", stay);
  };
  start();
  // A page that comes back from the browser's memory is asked for anew.
  addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });
})();
