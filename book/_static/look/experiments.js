/** The tools below the cards: one open at a time, and a list of what they changed, each to be taken back. */

import {make, part, place, roving} from "./dom.js";

export class Experiments {
  // tools: by name, each with draw() and, if it paints on the picture, brush() and press(patch, grid); columns: of the
  // grid of patches.
  constructor(root, tools, columns, {state, session}) {
    Object.assign(this, {root, tools, columns, state, session});
    this.tabs = [...part(root, "tabs").querySelectorAll("[data-tool]")];
    for (const tab of this.tabs) tab.addEventListener("click", () => state.set({tool: tab.dataset.tool, hover: null}));
    roving(part(root, "tabs"), this.tabs, () => this.tabs.length, at => this.tabs[at].click());
  }

  now() { return this.tools[this.state.now.tool]; }
  panel(name) { return this.root.querySelector(`[data-panel="${name}"]`); }

  draw() {
    const {tool} = this.state.now;
    for (const tab of this.tabs) {
      const chosen = tab.dataset.tool === tool;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      this.panel(tab.dataset.tool).hidden = !chosen;
    }
    this.root.dataset.tool = tool;
    this.root.classList.toggle("look-painting", Boolean(this.now().brush));
    this.now().draw();
    this.drawChanges();
  }

  // What was pinned and changed, each with the way back.
  taken() {
    const {pin} = this.state.now;
    const changed = this.session.changed().map(change => ({said: change.label(), back: () => {
      change.reset();
      this.session.refresh();
    }}));
    if (pin === null) return changed;
    return [{said: place(pin, this.columns), back: () => this.state.set({pin: null, hover: null})}, ...changed];
  }

  drawChanges() {
    const taken = this.taken(), said = taken.map(one => one.said).join("|");
    if (said === this.said) return;
    this.said = said;
    part(this.root, "changes").replaceChildren(...taken.map(one => {
      const item = make("li", {});
      const button = make("button", {type: "button", "aria-label": `Take back: ${one.said}`}, item, `${one.said} ✕`);
      button.addEventListener("click", one.back);
      return item;
    }));
  }
}
