// The second tab: a function through a few points.

import { attempt, byId, call, make, percent, say, time } from "./api.js";

const KEPT = "metacortex-points";
let points = [], fit = null, rival = null, limits, cross = [0, 0], ticket = 0, waiting, playing;

export function openWaves(about) {
  limits = about.function;
  try {
    points = JSON.parse(localStorage.getItem(KEPT) ?? "[]").filter((p) => p.length === 2 && p.every(Number.isFinite));
  } catch {
    points = [];
  }
  const plot = byId("plot");
  const ticks = [...[-4, -2, 0, 2, 4].map((x) => ["x", x, "left", 50 + 50 * x / 5.4]), ...[-6, -4, -2, 2, 4, 6].map((y) => ["y", y, "top", 50 - 50 * y / 7.3])];
  plot.after(...ticks.map(([kind, value, side, place]) => make("span", { className: `tick ${kind}`, textContent: String(value).replace("-", "−"), style: { [side]: `${place}%` }, attributes: { "aria-hidden": "true" } })));
  plot.addEventListener("click", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    add(at.x, -at.y);
  });
  plot.addEventListener("keydown", key);
  byId("wave-step").addEventListener("input", () => { stop(); draw(); });
  byId("wave-play").addEventListener("click", play);
  byId("wave-undo").addEventListener("click", () => { points.pop(); changed(); });
  byId("wave-clear").addEventListener("click", () => { points = []; changed(); });
  byId("wave-example").addEventListener("click", example);
  byId("wave-form").addEventListener("submit", (event) => {
    event.preventDefault();
    add(byId("wave-x").valueAsNumber, byId("wave-y").valueAsNumber);
  });
  changed();
}

function add(x, y) {
  if (points.length >= limits.points) { say("No more points."); return; }
  const within = (v, most) => Math.round(1000 * Math.min(most, Math.max(-most, v))) / 1000;
  points.push([within(x, limits.domain), within(y, limits.range)]);
  changed();
}

function example() {
  const [height, phase] = [1 + 4 * Math.random(), Math.PI * Math.random()];
  points = Array.from({ length: 5 }, () => {
    const x = Math.round(1000 * limits.domain * (2 * Math.random() - 1)) / 1000;
    return [x, Math.round(1000 * height * Math.sin(x - phase)) / 1000];
  });
  changed();
  play();
}

function key(event) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (moves) {
    const step = event.shiftKey ? 1 : 0.2;
    cross = [0, 1].map((i) => Math.min([limits.domain, limits.range][i], Math.max(-[limits.domain, limits.range][i], cross[i] + step * moves[i])));
    say(`${cross[0].toFixed(1)}, ${cross[1].toFixed(1)}`);
    draw();
  } else if (event.key === "Enter" || event.key === " ") {
    add(...cross);
  } else if (event.key === "Backspace") {
    points.pop();
    changed();
  } else return;
  event.preventDefault();
}

async function changed() {
  stop();
  localStorage.setItem(KEPT, JSON.stringify(points));
  rival = null;
  const mine = ++ticket;
  const found = await attempt(() => call("POST", "/api/function", { points }));
  if (!found || mine !== ticket) return;
  fit = found;
  byId("wave-step").max = String(fit.curves.length - 1 || 10);
  byId("wave-step").value = byId("wave-step").max;
  draw();
  clearTimeout(waiting);
  if (points.length) waiting = setTimeout(() => rivalCurve(mine), 350);
}

async function rivalCurve(mine) {
  const found = await attempt(() => call("POST", "/api/function/rival", { points }));
  if (!found || mine !== ticket) return;
  rival = found;
  draw();
}

function stop() {
  clearInterval(playing);
}

function play() {
  stop();
  const slider = byId("wave-step");
  slider.value = "0";
  draw();
  playing = setInterval(() => {
    slider.value = String(Number(slider.value) + 1);
    draw();
    if (Number(slider.value) >= Number(slider.max)) stop();
  }, 220);
}

function shape(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const line = (d, kind) => shape("path", { d, class: kind });

const curve = (values, kind) => line(values.map((y, i) => `${i ? "L" : "M"}${fit.grid[i]} ${(-y).toFixed(3)}`).join(""), `curve ${kind}`);

function draw() {
  if (!fit) return;
  const step = Math.min(Number(byId("wave-step").value), fit.curves.length - 1);
  const parts = [];
  for (let x = -5; x <= 5; x += 1) parts.push(line(`M${x} -7V7`, x ? "gridline" : "axis"));
  for (let y = -6; y <= 6; y += 2) parts.push(line(`M-5 ${-y}H5`, y ? "gridline" : "axis"));
  if (rival) parts.push(curve(rival.curve, "scratch"));
  parts.push(curve(fit.curves[0], "prior"));
  for (let k = 1; k < step; k += 1) parts.push(curve(fit.curves[k], "way"));
  if (step > 0) parts.push(curve(fit.curves[step], "final"));
  // A dot is a line of no length with round ends: it stays round however the plot is stretched.
  for (const [x, y] of points) parts.push(line(`M${x} ${-y}h0.0001`, "point"));
  parts.push(line(`M${cross[0] - 0.3} ${-cross[1]}h0.6M${cross[0]} ${-cross[1] - 0.5}v1`, "cross"));
  byId("plot").replaceChildren(...parts);
  byId("wave-steps-text").textContent = String(step);
  byId("wave-rival").textContent = rival ? `from scratch: ${rival.steps} steps in ${time(rival.seconds)}` : "from scratch";
  const drop = fit.losses.length && fit.losses[0] > 0 ? 1 - fit.losses[step] / fit.losses[0] : 0;
  const text = fit.losses.length
    ? `${points.length} point${points.length > 1 ? "s" : ""}, ${step} steps, ${time(fit.seconds)}: the squared error on them went from ${fit.losses[0].toFixed(2)} to ${fit.losses[step].toFixed(2)}${drop > 0 ? `, ${percent(drop)} less` : ""}.`
    : "No points yet: the dotted line is what it expects of any wave.";
  if (byId("wave-text").textContent !== text) {
    byId("wave-text").textContent = text;
    if (step === fit.curves.length - 1) say(text);
  }
}
