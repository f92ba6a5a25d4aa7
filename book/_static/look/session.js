/**
 * The picture, what the experiments change in it, and the models with their newest answers.
 * One computation at a time, in turns: the page lives on the same thread, and each model gets the newest picture.
 */

import {softmax} from "./numbers.js";
import {drawn} from "./dom.js";

/**
 * A change is what an experiment does on the way from the picture to the answer; all but `label` and `reset` are optional:
 *   alter({canvas, pixels}) -> {canvas, pixels}    of the picture, before it is shown
 *   alterFor(name, pixels) -> pixels               for one model
 *   controls(entry) -> {temperature, headMask, randomise}
 *   label() -> what is changed, "" if nothing;     reset()
 */
export class Session {
  constructor(entries, load) {
    this.load = load; // entry, {onProgress} -> promise of a model
    this.models = new Map(entries.map(entry => [entry.name, {entry, model: null, share: 0, why: "waits"}]));
    this.changes = [];
    this.picture = null; // as it was given: {canvas, small, notes, name}
    this.now = null; // as it is shown: {canvas, pixels, under}; `under` are the pixels that `canvas` shows
    this.dirty = new Set();
    this.listeners = new Set();
    this.tail = Promise.resolve();
  }

  listen(listener) { this.listeners.add(listener); }
  tell() { for (const listener of this.listeners) listener(); }
  of(name) { return this.models.get(name); }
  changed() { return this.changes.filter(change => change.label()); }

  show(picture) {
    this.picture = picture;
    // What was changed in the picture went with it; what was changed in the models stays.
    for (const change of this.changes) if (change.alter || change.alterFor) change.reset();
    const nothing = {untouched: null, before: null, result: null, probabilities: null};
    for (const one of this.models.values()) Object.assign(one, nothing);
    this.refresh();
  }

  // Something was changed: ask every model again.
  refresh() {
    if (!this.picture) return undefined;
    this.now = {canvas: this.picture.canvas, pixels: this.picture.small, under: this.picture.small};
    for (const change of this.changes) if (change.alter) this.now = change.alter(this.now);
    for (const [name, one] of this.models) if (one.model) this.dirty.add(name);
    this.tell();
    this.working ??= this.work();
    return this.working;
  }

  async work() {
    await drawn(); // what was changed can be seen before it is answered
    try {
      while (this.dirty.size) {
        const [name] = this.dirty;
        this.dirty.delete(name);
        await this.answer(name);
        this.tell();
        await drawn();
      }
    } finally {
      this.working = null;
      this.tell();
    }
  }

  async answer(name) {
    const one = this.of(name), picture = this.picture;
    if (!one.untouched) {
      const untouched = await this.ask(name, picture.small);
      if (picture !== this.picture) return;
      Object.assign(one, {untouched, before: softmax(untouched.logits)});
    }
    const result = this.changed().length
      ? await this.ask(name, this.pixelsFor(name), this.controlsFor(one.entry)) : one.untouched;
    if (picture !== this.picture) return;
    Object.assign(one, {result, probabilities: softmax(result.logits)});
  }

  pixelsFor(name) {
    return this.changes.reduce((pixels, change) => change.alterFor?.(name, pixels) ?? pixels, this.now.pixels);
  }

  controlsFor(entry) {
    return Object.assign({}, ...this.changes.map(change => change.controls?.(entry) ?? {}));
  }

  // One run of one model, after those that were asked before.
  ask(name, pixels, controls) {
    const run = this.tail.then(() => this.of(name).model.run(pixels, controls));
    this.tail = run.catch(() => {});
    return run;
  }

  async fetch(name) {
    const one = this.of(name);
    if (one.model || one.loading) return one.loading;
    const onProgress = (received, total) => {
      one.share = received / total;
      this.tell();
    };
    one.why = "loads";
    one.loading = this.load(one.entry, {onProgress});
    try {
      one.model = await one.loading;
      await this.refresh();
    } catch (error) {
      one.why = error.message;
      this.tell();
      throw error;
    } finally {
      one.loading = null;
    }
    return undefined;
  }
}
