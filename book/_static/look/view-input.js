/**
 * What the reader gives: a file, a drop, a paste, the camera, a sample; and, beside it, what the models see of it.
 */

import {openCamera, readPicture, toCanvas} from "./input.js";
import {make, part} from "./dom.js";
import {followStrokes, paintPicture} from "./view-stage.js";

const THUMBNAIL = 88; // pixels of a sample's button, twice as many as it covers

export class Input {
  // samples: of samples.json; base: address of this folder; say(sentence): tells the reader what went
  // wrong; hand: as of a stage.
  constructor(root, samples, base, {state, session, say, hand}) {
    Object.assign(this, {root, samples, base, state, session, say});
    this.find = name => part(root, name);
    this.find("file").addEventListener("change", event => {
      this.take(event.target.files[0]);
      event.target.value = ""; // so that the same file can be chosen again
    });
    this.find("choose").addEventListener("click", () => this.find("file").click());
    this.buttons = samples.map((sample, i) => this.button(sample, i));
    for (const name of ["given", "sees"]) followStrokes(this.find(name), hand.brush);
    this.dropAndPaste();
    this.camera();
  }

  button(sample, i) {
    const button = make("button", {type: "button", title: sample.title});
    make("li", {}, this.find("samples")).append(button);
    const address = new URL(`samples/${sample.file}`, this.base).href;
    make("img", {src: address, alt: `Sample ${i + 1}: ${sample.alt}`, width: THUMBNAIL, height: THUMBNAIL, decoding: "async"}, button);
    button.addEventListener("click", () => this.state.set({image: i, pin: null}));
    return button;
  }

  dropAndPaste() {
    const over = on => this.root.classList.toggle("look-over", on);
    document.addEventListener("dragover", event => {
      event.preventDefault();
      over(true);
    });
    document.addEventListener("dragleave", event => { if (!event.relatedTarget) over(false); });
    document.addEventListener("drop", event => {
      event.preventDefault();
      over(false);
      const [file] = event.dataTransfer.files;
      if (file) this.take(file);
      else this.say("What you dropped is no file; save the picture first, or copy it and paste it here.");
    });
    document.addEventListener("paste", event => {
      const [file] = event.clipboardData.files;
      if (file) this.take(file);
    });
  }

  camera() {
    const [box, video] = [this.find("viewfinder"), this.find("video")];
    let open = null;
    const close = () => {
      open?.stop();
      open = null;
      box.hidden = true;
      this.find("camera").focus();
    };
    this.find("camera").addEventListener("click", async () => {
      try {
        open = await openCamera(video);
        box.hidden = false;
        this.find("shoot").focus();
      } catch (error) {
        this.say(error.message);
      }
    });
    this.find("shoot").addEventListener("click", async () => {
      await this.take(video);
      close();
    });
    this.find("close").addEventListener("click", close);
  }

  // The reader's own picture, from a file or the camera.
  async take(source) {
    if (!source) return;
    const shown = await this.read(source, source.name ?? "Your picture");
    if (shown) this.state.set({image: null, pin: null});
  }

  async takeSample(i) {
    const sample = this.samples[i], address = new URL(`samples/${sample.file}`, this.base).href;
    await this.read(address, `${sample.title}: ${sample.credit}, ${sample.licence}`);
  }

  async read(source, name) {
    const turn = this.turn = (this.turn ?? 0) + 1;
    try {
      const picture = await readPicture(source);
      if (turn !== this.turn) return false; // another picture was chosen meanwhile
      this.say("");
      this.session.show({...picture, name});
      return true;
    } catch (error) {
      this.say(error.message);
      return false;
    }
  }

  draw() {
    const {picture, now} = this.session;
    this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === this.state.now.image));
    if (!picture) return;
    this.find("credit").textContent = [picture.name, ...picture.notes].join(" · ");
    if (this.painted !== now) {
      paintPicture(this.find("given"), now);
      const small = toCanvas(now.pixels), sees = this.find("sees");
      sees.width = sees.height = small.width;
      sees.getContext("2d").drawImage(small, 0, 0);
    }
    this.painted = now;
  }
}
