// The campaign editor: preview while writing, merge fields at the cursor, a warning before
// unsaved text is lost. All pages work without it, but for the menu of merge fields.

const PREVIEW_DELAY = 500; // ms without a keystroke
const PREVIEWED = ["subject", "html", "text", "preview_as"];
let previews = 0;

const editor = document.querySelector("[data-editor]");
if (editor) {
  warnBeforeLosing(editor);
  insertMergeFields(editor);
  previewWhileWriting(editor);
}

const launchForm = document.querySelector("[data-launch]");
if (launchForm) showChosenTime(launchForm);

// A form that must be sent once: a second click finds its button disabled.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-once]")) return;
  const buttons = event.target.querySelectorAll("button[type=submit]");
  // Not before the browser has taken the form's values.
  setTimeout(() => buttons.forEach((button) => { button.disabled = true; }));
  addEventListener("pageshow", (shown) => {
    // Come back to by the browser's Back button, the page is as it was left.
    if (shown.persisted) buttons.forEach((button) => { button.disabled = false; });
  });
});

// Only what belongs to the choice between now and later.
function showChosenTime(form) {
  const show = () => {
    form.querySelectorAll("[data-when]").forEach((part) => {
      part.hidden = part.dataset.when !== form.elements.when.value;
    });
  };
  form.addEventListener("change", show);
  show();
}

function warnBeforeLosing(form) {
  const note = form.querySelector("[data-unsaved-note]");
  let unsaved = false;
  const mark = (value) => {
    unsaved = value;
    note.hidden = !value;
  };
  mark(form.hasAttribute("data-unsaved"));
  form.addEventListener("input", (event) => {
    if (event.target.name !== "preview_as") mark(true);
  });
  form.addEventListener("submit", () => mark(false));
  addEventListener("beforeunload", (event) => {
    if (unsaved) event.preventDefault();
  });
}

function insertMergeFields(form) {
  const { subject, html, text } = form.elements;
  let last = html;
  for (const field of [subject, html, text]) {
    // Until somebody puts the cursor elsewhere, it is at the end.
    field.setSelectionRange(field.value.length, field.value.length);
    field.addEventListener("focus", () => { last = field; });
  }
  form.addEventListener("shown.bs.tab", (event) => {
    last = event.target.getAttribute("aria-controls") === "text-pane" ? text : html;
  });
  form.addEventListener("click", (event) => {
    const choice = event.target.closest("[data-insert]");
    if (!choice) return;
    const { insert, insertText } = choice.dataset;
    last.setRangeText(last === html ? insert : insertText || insert, last.selectionStart, last.selectionEnd, "end");
    last.dispatchEvent(new Event("input", { bubbles: true }));
    last.focus();
  });
}

function previewWhileWriting(form) {
  const stage = form.querySelector("[data-preview]");
  let timer;
  form.addEventListener("input", (event) => {
    if (!PREVIEWED.includes(event.target.name)) return;
    clearTimeout(timer);
    timer = setTimeout(() => showPreview(form, stage), PREVIEW_DELAY);
  });
  if (form.hasAttribute("data-unsaved")) showPreview(form, stage);
  form.querySelectorAll("[data-preview-width]").forEach((button, _index, all) => {
    button.addEventListener("click", () => {
      stage.classList.toggle("is-phone", button.dataset.previewWidth === "phone");
      for (const other of all) {
        other.classList.toggle("active", other === button);
        other.setAttribute("aria-pressed", String(other === button));
      }
    });
  });
}

// Each preview gets a frame of its own, shown once it has loaded: no flicker, and no steps in
// the browser's history as repeated loads of one frame would leave.
function showPreview(form, stage) {
  const current = stage.querySelector("iframe:not(.is-loading)");
  stage.querySelectorAll("iframe.is-loading").forEach((stale) => stale.remove());
  const frame = document.createElement("iframe");
  frame.name = `preview-${++previews}`;
  frame.title = current.title;
  frame.className = "preview-frame is-loading";
  frame.setAttribute("sandbox", current.getAttribute("sandbox"));
  stage.append(frame);
  frame.addEventListener("load", () => {
    current.remove();
    frame.classList.remove("is-loading");
  });
  const post = document.createElement("form");
  post.method = "post";
  post.action = stage.dataset.preview;
  post.target = frame.name;
  post.hidden = true;
  for (const name of ["csrfmiddlewaretoken", ...PREVIEWED]) {
    // A textarea, since an <input> would drop the line breaks.
    const value = document.createElement("textarea");
    value.name = name;
    value.value = form.elements[name].value;
    post.append(value);
  }
  document.body.append(post);
  post.submit();
  post.remove();
  htmx.trigger(document.body, "preview-changed");
}
