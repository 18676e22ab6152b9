// The segment editor: the server draws each condition; here they are added, removed and read.

const COUNT_DELAY = 400; // ms without a change

const form = document.querySelector("[data-segment]");
const counter = document.getElementById("segment-count");
let timer;

function values(condition) {
  const found = {};
  for (const field of condition.querySelectorAll("[data-value]")) {
    found[field.dataset.value] = "several" in field.dataset
      ? [...field.querySelectorAll("input:checked")].map((box) => box.value)
      : field.value;
  }
  return found;
}

function read(element) {
  if ("condition" in element.dataset) {
    return {
      what: element.querySelector("[data-what]").value,
      operator: element.querySelector("[data-operator]").value,
      values: values(element),
    };
  }
  return {
    match: element.querySelector("[data-match]").value,
    rules: [...element.querySelector("[data-rules]").children].map(read),
  };
}

function note() {
  form.elements.rules.value = JSON.stringify(read(form.querySelector("[data-group]")));
}

function changed() {
  note();
  clearTimeout(timer);
  timer = setTimeout(() => htmx.trigger(counter, "rules-changed"), COUNT_DELAY);
}

async function fetched(query) {
  const answer = await fetch(`${form.dataset.ruleUrl}?${new URLSearchParams(query)}`, {
    headers: { "X-Requested-With": "fetch" },
  });
  if (!answer.ok || answer.redirected) {
    location.reload(); // signed out
    return null;
  }
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  return holder.content.firstElementChild;
}

async function add(button) {
  const drawn = await fetched(button.dataset.add === "group" ? { group: "1" } : { what: "email" });
  if (!drawn) return;
  button.closest("[data-group]").querySelector("[data-rules]").append(drawn);
  drawn.querySelector("select").focus();
  changed();
}

// The inputs depend on what is compared and how. What is written while the answer is on its way
// stays, and of two answers the later one counts.
const asked = new WeakMap();

async function redraw(condition, byWhat) {
  const { what, operator, values: chosen } = read(condition);
  const query = new URLSearchParams({ what });
  if (!byWhat) {
    query.set("operator", operator);
    for (const [name, value] of Object.entries(chosen)) {
      for (const one of [value].flat()) query.append(name, one);
    }
  }
  asked.set(condition, query);
  const drawn = await fetched(query);
  if (!drawn || asked.get(condition) !== query) return;
  for (const [name, value] of Object.entries(values(condition))) {
    const field = drawn.querySelector(`[data-value="${name}"]:not([data-several])`);
    if (field && typeof value === "string" && value !== chosen[name]) field.value = value;
  }
  const { dataset = {} } = condition.contains(document.activeElement) ? document.activeElement : {};
  const place = "what" in dataset ? "[data-what]"
    : "operator" in dataset ? "[data-operator]" : `[data-value="${dataset.value}"]`;
  condition.replaceWith(drawn);
  drawn.querySelector(place)?.focus();
  changed();
}

function remove(button) {
  const rule = button.closest("[data-condition], [data-group]");
  const group = rule.parentElement.closest("[data-group]");
  rule.remove();
  group.querySelector(":scope > .btn-list [data-add]").focus();
  changed();
}

form.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.add) add(button);
  else if (button && "remove" in button.dataset) remove(button);
});
form.addEventListener("input", (event) => {
  if (event.target.closest("[data-value]")) changed();
});
form.addEventListener("change", (event) => {
  const { dataset } = event.target;
  if ("what" in dataset || "operator" in dataset) {
    redraw(event.target.closest("[data-condition]"), "what" in dataset);
  } else if ("match" in dataset) {
    changed();
  }
});
form.addEventListener("submit", note);
form.addEventListener("keydown", (event) => {
  // Enter in a condition counts; only the button saves.
  if (event.key === "Enter" && event.target.closest("[data-condition] input")) {
    event.preventDefault();
    changed();
  }
});

// A module runs after the deferred scripts that stand before it, htmx among them.
changed();
