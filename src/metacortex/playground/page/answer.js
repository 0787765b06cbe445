// An answer and its reasons.

import { attempt, byId, call, hue, make, percent, pictureOf, say, time } from "./api.js";

const MOST_NAMED = 6;
let current = null;

export function hideAnswer() {
  current = null;
  byId("answer").hidden = byId("why").hidden = true;
}

const place = (answer, id) => answer.probabilities.findIndex((entry) => entry.class === id);

export function showAnswer(answer, state) {
  current = answer.query;
  const places = new Map(state.classes.map((entry, i) => [entry.id, i]));
  const colour = (id) => hue(places.get(id) ?? 30);
  const likely = answer.probabilities.find((entry) => entry.class === answer.most_likely);
  const verdict = byId("verdict");
  verdict.replaceChildren(
    answer.known ? likely.name : "None of these",
    make("small", { textContent: answer.known ? `  ${percent(likely.p)}` : `  if any: ${likely.name}, ${percent(likely.p)}` }));
  const right = answer.truth === null ? "" : answer.truth === answer.answer ? " Right!" : ` It was drawn as ${answer.truth}.`;
  byId("verdict-note").textContent = `Answered in ${time(answer.seconds)}.${right}`;
  showBars(answer, state);
  const novelty = byId("novelty");
  novelty.high = novelty.low = answer.threshold;
  novelty.optimum = 0;
  novelty.value = answer.novelty;
  byId("novelty-text").textContent = `${answer.novelty.toFixed(2)}; none of these above ${answer.threshold.toFixed(2)}`;
  showInfluence(answer, colour);
  byId("answer").hidden = byId("why").hidden = false;
  const nearest = answer.drawings.find((entry) => entry.id === answer.nearest);
  say(`${verdict.textContent.replaceAll("  ", ", ")}.${right} Nearest drawing: one of ${answer.probabilities[place(answer, nearest.class)].name}.`);
  more(answer, colour);
  rival(answer);
}

function showBars(answer, state) {
  const first = new Map(state.classes.map((entry) => [entry.id, entry.drawings[0]]));
  const order = [...answer.probabilities].sort((a, b) => b.p - a.p);
  byId("rival-note").textContent = "from scratch: training…";
  byId("bars").replaceChildren(...order.map(({ class: id, name, p }) => {
    const picture = first.get(id);
    const fill = make("div", { className: "fill" });
    fill.style.width = `${100 * p}%`;
    return make("li", { className: `bar${id === answer.most_likely ? " best" : ""}`, dataset: { id } },
      picture ? make("img", { className: "shot", src: pictureOf(picture), alt: "" }) : make("span"),
      make("span", { className: "name", textContent: name, title: name }),
      make("span", { className: "tracks", attributes: { "aria-hidden": "true" } },
        make("div", { className: "track" }, fill), make("div", { className: "track thin" }, make("div", { className: "fill" }))),
      make("span", { className: "share", textContent: percent(p) }));
  }));
}

function showInfluence(answer, colour) {
  const names = new Map(answer.probabilities.map((entry) => [entry.class, entry.name]));
  const ordered = [...answer.drawings].sort((a, b) => Math.abs(b.influence) - Math.abs(a.influence)).slice(0, MOST_NAMED);
  for (const id of [answer.nearest, answer.counter]) {
    if (!ordered.some((entry) => entry.id === id)) ordered.push(answer.drawings.find((entry) => entry.id === id));
  }
  const largest = Math.max(...ordered.map((entry) => Math.abs(entry.influence)), 0.05);
  byId("influence").replaceChildren(...ordered.map((entry) => {
    const tags = [entry.id === answer.nearest ? "nearest" : "", entry.id === answer.counter ? "nearest other" : ""].filter(Boolean);
    const width = 50 * Math.abs(entry.influence) / largest;
    const bar = make("span");
    Object.assign(bar.style, { width: `${width}%`, background: `var(--${entry.influence >= 0 ? "for" : "against"})`,
      left: `${entry.influence >= 0 ? 50 : 50 - width}%` });
    const text = `${entry.influence >= 0 ? "+" : "−"}${Math.abs(entry.influence).toFixed(2)}`;
    const picture = make("img", { className: "shot", src: pictureOf(entry.id), alt: "" });
    picture.style.borderColor = colour(entry.class);
    return make("li", {}, picture,
      make("span", {}, names.get(entry.class), make("br"), make("span", { className: "tag", textContent: tags.join(", ") })),
      make("span", { className: "both", attributes: { "aria-hidden": "true" } }, bar),
      make("span", { className: "share", textContent: text, title: "added to the log-probability" }));
  }));
}

