// The drag-and-drop builder: GrapesJS with MJML. The server compiles and keeps the letter.

const data = JSON.parse(document.getElementById("builder-data").textContent);
const { words } = data;
const SAVE_DELAY = 3000;
const RETRY_DELAY = 15_000;
const dialog = document.getElementById("picker-dialog");
// Of the builder's own texts only the English ones are in its file.
const locale = data.messages ? "ru" : "en";
const messages = data.messages ? { ru: (await import(data.messages)).default } : {};
let takePicture = null;

const editor = grapesjs.init({
  container: "#builder",
  height: "100%",
  fromElement: false,
  storageManager: false,
  telemetry: false,
  // No symbols from strangers' servers.
  cssIcons: "",
  noticeOnUnload: false,
  components: data.design,
  plugins: ["grapesjs-mjml"],
  pluginsOpts: {
    "grapesjs-mjml": {
      blocks: [],
      imagePlaceholderSrc: data.placeholder,
      useCustomTheme: false,
      i18n: { [locale]: { "grapesjs-mjml": data.mjml } },
    },
  },
  // The head of a letter is nothing to look at.
  canvasCss: "mj-preview, mj-title, mj-raw { display: none !important }",
  assetManager: { custom: { open: openPicker, close: () => dialog.close() } },
  i18n: { locale, detectLocale: false, messages },
});

namePanels();
addBlocks();
addFields();
addSaveAsBlock();
keepSaved();

// Words in place of the icons of a font that would come from elsewhere.
function namePanels() {
  editor.Panels.removePanel("options");
  const side = editor.Panels.getPanel("views").get("buttons");
  side.reset([
    { id: "open-blocks", command: "open-blocks", label: words.blocks, togglable: false, active: true },
    { id: "open-sm", command: "open-sm", label: words.style, togglable: false },
    { id: "open-tm", command: "open-tm", label: words.settings, togglable: false },
    { id: "open-layers", command: "open-layers", label: words.layers, togglable: false },
  ]);
  // What is chosen is there to be changed.
  editor.on("component:selected", () => {
    const open = side.find((button) => button.get("active"));
    if (open?.id === "open-blocks") side.get("open-sm").set("active", true);
  });
}

function addBlocks() {
  const column = (inner) => `<mj-column>${inner}</mj-column>`;
  const text = `<mj-text font-size="16px" line-height="1.5">${words.newText}</mj-text>`;
  const section = (count) => `<mj-section>${column(text).repeat(count)}</mj-section>`;
  const footer = `<mj-section><mj-column><mj-text align="center" font-size="13px" color="#616e7c">${words.footerText}<br>{{ postal_address }}<br>${data.unsubscribe}</mj-text></mj-column></mj-section>`;
  const blocks = {
    section1: section(1),
    section2: section(2),
    section3: section(3),
    heading: `<mj-text font-size="26px" line-height="1.25" font-weight="bold">${words.newHeading}</mj-text>`,
    text,
    image: { type: "mj-image", activeOnRender: true },
    button: `<mj-button background-color="#1a5fb4" color="#ffffff" font-size="16px" href="https://">${words.newButton}</mj-button>`,
    divider: `<mj-divider border-width="1px" border-color="#9aa5b1"></mj-divider>`,
    spacer: `<mj-spacer height="24px"></mj-spacer>`,
    footer,
  };
  for (const [name, content] of Object.entries(blocks)) {
    editor.Blocks.add(name, {
      label: words[name],
      category: words.content,
      content,
      select: true,
      activate: name === "image",
    });
  }
  data.blocks.forEach(addSavedBlock);
}

function addSavedBlock(block) {
  editor.Blocks.add(`saved-${block.name}`, {
    label: escaped(block.name),
    category: words.savedBlocks,
    content: block.source,
    select: true,
  });
}

// While a text is being written: a menu in its toolbar. Else: at the end of what is chosen.
function addFields() {
  const list = data.fields
    .map(([label, code]) => `<option value="${escaped(code)}">${escaped(label)}</option>`)
    .join("");
  editor.RichTextEditor.add("field", {
    icon: `<select class="gjs-field" aria-label="${escaped(words.field)}"><option value="">${escaped(words.field)}</option>${list}</select>`,
    event: "change",
    result: (rte, action) => {
      const select = action.btn.firstChild;
      if (select.value) rte.insertHTML(escaped(select.value));
      select.value = "";
    },
  });
  document.querySelectorAll("[data-field]").forEach((button) => {
    button.addEventListener("click", () => {
      const chosen = editor.getSelected();
      const code = button.dataset.field;
      if (!chosen || !["mj-text", "mj-button"].includes(chosen.get("type"))) return;
      const html = code.startsWith("<a ") ? code : escaped(code);
      chosen.components(`${chosen.getInnerHTML()} ${html}`);
    });
  });
}

