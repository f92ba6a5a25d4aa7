/* What every page of the book can do: show all folded code, and enlarge a figure. Nothing here draws or computes. */

const CODE = "details.hide.above-input";
const KEY = "show-all-code";

/** A switch above a chapter that opens or closes all folded code; its state is kept for every page. */
function addCodeSwitch(article) {
  const folded = [...article.querySelectorAll(CODE)];
  const title = article.querySelector("h1");
  if (!folded.length || !title) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "code-switch";
  const set = (open) => {
    folded.forEach((details) => { details.open = open; });
    button.setAttribute("aria-pressed", String(open));
    button.textContent = open ? "Hide code" : "Show all code";
  };
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    set(open);
    try { localStorage.setItem(KEY, String(open)); } catch { /* private windows keep nothing */ }
  });
  let open = false;
  try { open = localStorage.getItem(KEY) === "true"; } catch { /* as above */ }
  set(open);
  title.after(button);
}

/** A click or Enter on a figure shows it as large as the window; Escape, or another click, closes it. */
function addEnlarging(article) {
  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  let picture = null;
  dialog.append(close);
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  for (const image of article.querySelectorAll(".cell_output img")) {
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.setAttribute("aria-haspopup", "dialog");
    const enlarge = () => {
      picture?.remove();
      picture = document.createElement("img");
      picture.src = image.currentSrc || image.src;
      picture.alt = image.alt;
      // At its own size at least: on a phone it is wider than the window, and scrolls.
      picture.style.minWidth = `${image.getAttribute("width") || image.naturalWidth}px`;
      dialog.append(picture);
      dialog.showModal();
    };
    image.addEventListener("click", enlarge);
    image.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      enlarge();
    });
  }
}

document.addEventListener("DOMContentLoaded", () => {
  const article = document.querySelector("article.bd-article");
  if (!article) return;
  addCodeSwitch(article);
  addEnlarging(article);
});
