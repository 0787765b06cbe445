// What is kept under a name.

import { byId, make, time } from "./api.js";

let tools;

export function openSkills(given) {
  tools = given;
  const name = byId("skill-name");
  const keep = async () => { if (await tools.act("POST", "/api/skills", { name: name.value })) name.value = ""; };
  byId("keep").addEventListener("click", keep);
  name.addEventListener("keydown", (event) => { if (event.key === "Enter") keep(); });
  byId("start-over").addEventListener("click", () => tools.act("POST", "/api/clear"));
  byId("skill-upload").addEventListener("click", () => byId("skill-file").click());
  byId("skill-file").addEventListener("change", async () => {
    const [file] = byId("skill-file").files;
    byId("skill-file").value = "";
    if (file) await tools.act("POST", "/api/skills/file", file);
  });
}

export function showSkills(state) {
  byId("keep").disabled = !state.learned.ready;
  byId("start-over").disabled = !state.classes.length;
  byId("skills").hidden = !state.skills.length;
  byId("skills").tBodies[0].replaceChildren(...state.skills.map((skill) => row(skill, skill.id === state.skill)));
}

function row(skill, current) {
  const use = make("button", { className: "small", id: `use-${skill.id}`, textContent: current ? "In use" : "Use", disabled: current,
    attributes: { "aria-label": `Use skill ${skill.name}` },
    onclick: async () => {
      const began = performance.now();
      if (await tools.act("POST", `/api/skills/${skill.id}/use`)) {
        byId("learned").textContent = `Switched to ${skill.name} in ${time((performance.now() - began) / 1000)}`;
      }
    } });
  const save = make("a", { href: `/api/skills/${skill.id}/file`, textContent: "Download", download: "", attributes: { "aria-label": `Download skill ${skill.name}` } });
  const forget = make("button", { className: "small", textContent: "Delete", attributes: { "aria-label": `Delete skill ${skill.name}` },
    onclick: () => tools.act("DELETE", `/api/skills/${skill.id}`) });
  return make("tr", { className: current ? "current" : "" },
    make("td", { textContent: skill.name }), make("td", { textContent: skill.classes.join(", ") }),
    make("td", { textContent: String(skill.examples) }), make("td", { textContent: time(skill.seconds) }),
    make("td", {}, make("span", { className: "acts" }, use, save, forget)));
}
