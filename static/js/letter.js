// The page on which a letter is written: code and rich text, fields and pictures at the cursor,
// the preview, and saving by itself. Without scripts the form is a plain one.

const PREVIEW_DELAY = 500; // ms without a keystroke
const SAVE_DELAY = 2000;
const RETRY_DELAY = 15_000;
const PREVIEWED = ["subject", "design", "html", "text", "preview_as"];
let previews = 0;

const page = document.querySelector("[data-letter]");
if (page) {
  const main = codeEditor(page) || richEditor(page) || plainEditor(page);
  insertAtCursor(page, main);
  choosePictures(page, main);
  page.querySelector("[data-undo]")?.addEventListener("click", () => main.undo());
  saveByItself(page, main);
  previewWhileWriting(page);
}

// What the three editors have in common: insert(text), picture({url, alt, width}), undo(),
// fault(line) and a `field` of the form, which holds what is saved.

function codeEditor(form) {
  const area = form.querySelector("[data-code]");
  if (!area || !window.CodeMirror) return null;
  const field = area.querySelector("textarea");
  const code = CodeMirror.fromTextArea(field, {
    // MJML letters hold HTML, whose <br> and <meta> have no end.
    mode: area.dataset.code === "xml" ? { name: "xml", htmlMode: true } : area.dataset.code,
    lineNumbers: true,
    lineWrapping: true,
    // Tab leaves the editor, as it leaves every field.
    extraKeys: { Tab: false, "Shift-Tab": false },
  });
  code.getInputField().setAttribute("aria-label", area.dataset.label);
  let marked = null;
  code.on("change", () => {
    code.save();
    changed(field);
  });
  // Shown later, it has to measure its lines anew.
  form.addEventListener("shown.bs.tab", () => code.refresh());
  return {
    field,
    insert: (text) => { code.replaceSelection(text); code.focus(); },
    picture({ url, alt, width }) {
      const name = field.name === "design" ? "mj-image" : "img";
      const size = Math.min(width, 600);
      this.insert(`<${name} src="${attribute(url)}" alt="${attribute(alt)}" width="${size}${name === "mj-image" ? "px" : ""}" />`);
    },
    undo: () => code.undo(),
    fault(line) {
      if (marked !== null) code.removeLineClass(marked, "background", "has-fault");
      marked = line ? code.addLineClass(line - 1, "background", "has-fault") : null;
    },
    has: (element) => area.contains(element),
  };
}

function richEditor(form) {
  const area = form.querySelector("[data-rich]");
  if (!area || !window.Quill) return null;
  const field = form.elements.design;
  const quill = new Quill(area, {
    theme: "snow",
    formats: ["header", "bold", "italic", "underline", "strike", "link", "image", "list", "align", "blockquote", "indent"],
    modules: {
      toolbar: {
        container: [
          [{ header: [1, 2, 3, false] }],
          ["bold", "italic", "underline", "strike"],
          [{ list: "ordered" }, { list: "bullet" }, { align: [] }, "blockquote"],
          ["link", "image"],
        ],
        handlers: { image: () => form.querySelector("[data-picker-open]").click() },
      },
      // A pasted picture would go into the letter itself; pictures come from the library.
      uploader: { mimetypes: [] },
    },
  });
  quill.clipboard.dangerouslyPasteHTML(field.value, "silent");
  quill.history.clear();
  quill.root.setAttribute("aria-label", area.dataset.label);
  quill.root.setAttribute("role", "textbox");
  quill.root.setAttribute("aria-multiline", "true");
  // Quill makes every space of its HTML one that never breaks a line.
  const html = () => quill.getSemanticHTML().replaceAll("&nbsp;", " ");
  quill.on("text-change", () => {
    field.value = html();
    changed(field);
  });
  const position = () => quill.getSelection()?.index ?? last ?? Math.max(0, quill.getLength() - 1);
  let last = null;
  quill.on("selection-change", (range) => { if (range) last = range.index; });
  return {
    field,
    insert(text) {
      const link = /^<a href="([^"]*)">([^<]*)<\/a>$/.exec(text);
      const at = position();
      if (link) quill.insertText(at, link[2], "link", link[1], "user");
      else quill.insertText(at, text, "user");
      quill.setSelection(at + (link ? link[2] : text).length);
    },
    picture({ url, alt }) {
      const at = position();
      quill.insertEmbed(at, "image", url, "user");
      const picture = [...quill.root.querySelectorAll("img")].find((one) => one.src === url && !one.alt);
      picture?.setAttribute("alt", alt);
      quill.setSelection(at + 1);
      field.value = html();
      changed(field);
    },
    undo: () => quill.history.undo(),
    fault() {},
    has: (element) => area.parentElement.contains(element),
  };
}

// In the builder's mode, or where a script did not load.
function plainEditor(form) {
  const field = form.elements.html || form.elements.design || form.elements.text || form.elements.subject || form.elements.name;
  return {
    field,
    insert: (text) => intoField(field, text),
    picture: ({ url, alt }) => intoField(field, `<img src="${attribute(url)}" alt="${attribute(alt)}">`),
    undo() { field.focus(); document.execCommand("undo"); },
    fault() {},
    has: (element) => element === field,
  };
}

