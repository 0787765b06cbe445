// Starts the page: tabs, what the server says of itself, the two parts.

import { attempt, byId, call, onOthers } from "./api.js";
import { openSymbols, refresh } from "./symbols.js";
import { openWaves } from "./waves.js";

const names = ["symbols", "function"];
const tabs = names.map((name) => byId(`tab-${name}`));
const opened = new Set();
let about;

function show(name, focus = false) {
  names.forEach((each, i) => {
    const on = each === name;
    byId(each).hidden = !on;
    tabs[i].setAttribute("aria-selected", String(on));
    tabs[i].tabIndex = on ? 0 : -1;
    if (on && focus) tabs[i].focus();
  });
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
  if (name === "function" && about && !opened.has(name)) {
    opened.add(name);
    openWaves(about);
  }
}

tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => show(names[i]));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) show(names[(i + step + names.length) % names.length], true);
  });
});

await attempt(async () => {
  about = await call("GET", "/api/about");
  byId("about").textContent = `Learner: ${about.learner}. ${about.facts.data ? `Trained on ${about.facts.data}. ` : ""}`
    + "Nothing you draw leaves this server; it is forgotten when the server ends.";
  await openSymbols(about);
});
const named = () => names.find((name) => location.hash === `#${name}`);
show(named() ?? "symbols");
addEventListener("hashchange", () => { if (named()) show(named()); });
onOthers(() => attempt(refresh));
document.addEventListener("visibilitychange", () => { if (!document.hidden) attempt(refresh); });
document.documentElement.dataset.ready = "yes";