async function more(answer, colour) {
  const why = await attempt(() => call("GET", `/api/queries/${answer.query}/why`));
  if (!why || current !== answer.query) return;
  showPixels(why);
  showMap(why, answer, colour);
  showSteps(why, colour, answer);
}

function showPixels(why) {
  const canvas = byId("pixels");
  const size = why.seen.length;
  const sheet = make("canvas", { width: size, height: size });
  const context = sheet.getContext("2d");
  const image = context.createImageData(size, size);
  why.seen.flat().forEach((ink, i) => {
    const share = why.pixels[Math.floor(i / size)][i % size];
    const strength = Math.min(1, Math.abs(share) * 1.6);
    const tint = share >= 0 ? [234, 88, 12] : [23, 105, 170];
    const grey = 255 - ink * 0.8;
    for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = grey * (1 - strength) + tint[c] * strength;
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
  const shown = canvas.getContext("2d");
  shown.imageSmoothingEnabled = false;
  shown.drawImage(sheet, 0, 0, canvas.width, canvas.height);
}

function showMap(why, answer, colour) {
  const at = ([x, y]) => ({ left: `${50 + 42 * x}%`, top: `${50 - 42 * y}%` });
  const pictures = why.map.drawings.map((entry) => make("img", { src: pictureOf(entry.id), alt: "", style: { ...at(entry.at), "--hue": colour(entry.class) } }));
  const query = make("img", { src: pictureOf(answer.drawing), alt: "", className: "query", style: at(why.map.query) });
  byId("map").replaceChildren(...pictures, query);
  const nearest = answer.drawings.find((entry) => entry.id === answer.nearest);
  byId("map").setAttribute("aria-label", `Map of ${pictures.length} drawings; the question lies nearest to one of ${answer.probabilities[place(answer, nearest.class)].name}.`);
}

function showSteps(why, colour, answer) {
  const { kind, classes, steps } = why.steps;
  const best = classes.findIndex((entry) => entry.id === answer.most_likely);
  byId("steps").replaceChildren(...steps.map((step) => {
    const stack = make("div", { className: "stack", attributes: { "aria-hidden": "true" } });
    const order = [best, ...classes.keys()].filter((c, i, all) => all.indexOf(c) === i);
    for (const c of order) {
      const part = make("span", { className: c === best ? "" : "rest", style: { "--hue": colour(classes[c].id) }, title: `${classes[c].name}: ${percent(step.p[c])}` });
      part.style.height = `${100 * step.p[c]}%`;
      stack.append(part);
    }
    const below = step.drawing ? make("img", { className: "shot", src: pictureOf(step.drawing), alt: `after drawing ${step.number}` })
      : make("span", { textContent: `step ${step.number}` });
    return make("div", { className: "stepcol" }, make("b", { textContent: percent(step.p[best]) }), stack, below);
  }));
  byId("steps-hint").textContent = kind === "drawings"
    ? `Probability of ${classes[best].name} after each drawing, as they were taught; the other classes are pale.`
    : `Probability of ${classes[best].name} after each gradient step of the inner loop; the other classes are pale.`;
}

async function rival(answer) {
  const { query } = answer;
  for (let tries = 0; tries < 90 && current === query; tries += 1) {
    let found;
    try {
      found = await call("GET", `/api/queries/${query}/rival`);
    } catch {
      byId("rival-note").textContent = "from scratch: no time for it now";
      return;
    }
    if (current !== query) return;
    if (found.ready) {
      for (const { class: id, p } of found.probabilities) {
        const bar = [...byId("bars").children].find((row) => row.dataset.id === id);
        if (bar) bar.querySelector(".thin .fill").style.width = `${100 * p}%`;
      }
      const top = found.probabilities.reduce((a, b) => (b.p > a.p ? b : a));
      const name = answer.probabilities[place(answer, top.class)].name;
      byId("rival-note").textContent = `from scratch: says ${name}, ${percent(top.p)} (${found.steps} steps in ${time(found.seconds)})`;
      return;
    }
    await new Promise((done) => setTimeout(done, 400));
  }
}
