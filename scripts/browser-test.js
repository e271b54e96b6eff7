// SPDX-License-Identifier: MIT OR Apache-2.0
// Appended to a page by scripts/browser-test: steps by keys and buttons, and says in an element
// of its own what came of it. Errors of any script are collected by what is put in front.
"use strict";
(() => {
  const failures = [];
  const story = JSON.parse(document.getElementById("story").textContent);
  const numbers = story.steps.map((s) => s.number);
  const matter = story.steps.filter((s) => s.matters).map((s) => s.number);
  const marked = () => document.querySelectorAll("[aria-current=step]");
  const at = () => {
    const all = marked();
    if (all.length !== 1) failures.push("steps marked: " + all.length);
    return all.length === 0 ? -1 : Number(all[0].dataset.step);
  };
  const is = (what, got, want) => {
    if (got !== want) failures.push(what + ": " + got + ", not " + want);
  };
  const key = (name, more) => document.body.dispatchEvent(
    new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, ...more }));
  const click = (id) => document.getElementById(id).click();

  for (const id of ["bar", "now", "steps", "state", "scenario", "copy", "toggle", "unfold"]) {
    if (!document.getElementById(id)) failures.push("no #" + id);
  }
  is("without a hash", at(), story.finding ? numbers.findLast((n) => n <= story.finding.step) : matter[0]);
  key("Home");
  is("Home", at(), numbers[0]);
  for (const name of ["j", "ArrowDown", "ArrowRight"]) key(name);
  is("three steps on", at(), numbers[3]);
  for (const name of ["k", "ArrowUp", "ArrowLeft"]) key(name);
  is("and back", at(), numbers[0]);
  key("k");
  is("before the first", at(), numbers[0]);
  key("j", { ctrlKey: true });
  key("x");
  is("keys that mean nothing", at(), numbers[0]);
  const visited = [];
  for (let i = 0; i < matter.length; i += 1) { key("n"); visited.push(at()); }
  is("what matters", visited.join(), [...matter.slice(matter[0] === numbers[0] ? 1 : 0),
    ...(matter[0] === numbers[0] ? [matter.at(-1)] : [])].join());
  key("p");
  is("p", at(), matter.at(-2));
  key("End");
  is("End", at(), numbers.at(-1));
  is("disabled at the end", document.getElementById("on").disabled, true);
  for (const [id, want] of [["first", numbers[0]], ["on", numbers[1]], ["back", numbers[0]],
    ["last", numbers.at(-1)]]) {
    click(id);
    is("button " + id, at(), want);
  }
  const button = document.getElementById("step=" + numbers[2]).querySelector("button");
  button.click();
  is("a step's own button", at(), numbers[2]);

  // Every step: a state that agrees with the story, and a text.
  const held = new Set();
  const count = () => document.querySelectorAll("#state tr:not(.gone) td:nth-child(4)").length;
  key("Home");
  for (const step of story.steps) {
    for (const change of step.changes) {
      if (change.change === "made") held.add(change.entry.id);
      if (change.change === "gone") held.delete(change.id);
    }
    is("the step", at(), step.number);
    is("TLB entries at step " + step.number, count(), held.size);
    const said = document.getElementById("now").textContent;
    if (!said.startsWith("Step " + step.number + ".")) failures.push("said: " + said);
    if (marked()[0].closest("details:not([open])")) failures.push("folded: " + step.number);
    key("j");
  }
  is("entries left", held.size, new Set(story.verdicts.map((v) => v.id)).size);
  // Backwards, the state is made anew.
  key("Home");
  is("entries at the first step", count(),
    story.steps[0].changes.filter((c) => c.change === "made").length);
  for (const heading of ["Registers", "TLB of cpu0"]) {
    const all = [...document.querySelectorAll("#state h3")].map((h) => h.textContent);
    if (!all.some((text) => text.startsWith(heading))) failures.push("no " + heading);
  }
  click("unfold");
  is("folds left", document.querySelectorAll(".fold > details:not([open])").length, 0);
  click("toggle");
  is("the panel's toggle", document.getElementById("toggle").getAttribute("aria-expanded"), "true");
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) failures.push("the page is wider than the window by " + wide);
  for (const b of document.querySelectorAll("button")) {
    if (!(b.getAttribute("aria-label") || b.textContent).trim()) failures.push("a nameless button");
  }
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = [...window.errors, ...failures].slice(0, 20).join("\n") || "all is well";
  document.body.append(result);
})();