function escaped(text) {
  const holder = document.createElement("span");
  holder.textContent = text;
  return holder.innerHTML.replaceAll('"', "&quot;");
}

function addSaveAsBlock() {
  editor.Commands.add("save-as-block", async (_editor) => {
    const chosen = editor.getSelected();
    const name = chosen && prompt(words.blockName);
    if (!name) return;
    try {
      const answer = await post(data.saveBlock, { name, source: chosen.toHTML() });
      addSavedBlock(answer);
      say(words.blockSaved);
    } catch (error) {
      say(error.message, true);
    }
  });
  editor.on("component:selected", (component) => {
    const toolbar = component.get("toolbar") || [];
    if (toolbar.some((one) => one.command === "save-as-block")) return;
    if (["mjml", "mj-body", "mj-head"].includes(component.get("type"))) return;
    const icon = `<span title="${escaped(words.saveBlock)}">★</span>`;
    component.set("toolbar", [...toolbar, { label: icon, command: "save-as-block" }]);
  });
}

function openPicker({ select }) {
  takePicture = select;
  htmx.ajax("GET", data.picker, "#picker");
  if (!dialog.open) dialog.showModal();
}

dialog.addEventListener("click", (event) => {
  const choice = event.target.closest("[data-picture]");
  if (choice) {
    const { pictureUrl, alt } = choice.dataset;
    takePicture?.({ src: pictureUrl, type: "image" }, true);
    editor.getSelected()?.addAttributes({ src: pictureUrl, alt });
  }
  if (choice || event.target.closest("[data-picker-close]")) editor.Assets.close();
});
dialog.addEventListener("close", () => editor.Assets.close());

const state = document.querySelector("[data-save-state]");

function say(text, wrong = false) {
  state.textContent = text;
  state.classList.toggle("text-danger", wrong);
}

async function post(url, values) {
  const body = new FormData(document.querySelector("[data-save-form]"));
  for (const [name, value] of Object.entries(values)) body.set(name, value);
  const answer = await fetch(url, { method: "POST", headers: { Accept: "application/json" }, body });
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.error.message), { status: answer.status });
  return said;
}

function keepSaved() {
  let { version } = data;
  let unsaved = false;
  let stopped = false;
  let saving = null;
  let timer;
  const later = (delay) => {
    clearTimeout(timer);
    if (!stopped) timer = setTimeout(save, delay);
  };
  // What the first rendering does is no change of the person's.
  editor.onReady(() => {
    editor.UndoManager.clear();
    editor.on("update", () => {
      unsaved = true;
      if (!stopped) say(words.unsaved);
      later(SAVE_DELAY);
    });
    document.body.dataset.ready = "";
  });

  // What is just being written belongs to the letter only once its editing has ended.
  async function saveAll() {
    await editor.getEditing()?.getView?.()?.disableEditing?.();
    // The builder tells of a change a moment after it.
    await new Promise((done) => { setTimeout(done, 300); });
    await saving;
    await save();
  }

  function save() {
    clearTimeout(timer);
    saving ??= send().finally(() => { saving = null; });
    return saving;
  }

  async function send() {
    unsaved = false;
    say(words.saving);
    try {
      ({ version } = await post(location.pathname, { version, design: editor.getHtml() }));
      if (!unsaved) say(`${words.saved} ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`);
    } catch (error) {
      unsaved = true;
      stopped = error.status === 409;
      say(error.status ? `${words.unsaved}: ${error.message}` : words.offline, true);
      if (!error.status) later(RETRY_DELAY);
    }
  }

  document.querySelector("[data-command=save]").addEventListener("click", saveAll);
  document.querySelector("[data-command=undo]").addEventListener("click", () => editor.UndoManager.undo());
  for (const link of document.querySelectorAll("[data-back], [data-preview-link]")) {
    link.addEventListener("click", async (event) => {
      if (stopped) return;
      event.preventDefault();
      await saveAll();
      if (unsaved) return;
      if (link.target) open(link.href, "_blank", "noopener");
      else location.assign(link.href);
    });
  }
  addEventListener("beforeunload", (event) => {
    if (unsaved) event.preventDefault();
  });
}
