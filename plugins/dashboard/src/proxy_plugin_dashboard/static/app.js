// The dashboard's own script: theme, signing in, times in the reader's zone, and what htmx leaves to the page.
"use strict";

(() => {
  const root = document.documentElement;

  // Theme: as the system, light, dark. Set before the page is drawn.
  const themes = ["system", "light", "dark"];
  const stored = () => { try { return localStorage.getItem("theme") || "system"; } catch { return "system"; } };
  const show = (theme) => {
    if (theme === "system") delete root.dataset.theme; else root.dataset.theme = theme;
    const button = document.querySelector("[data-theme-switch]");
    if (button) {
      button.textContent = { system: "◐", light: "☀", dark: "☾" }[theme];
      button.setAttribute("aria-label", `Theme: ${theme === "system" ? "as the system" : theme}`);
    }
  };
  show(stored());

  // Times: the server writes UTC.
  const clock = (scope) => {
    for (const time of scope.querySelectorAll("time[data-clock]")) {
      const at = new Date(time.dateTime);
      const day = at.toDateString() === new Date().toDateString() ? {} : { month: "short", day: "numeric" };
      const second = time.dataset.clock === "seconds" ? { second: "2-digit" } : {};
      const text = at.toLocaleString(undefined, { ...day, hour: "2-digit", minute: "2-digit", ...second });
      if (time.textContent !== text) time.textContent = text;
      time.title = at.toLocaleString();
    }
  };

  const signIn = async (event) => {
    event.preventDefault();
    const form = event.target, problem = form.querySelector("[data-sign-in-problem]");
    const key = form.elements.key.value.trim();
    problem.textContent = "";
    let answer;
    try {
      answer = await fetch("/admin/ui/session", { method: "POST", headers: { authorization: `Bearer ${key}` } });
    } catch {
      problem.textContent = /^[\x20-\x7e]+$/.test(key) ? "The proxy cannot be reached." : "This is not the admin key.";
      return;
    }
    if (!answer.ok) {
      problem.textContent = await answer.text();
      form.elements.key.select();
      return;
    }
    form.reset();
    const next = new URLSearchParams(location.search).get("next") || "";
    location.replace(/^\/admin\/ui\/[\w/.%~-]*(\?[\w=&%+.~-]*)?$/.test(next) ? next : "/admin/ui");
  };

  const connection = (state, words) => {
    const place = document.querySelector("[data-connection]");
    if (!place || place.dataset.connection === state) return;
    place.dataset.connection = state;
    place.querySelector("[data-connection-words]").textContent = words;
  };

  // The session has ended: the page asks for the key again, unless it is this page that signs out and is led on.
  let leaving = false;
  const reload = () => { if (!leaving) location.reload(); };

  // The proxy does not give the feed: if it wants a key, so does the page.
  const refused = async () => {
    const answer = await fetch(location.href, { redirect: "manual" }).catch(() => null);
    if (answer?.type === "opaqueredirect") reload();
  };

  // A feed rests while nobody sees its page: a browser has only six connections to one server by HTTP/1.1.
  const feed = (url) => {
    const listeners = [];
    let source = null, ended = false;
    const outer = {
      get readyState() { return source ? source.readyState : EventSource.CONNECTING; },
      addEventListener(name, listener) { listeners.push([name, listener]); source?.addEventListener(name, listener); },
      removeEventListener(name, listener) { source?.removeEventListener(name, listener); },
      close() { end(); rest(); },
    };
    const end = () => { ended = true; document.removeEventListener("visibilitychange", look); };
    const rest = () => { source?.close(); source = null; };
    const open = () => {
      source = new EventSource(url);
      source.onopen = (event) => outer.onopen?.(event);
      source.onerror = (event) => {
        if (source?.readyState === EventSource.CLOSED) { end(); refused(); } // htmx makes another feed
        outer.onerror?.(event);
      };
      for (const [name, listener] of listeners) source.addEventListener(name, listener);
    };
    const look = () => {
      if (document.hidden) { rest(); connection("rests", "paused"); } else if (!source && !ended) open();
    };
    document.addEventListener("visibilitychange", look);
    if (!document.hidden) open();
    return outer;
  };

  document.addEventListener("DOMContentLoaded", () => {
    if (window.htmx) htmx.createEventSource = feed;
    show(stored());
    clock(document);
    document.querySelector("nav.pages [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
    const body = document.body;
    const form = document.querySelector("[data-sign-in]");
    if (form) form.addEventListener("submit", signIn);

    body.addEventListener("click", (event) => {
      if (event.target.closest("[data-close]")) event.target.closest(".notice").remove();
      if (event.target.closest("[data-theme-switch]")) {
        const theme = themes[(themes.indexOf(stored()) + 1) % themes.length];
        try { localStorage.setItem("theme", theme); } catch { /* a private window: for this page only */ }
        show(theme);
      }
    });

    body.addEventListener("htmx:afterSwap", (event) => clock(event.target));
    body.addEventListener("htmx:sseOpen", () => connection("on", "live"));
    body.addEventListener("htmx:sseError", () => connection("off", "reconnecting"));
    body.addEventListener("htmx:sseMessage", (event) => { clock(event.target); connection("on", "live"); });
    // A key that was added is not left in the page.
    body.addEventListener("htmx:afterRequest", (event) => {
      if (event.detail.successful && event.target.hasAttribute("data-reset")) event.target.reset();
    });
    body.addEventListener("htmx:sendError", (event) => {
      const reads = event.detail.requestConfig?.verb === "get"; // otherwise it may have been received all the same
      const unknown = reads ? "" : " It is not known whether anything was changed.";
      document.getElementById("notice").textContent = `The proxy cannot be reached.${unknown}`;
    });
    const leaves = (event, now) => { if (event.detail.requestConfig.path === "/admin/ui/logout") leaving = now; };
    body.addEventListener("htmx:beforeRequest", (event) => leaves(event, true));
    body.addEventListener("htmx:afterRequest", (event) => leaves(event, event.detail.xhr.status === 204));
    body.addEventListener("htmx:sseClose", (event) => { if (event.detail.type === "message") reload(); });

    if (window.Idiomorph) {
      Idiomorph.defaults.ignoreActiveValue = true; // nobody types for nothing
      // What the reader has opened stays open, and local times stay local.
      Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.tagName === "DETAILS");
    }
  });
})();
