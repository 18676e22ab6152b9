// Small state for Alpine's CSP build: components are registered here, markup only names them.

document.addEventListener("alpine:init", () => {
  Alpine.data("theme", theme);
  Alpine.data("upload", upload);
  Alpine.data("otherChoice", otherChoice);
});

const systemDark = matchMedia("(prefers-color-scheme: dark)");

function storedTheme() {
  try {
    return localStorage.getItem("theme") || "system";
  } catch {
    return "system"; // storage may be blocked
  }
}

function applyTheme(name) {
  const dark = name === "dark" || (name === "system" && systemDark.matches);
  document.documentElement.dataset.bsTheme = dark ? "dark" : "light";
}

systemDark.addEventListener("change", () => applyTheme(storedTheme()));

function theme() {
  return {
    name: storedTheme(),
    get isLight() { return String(this.name === "light"); },
    get isDark() { return String(this.name === "dark"); },
    get isSystem() { return String(this.name === "system"); },
    choose(event) {
      this.name = event.currentTarget.dataset.themeChoice;
      try {
        localStorage.setItem("theme", this.name);
      } catch {
        // it then lasts for this page only
      }
      applyTheme(this.name);
    },
  };
}

// A file form sent by htmx: shows how far the upload is; without scripts it is a plain form.
function upload() {
  return {
    sending: false,
    over: false,
    failed: false,
    percent: 0,
    get isOver() { return this.over ? "is-over" : ""; },
    get text() { return this.percent < 100 ? `${this.percent} %` : ""; },
    // All is sent, but the server still looks into it: how far it is nobody knows.
    get meter() { return this.percent < 100 ? this.percent : null; },
    get stage() { return this.$root.dataset[this.percent < 100 ? "uploading" : "reading"]; },
    start() { this.sending = true; this.failed = false; this.percent = 0; },
    // An answer that has a place of its own on the page says what is wrong by itself.
    fail(event) { this.failed = !event.detail.xhr.getResponseHeader("HX-Retarget"); },
    // The server takes a form's text into memory and refuses much of it; a file goes to its disk.
    wrap(event) {
      const { formData } = event.detail;
      const text = formData.get("text") || "";
      if (text.length < 1e6 || formData.get("file")?.size) return;
      formData.set("file", new File([text], this.$root.dataset.pasted, { type: "text/plain" }));
      formData.delete("text");
    },
    stop() { this.sending = false; },
    progress(event) {
      const { loaded, total, lengthComputable } = event.detail;
      if (lengthComputable && total) this.percent = Math.floor((100 * loaded) / total);
    },
    dragOver(event) { event.preventDefault(); this.over = true; },
    dragLeave() { this.over = false; },
    drop(event) {
      event.preventDefault();
      this.over = false;
      if (event.dataTransfer.files.length) {
        this.$refs.file.files = event.dataTransfer.files;
        this.$refs.file.dispatchEvent(new Event("change", { bubbles: true }));
      }
    },
  };
}

// A select with a last resort ("New list…") that needs a name: shows the input for it.
function otherChoice() {
  return {
    value: "",
    init() { this.value = this.$refs.choice.value; },
    change() { this.value = this.$refs.choice.value; },
    get isOther() { return this.value === this.$root.dataset.other; },
  };
}

// Errors that the server wants shown (core.errors) come with a target; others change nothing.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  if (xhr.getResponseHeader("HX-Retarget")) event.detail.shouldSwap = true;
  // A poll after the session's end is answered with the sign-in page: go there.
  const signIn = document.body.dataset.signIn;
  if (signIn && xhr.responseURL && new URL(xhr.responseURL).pathname === signIn) {
    event.detail.shouldSwap = false;
    location.reload();
  }
});

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

// Submit a form of filters as soon as a choice is made.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-autosubmit]")) event.target.form.requestSubmit();
});

// <button data-copy="id of a field" data-copied="Copied"><span>Copy</span></button>
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copy);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    document.execCommand("copy"); // without HTTPS there is no clipboard API
  }
  const label = button.querySelector("span");
  button.dataset.label ??= label.textContent;
  label.textContent = button.dataset.copied;
  setTimeout(() => { label.textContent = button.dataset.label; }, 2000);
});