function attribute(text) {
  return text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;");
}

function changed(field) {
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

function intoField(field, text) {
  field.setRangeText(text, field.selectionStart, field.selectionEnd, "end");
  changed(field);
  field.focus();
}

function insertAtCursor(form, main) {
  const one = ["subject", "preheader", "text"].map((name) => form.elements[name]).filter(Boolean);
  let last = null; // a field, or nothing for the letter
  for (const field of one) field.setSelectionRange(field.value.length, field.value.length);
  form.addEventListener("focusin", (event) => {
    if (one.includes(event.target)) last = event.target;
    else if (main.has(event.target)) last = null;
  });
  form.addEventListener("shown.bs.tab", (event) => {
    last = event.target.getAttribute("aria-controls") === "text-pane" ? form.elements.text : null;
  });
  form.addEventListener("click", (event) => {
    const choice = event.target.closest("[data-insert]");
    if (!choice) return;
    const { insert, insertText } = choice.dataset;
    if (last && !("insertMain" in choice.dataset)) intoField(last, insertText || insert);
    else main.insert(insert);
  });
}

function choosePictures(form, main) {
  const dialog = document.getElementById("picker-dialog");
  form.querySelector("[data-picker-open]")?.addEventListener("click", (event) => {
    htmx.ajax("GET", event.currentTarget.dataset.pickerOpen, "#picker");
    dialog.showModal();
  });
  dialog?.addEventListener("click", (event) => {
    const choice = event.target.closest("[data-picture]");
    if (choice) main.picture({ url: choice.dataset.pictureUrl, alt: choice.dataset.alt, width: Number(choice.dataset.width) });
    if (choice || event.target.closest("[data-picker-close]")) dialog.close();
  });
}

// Saves a moment after the last change. What the server refuses is said and stays unsaved; after
// somebody else's change nothing is saved by itself any more: the form asks what to do.
function saveByItself(form, main) {
  const state = form.querySelector("[data-save-state]");
  const words = state.dataset;
  let unsaved = form.hasAttribute("data-unsaved");
  let stopped = unsaved; // what the server has just refused waits for the person
  let saving = false;
  let timer;
  const say = (text, wrong = false) => {
    state.textContent = text;
    state.classList.toggle("text-danger", wrong);
  };
  if (unsaved) say(words.unsavedWord);
  const later = (delay) => {
    clearTimeout(timer);
    if (!stopped) timer = setTimeout(save, delay);
  };
  form.addEventListener("input", (event) => {
    // A field within the page may belong to another form.
    if (event.target.name === "preview_as" || (event.target.form && event.target.form !== form)) return;
    unsaved = true;
    if (!stopped) say(words.unsavedWord);
    later(SAVE_DELAY);
  });
  form.addEventListener("submit", (event) => {
    clearTimeout(timer);
    // The answer of a save under way has the version that this one needs.
    if (saving) {
      event.preventDefault();
      const { submitter } = event;
      saving.then(() => form.requestSubmit(submitter));
      return;
    }
    unsaved = false;
    stopped = true;
  });
  addEventListener("beforeunload", (event) => {
    if (unsaved) event.preventDefault();
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });

  function save() {
    if (saving) return later(SAVE_DELAY);
    saving = send().finally(() => { saving = false; });
    return saving;
  }

  async function send() {
    unsaved = false;
    say(words.savingWord);
    try {
      const answer = await fetch(location.pathname, {
        method: "POST",
        headers: { Accept: "application/json" },
        body: new FormData(form),
      });
      if (answer.redirected) throw new Error("signed out");
      const said = await answer.json();
      if (answer.ok) {
        form.elements.version.value = said.version;
        main.fault(0);
        if (!unsaved) say(`${words.savedWord} ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`);
        return;
      }
      unsaved = true;
      const message = said.error?.message || Object.values(said.errors || {}).flat()[0];
      stopped = answer.status === 409;
      main.fault(Number(/^\D*(\d+):/.exec(message)?.[1] || 0));
      say(`${words.unsavedWord}: ${message}`, true);
    } catch {
      unsaved = true;
      say(words.failedWord, true);
      later(RETRY_DELAY);
    }
  }
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
  form.querySelector("[data-preview-dark]").addEventListener("click", (event) => {
    const dark = stage.classList.toggle("is-dark");
    event.currentTarget.classList.toggle("active", dark);
    event.currentTarget.setAttribute("aria-pressed", String(dark));
    showPreview(form, stage);
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
    if (!form.elements[name]) continue;
    // A textarea, since an <input> would drop the line breaks.
    const value = document.createElement("textarea");
    value.name = name;
    value.value = form.elements[name].value;
    post.append(value);
  }
  if (stage.classList.contains("is-dark")) post.append(Object.assign(document.createElement("input"), { name: "dark", value: "1" }));
  document.body.append(post);
  post.submit();
  post.remove();
  htmx.trigger(document.body, "preview-changed");
}
