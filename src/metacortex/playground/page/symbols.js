// The first tab: classes, drawings, questions.

import { attempt, byId, call, hue, make, pictureOf, say, tellOthers, time } from "./api.js";
import { hideAnswer, showAnswer } from "./answer.js";
import { Pad, shrunk } from "./pad.js";
import { openSkills, showSkills } from "./skills.js";

const NEW = "new";
let about, state, teachPad, askPad, asking = 0, timer, question = null;

export async function openSymbols(known) {
  about = known;
  const alphabet = byId("alphabet");
  for (const { name, new: unseen } of about.alphabets) {
    alphabet.append(make("option", { value: name, textContent: unseen || !about.shipped ? name : `${name} (seen in training)` }));
  }
  teachPad = new Pad(byId("teach-pad"), () => buttons());
  askPad = new Pad(byId("ask-pad"), () => asked());
  wire();
  openSkills({ about, act, state: () => state });
  await refresh();
}

export async function refresh() {
  const now = await call("GET", "/api/state");
  if (state && now.revision === state.revision && now.query === state.query) return;
  const first = !state;
  render(now);
  if (first && now.query) {
    const answer = await call("GET", `/api/queries/${now.query}`);
    askPad.show(pictureOf(answer.drawing));
    question = { drawing: answer.drawing };
    showAnswer(answer, state);
  } else if (!first) again();
}

// Change something on the server, and show what became of it.
async function act(method, path, body) {
  return attempt(async () => {
    const now = await call(method, path, body);
    render(now);
    say([now.said, summary()].filter(Boolean).join(". "));
    tellOthers(now.revision);
    again();
    return now;
  });
}

function summary() {
  const { ready, trouble, missing, examples, seconds } = state.learned;
  if (ready) return `Learned from ${examples} drawings in ${time(seconds)}`;
  return trouble ?? (state.classes.length ? `${missing === 2 ? "Two classes need" : "One more class needs"} a drawing` : "");
}

function render(now) {
  const before = new Set((state?.classes ?? []).map((c) => c.id));
  const target = byId("target").value;
  const focused = document.activeElement?.id;
  state = now;
  const box = byId("classes");
  box.replaceChildren(...now.classes.map(classRow));
  const options = now.classes.map((c) => make("option", { value: c.id, textContent: c.name }));
  byId("target").replaceChildren(make("option", { value: NEW, textContent: "new class" }), ...options);
  const fresh = now.classes.find((c) => !before.has(c.id));
  const kept = now.classes.some((c) => c.id === target) ? target : NEW;
  choose(target === NEW && fresh && before.size + 1 === now.classes.length ? NEW : kept);
  byId("teach-hint").textContent = now.classes.length
    ? "One drawing of each class is enough to begin; more make it surer."
    : "Draw a symbol of your own and teach it as a new class. Two classes make a task.";
  const learned = byId("learned");
  learned.textContent = summary();
  learned.classList.toggle("trouble", !now.learned.ready);
  showSkills(now);
  buttons();
  if (focused && byId(focused) && document.activeElement === document.body) byId(focused).focus();
}

function classRow(entry, place) {
  const name = make("input", {
    value: entry.name, id: `name-${entry.id}`, maxLength: about.limits.name, attributes: { "aria-label": `Name of class ${entry.name}` },
    onchange: () => act("PATCH", `/api/classes/${entry.id}`, { name: name.value }).then((now) => { if (!now) name.value = entry.name; }),
    onkeydown: (event) => { if (event.key === "Enter") name.blur(); },
  });
  const thumbs = entry.drawings.map((drawing, i) => make("span", { className: "thumb" },
    make("img", { src: pictureOf(drawing), alt: `${entry.name}, example ${i + 1}`, width: 42, height: 42 }),
    make("button", {
      textContent: "×", attributes: { "aria-label": `Delete example ${i + 1} of ${entry.name}` },
      onclick: () => act("DELETE", `/api/drawings/${drawing}`),
    })));
  const acts = make("span", { className: "acts" });
  if (entry.example) {
    acts.append(make("button", { className: "small", textContent: "+ example", id: `more-${entry.id}`,
      attributes: { "aria-label": `Let the machine draw one more example of ${entry.name}` },
      onclick: () => act("POST", `/api/classes/${entry.id}/examples`) }));
  }
  acts.append(make("button", { className: "small", textContent: "Delete", attributes: { "aria-label": `Delete class ${entry.name}` },
    onclick: () => act("DELETE", `/api/classes/${entry.id}`) }));
  const row = make("li", { className: "class", dataset: { id: entry.id }, style: { "--hue": hue(place) },
    onclick: (event) => { if (event.target === row || event.target.classList.contains("thumbs")) choose(entry.id); } },
  name, make("span", { className: "thumbs" }, ...thumbs), acts);
  return row;
}

