// SPDX-License-Identifier: MIT OR Apache-2.0
// The machine at the step under the cursor. Without this, the page is a list of all steps.
"use strict";
(() => {
  const story = JSON.parse(document.getElementById("story").textContent);
  const steps = story.steps;
  const byId = (id) => document.getElementById(id);
  const rows = new Map();
  for (const li of document.querySelectorAll(".step")) rows.set(Number(li.dataset.step), li);
  const LEVELS = ["pgd", "pud", "pmd", "pte"];

  // An element with children: texts are only ever set as text.
  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // The state after so many steps, with what the last of them did.
  const start = () => ({
    at: -1, tlb: new Map(), tables: new Map(), registers: new Map(), variables: new Map(),
    sent: new Map(), runs: new Map(), gone: [], fresh: new Set(),
  });
  const apply = (state, change) => {
    switch (change.change) {
      case "made":
        state.tlb.set(change.entry.id, change.entry);
        state.fresh.add("tlb " + change.entry.id);
        break;
      case "gone":
        if (state.tlb.has(change.id)) state.gone.push([state.tlb.get(change.id), change.why]);
        state.tlb.delete(change.id);
        break;
      case "descriptor": {
        const key = change.space + " " + change.pa;
        if (change.value === null) state.tables.delete(key);
        else state.tables.set(key, change);
        state.fresh.add("table " + key);
        break;
      }
      case "register":
        state.registers.set(change.cpu + " " + change.name, change);
        state.fresh.add("register " + change.cpu + " " + change.name);
        break;
      case "variable":
        state.variables.set(change.name, change.value);
        state.fresh.add("variable " + change.name);
        break;
      case "sent":
        state.sent.set(change.number, { ...change, to: new Set(change.to) });
        state.fresh.add("sent " + change.number);
        break;
      case "arrived": {
        const tlbi = state.sent.get(change.number);
        if (!tlbi) break;
        tlbi.to.delete(change.cpu);
        if (tlbi.to.size === 0) state.sent.delete(change.number);
        break;
      }
      case "runs":
        state.runs.set(change.cpu, change);
        break;
    }
  };
  let state = start();
  const seek = (index) => {
    if (state.at > index || state.at < 0) {
      state = start();
      for (const change of story.boot) apply(state, change);
    }
    while (state.at < index) {
      state.at += 1;
      state.gone = [];
      state.fresh.clear();
      for (const change of steps[state.at].changes) apply(state, change);
    }
  };

  // The panel.
  const table = (heads, lines) => {
    if (lines.length === 0) return make("p", { class: "none" }, "nothing");
    const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
    const body = lines.map(([name, cells]) =>
      make("tr", name ? { class: name } : {}, ...cells.map((text) => make("td", {}, text))));
    return make("div", { class: "scroll" },
      make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
  };
  const range = (entry) => {
    const [first, size] = [Number(entry.va), Number(entry.size)];
    return size <= 0x1000 ? entry.va : entry.va + "-0x" + (first + size - 1).toString(16);
  };
  const number = () => steps[state.at].number;
  const verdict = (entry) => {
    if (state.at !== steps.length - 1) return "";
    const stale = story.verdicts.filter((v) => v.id === entry.id && v.stale);
    return stale.map((v) => v.va + " may only be " + v.allowed).join("; ");
  };
  const entryLine = (entry) => {
    const finding = story.finding;
    const notes = [];
    if (!entry.leaf) notes.push("walk cache");
    if (entry.stage === 2) notes.push("stage 2");
    if (entry.global && entry.stage === 1) notes.push("global");
    if (entry.shared) notes.push("shared (CnP)");
    const fresh = state.fresh.has("tlb " + entry.id);
    if (fresh) notes.push("new");
    const culprit = finding && (finding.entry === entry.id || finding.derived.includes(entry.id));
    const wrong = culprit && (finding.window === null || number() >= finding.window);
    if (culprit) notes.push(wrong ? "WRONG" : "will be wrong");
    const allowed = verdict(entry);
    if (allowed) notes.push(allowed);
    const name = wrong || allowed ? "bad" : fresh ? "fresh" : "";
    return [name, ["cpu" + entry.cpu + " " + entry.tag, range(entry), entry.target, notes.join(", ")]];
  };
  const tlbPart = () => {
    const parts = [];
    for (const tlb of new Set(story.machine.tlbs)) {
      const cpus = story.machine.tlbs.flatMap((t, cpu) => (t === tlb ? ["cpu" + cpu] : []));
      const held = [...state.tlb.values()].filter((e) => e.tlb === tlb).map(entryLine);
      const gone = state.gone.filter(([e]) => e.tlb === tlb).map(([e, why]) =>
        ["gone", ["cpu" + e.cpu + " " + e.tag, range(e), e.target, "gone: " + why]]);
      parts.push(make("h3", {}, "TLB of " + cpus.join(" and ")),
        table(["tag", "addresses", "to", "notes"], [...held, ...gone]));
    }
    return parts;
  };
  const sentPart = () => {
    const lines = [...state.sent.values()].map((tlbi) =>
      [state.fresh.has("sent " + tlbi.number) ? "fresh" : "",
        [tlbi.tlbi, "cpu" + tlbi.cpu, [...tlbi.to].map((cpu) => "cpu" + cpu).join(", ")]]);
    if (lines.length === 0) return [];
    return [make("h3", {}, "TLBIs on their way"), table(["what", "from", "still to"], lines)];
  };
  const registerPart = () => {
    const lines = [];
    for (let cpu = 0; cpu < story.machine.cpus; cpu += 1) {
      const runs = state.runs.get(cpu);
      const space = !runs ? "nothing yet" : runs.space === null ? "nobody" : runs.space;
      lines.push(["", ["cpu" + cpu, "runs", space + (runs && runs.switching ? ", switching" : "")]]);
      for (const [key, register] of state.registers) {
        if (register.cpu !== cpu) continue;
        const late = register.synchronized ? "" : ", no ISB yet";
        const fresh = state.fresh.has("register " + key) ? "fresh" : "";
        lines.push([fresh, ["cpu" + cpu, register.name, register.value + late]]);
      }
    }
    return [make("h3", {}, "Registers"), table(["cpu", "register", "value"], lines)];
  };
  const tablePart = () => {
    const bySpace = new Map();
    for (const [key, row] of state.tables) {
      if (!bySpace.has(row.space)) bySpace.set(row.space, []);
      bySpace.get(row.space).push([key, row]);
    }
    const parts = [];
    for (const space of [...bySpace.keys()].sort()) {
      const order = ([, a], [, b]) => Number(a.va) - Number(b.va) || a.level - b.level;
      const lines = bySpace.get(space).sort(order).map(([key, row]) => {
        const fresh = state.fresh.has("table " + key);
        return [fresh ? "fresh" : "",
          [LEVELS[row.level] || "?", row.va, row.value + (fresh ? " (changed)" : "")]];
      });
      parts.push(make("h3", {}, "Page tables of " + space), table(["level", "address", "descriptor"], lines));
    }
    return parts;
  };
  const variablePart = () => {
    const lines = [...state.variables].map(([name, value]) =>
      [state.fresh.has("variable " + name) ? "fresh" : "", [name, value]]);
    return lines.length === 0 ? [] : [make("h3", {}, "Variables"), table(["name", "value"], lines)];
  };

  // The cursor.
  let current = -1;
  const say = (step) => step.lines
    .filter((line) => line.kind === "cpu" || line.kind === "hardware")
    .map((line) => (line.cpu === null ? "" : "cpu" + line.cpu + ": ") + line.head
      + (line.detail ? " " + line.detail : "")
      + (line.site ? " (" + line.site.file + ":" + line.site.line + ")" : ""))
    .join("; ");
  const open = (li) => {
    for (let at = li; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  };
  const select = (index, quiet) => {
    if (steps.length === 0) return;
    const to = Math.max(0, Math.min(steps.length - 1, index));
    if (current >= 0) rows.get(steps[current].number).removeAttribute("aria-current");
    current = to;
    const step = steps[current];
    const li = rows.get(step.number);
    open(li);
    li.setAttribute("aria-current", "step");
    seek(current);
    byId("now").textContent = "Step " + step.number + ". " + say(step);
    byId("state").replaceChildren(...tlbPart(), ...sentPart(), ...registerPart(), ...tablePart(),
      ...variablePart());
    for (const [id, off] of [["first", 0], ["back", 0], ["on", steps.length - 1], ["last", steps.length - 1]]) {
      byId(id).disabled = current === off;
    }
    document.documentElement.style.setProperty("--bar", byId("bar").offsetHeight + "px");
    if (quiet) return;
    history.replaceState(null, "", "#step=" + step.number);
    li.scrollIntoView({ block: "nearest", behavior: "auto" });
  };
  const matters = (by) => {
    let index = current + by;
    while (steps[index] && !steps[index].matters) index += by;
    if (steps[index]) select(index);
  };
  const go = {
    first: () => select(0), last: () => select(steps.length - 1),
    back: () => select(current - 1), on: () => select(current + 1),
    prior: () => matters(-1), next: () => matters(1),
  };
  for (const [id, act] of Object.entries(go)) byId(id).addEventListener("click", act);
  const keys = {
    ArrowDown: "on", ArrowRight: "on", j: "on", ArrowUp: "back", ArrowLeft: "back", k: "back",
    Home: "first", End: "last", n: "next", p: "prior",
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (!Object.hasOwn(keys, event.key)) return;
    // Inside what scrolls to the side, arrows to the side scroll it.
    const sideways = event.key === "ArrowLeft" || event.key === "ArrowRight";
    if (sideways && event.target.closest && event.target.closest("pre, .scroll")) return;
    event.preventDefault();
    go[keys[event.key]]();
  });
  byId("steps").addEventListener("click", (event) => {
    const li = event.target.closest(".step");
    if (li && event.target.closest("button")) select(indexOf(Number(li.dataset.step)));
  });

  // The step with a number, or the last one before it.
  const indexOf = (number) => {
    let index = 0;
    while (index + 1 < steps.length && steps[index + 1].number <= number) index += 1;
    return index;
  };
  const fromHash = () => {
    const found = /^#step=(\d{1,9})$/.exec(location.hash);
    if (!found) return false;
    select(indexOf(Number(found[1])));
    return true;
  };
  addEventListener("hashchange", fromHash);

  byId("unfold").addEventListener("click", (event) => {
    const all = event.currentTarget.getAttribute("aria-pressed") !== "true";
    event.currentTarget.setAttribute("aria-pressed", String(all));
    for (const details of document.querySelectorAll(".fold > details")) details.open = all;
    if (current >= 0) open(rows.get(steps[current].number));
  });
  byId("toggle").addEventListener("click", (event) => {
    const shown = document.documentElement.classList.toggle("open");
    event.currentTarget.setAttribute("aria-expanded", String(shown));
  });
  byId("copy").addEventListener("click", () => {
    const told = (text) => { byId("copied").textContent = text; };
    const marked = () => {
      getSelection().selectAllChildren(byId("scenario"));
      told(document.execCommand("copy") ? "Copied." : "Marked; copy it by hand.");
    };
    if (!navigator.clipboard) return marked();
    navigator.clipboard.writeText(byId("scenario").textContent).then(() => told("Copied."), marked);
  });

  document.documentElement.classList.add("js");
  if (!fromHash()) {
    const last = story.finding ? indexOf(story.finding.step) : steps.findIndex((s) => s.matters);
    select(last, true);
  }
})();
