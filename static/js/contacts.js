// The page of contacts: one box that ticks all, and only the inputs that the action needs.
// Without it the page works: all inputs are there, and boxes are ticked one by one.

const bulkForm = document.querySelector("[data-bulk]");
if (bulkForm) {
  tickAll(bulkForm);
  showNeeded(bulkForm);
}

function tickAll(form) {
  const all = form.querySelector("[data-check-all]");
  const boxes = [...form.querySelectorAll("input[name=ids]")];
  const show = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    all.checked = ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
    if (ticked) form.querySelector("[data-bulk-panel]").open = true;
  };
  all.addEventListener("change", () => {
    boxes.forEach((box) => { box.checked = all.checked; });
    show();
  });
  boxes.forEach((box) => box.addEventListener("change", show));
  show();
}

function showNeeded(form) {
  const action = form.elements.action;
  const show = () => {
    form.querySelectorAll("[data-for]").forEach((part) => {
      part.hidden = !part.dataset.for.split(" ").includes(action.value);
    });
  };
  action.addEventListener("change", show);
  show();
}