function choose(id) {
  byId("target").value = id;
  for (const row of document.querySelectorAll(".class")) row.classList.toggle("chosen", row.dataset.id === id);
  const fresh = id === NEW;
  byId("new-name").hidden = byId("new-name-label").hidden = !fresh;
  let number = state.classes.length + 1;
  while (state.classes.some((c) => c.name === `Symbol ${number}`)) number += 1;
  byId("new-name").placeholder = `Symbol ${number}`;
}

function buttons() {
  byId("teach").disabled = teachPad.empty;
  byId("undo").disabled = teachPad.empty && !state.undo;
  byId("undo").title = teachPad.empty && state.undo ? `Undo: ${state.undo}` : "Take back the last stroke";
  byId("teach-clear").disabled = teachPad.empty;
  byId("ask").disabled = askPad.empty || !state.learned.ready;
  byId("ask-clear").disabled = byId("ask-undo").disabled = askPad.empty;
  byId("ask-example").hidden = !state.classes.some((c) => c.example && c.drawings.length);
  byId("ask-hint").textContent = state.learned.ready ? "Draw one of your symbols once more, or something else."
    : "First teach two classes; then draw one of them here once more.";
}

// The class that a drawing is taught to: the chosen one, or a new one.
async function targetClass() {
  const chosen = byId("target").value;
  if (chosen !== NEW) return chosen;
  const name = byId("new-name").value.trim() || byId("new-name").placeholder;
  const now = await act("POST", "/api/classes", { name });
  if (now) byId("new-name").value = "";
  return now?.classes.at(-1).id ?? null;
}

async function teach(blobs) {
  const target = await targetClass();
  if (!target) return false;
  for (const blob of blobs) if (!await act("POST", `/api/classes/${target}/drawings`, blob)) return false;
  return true;
}

function wire() {
  byId("target").addEventListener("change", (event) => choose(event.target.value));
  byId("load-alphabet").addEventListener("click", () => act("POST", "/api/alphabets", { name: byId("alphabet").value }));
  byId("teach").addEventListener("click", () => attempt(async () => {
    byId("teach").disabled = true;
    const taught = await teach([await teachPad.blob()]);
    if (taught) teachPad.clear(); else buttons();
  }));
  byId("new-name").addEventListener("keydown", (event) => { if (event.key === "Enter" && !teachPad.empty) byId("teach").click(); });
  byId("undo").addEventListener("click", () => { if (!teachPad.undo()) act("POST", "/api/undo"); });
  byId("teach-clear").addEventListener("click", () => teachPad.clear());
  files("teach-upload", "teach-file", (blobs) => teach(blobs));
  byId("ask").addEventListener("click", () => ask());
  byId("ask-undo").addEventListener("click", () => askPad.undo());
  byId("ask-clear").addEventListener("click", () => askPad.clear());
  byId("ask-example").addEventListener("click", () => attempt(async () => {
    arrived(await call("POST", "/api/queries/example"), ++asking, true);
  }));
  files("ask-upload", "ask-file", async ([blob]) => {
    askPad.show(URL.createObjectURL(blob));
    await ask(blob);
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !/INPUT|SELECT/.test(document.activeElement.tagName)) {
      event.preventDefault();
      if (document.activeElement === byId("ask-pad")) askPad.undo(); else byId("undo").click();
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { teachPad.paint(); askPad.paint(); });
}

function files(button, input, use) {
  byId(button).addEventListener("click", () => byId(input).click());
  byId(input).addEventListener("change", () => attempt(async () => {
    const chosen = [...byId(input).files];
    byId(input).value = "";
    if (chosen.length) await use(await Promise.all(chosen.map((file) => shrunk(file, about.limits.upload))));
  }));
}

// After each stroke the question is asked by itself.
function asked() {
  buttons();
  clearTimeout(timer);
  if (askPad.empty) { question = null; asking += 1; hideAnswer(); return; }
  if (askPad.strokes.length && state.learned.ready) timer = setTimeout(() => ask(), 250);
}

// The board has changed: the same question has another answer now.
function again() {
  if (!state.learned.ready) { hideAnswer(); return; }
  if (question?.blob) ask(question.blob);
  else if (question?.drawing) attempt(async () => ask(await (await fetch(pictureOf(question.drawing))).blob()));
  else if (askPad.strokes.length) ask();
}

async function ask(given) {
  const ticket = ++asking;
  await attempt(async () => {
    const blob = given ?? await askPad.blob();
    if (!state.learned.ready || (!given && !askPad.strokes.length)) return;
    question = { blob };
    arrived(await call("POST", "/api/queries", blob), ticket, false);
  });
}

function arrived(answer, ticket, drawn) {
  if (ticket !== asking) return;
  if (drawn) {
    askPad.show(pictureOf(answer.drawing));
    question = { drawing: answer.drawing };
  }
  buttons();
  showAnswer(answer, state);
}
