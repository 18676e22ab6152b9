// Charts drawn from the tables under them, so that both always say the same.

const COLOURS = {
  light: ["#4a566d", "#0a5cad", "#17803a", "#a85d00", "#b42323", "#7a3fa8"],
  dark: ["#b3bfd1", "#6db3f8", "#62d384", "#ffbe4d", "#ff8a8a", "#c79bf2"],
};
const SHAPES = ["circle", "rect", "triangle", "diamond", "roundRect", "arrow"];
const hiddenSeries = new Set();
const charts = new Map();
let firstLook = true;
document.documentElement.classList.toggle("has-charts", Boolean(window.echarts));

function themeName() {
  return document.documentElement.dataset.bsTheme === "dark" ? "dark" : "light";
}

function tableData(table) {
  const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent.trim());
  const rows = [...table.tBodies[0].rows];
  return {
    names,
    labels: rows.map((row) => row.cells[0].textContent.trim()),
    values: names.map((_name, place) => rows.map((row) => Number(row.cells[place + 1].dataset.value))),
    shown: names.map((_name, place) => rows.map((row) => row.cells[place + 1].textContent.trim())),
  };
}

function draw(place) {
  const table = document.getElementById(place.dataset.table);
  if (!table || !window.echarts || !place.offsetParent) return;
  const data = tableData(table);
  if (!data.labels.length) return;
  let chart = charts.get(place);
  if (!chart) {
    chart = echarts.init(place, null, { renderer: "canvas" });
    charts.set(place, chart);
    chart.getZr().on("mousemove", (event) => read(place, chart, event));
    chart.getZr().on("globalout", () => { reading(place).textContent = ""; });
  }
  // As the browser has worked them out: a canvas knows no variables.
  const line = getComputedStyle(place.closest(".card").querySelector("th, td")).borderBottomColor;
  const text = getComputedStyle(reading(place)).color;
  const colours = COLOURS[themeName()];
  const used = data.names.map((_name, index) => data.values[index].some(Boolean));
  // The letters that were accepted dwarf what people did with them: shown when asked for.
  if (firstLook && used[0] && used.slice(1).some(Boolean)) hiddenSeries.add(data.names[0]);
  firstLook = false;
  chart.setOption({
    animation: false,
    grid: { left: 8, right: 12, top: 12, bottom: 4, containLabel: true },
    xAxis: {
      type: "category",
      data: data.labels,
      boundaryGap: data.labels.length < 3,
      axisLabel: { color: text, hideOverlap: true, margin: 12 },
      axisLine: { lineStyle: { color: line } },
      axisTick: { show: false },
    },
    yAxis: {
      type: "value",
      minInterval: 1,
      axisLabel: { color: text },
      splitLine: { lineStyle: { color: line } },
    },
    series: data.names.map((name, index) => ({
      name,
      type: "line",
      data: used[index] && !hiddenSeries.has(name) ? data.values[index] : [],
      color: colours[index],
      symbol: SHAPES[index],
      symbolSize: 7,
      showSymbol: data.labels.length < 16,
      lineStyle: { width: 2 },
      silent: true,
    })),
  }, { replaceMerge: ["series"] });
  chart.resize();
  legend(place, data, used, colours);
  place.chartData = { ...data, used };
}

function legend(place, data, used, colours) {
  const box = document.getElementById(place.id.replace("chart-", "legend-"));
  const focused = box.contains(document.activeElement) ? document.activeElement.textContent : null;
  box.replaceChildren(...data.names.flatMap((name, index) => {
    if (!used[index]) return [];
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(!hiddenSeries.has(name)));
    button.append(mark(index, colours[index]), name);
    button.addEventListener("click", () => {
      if (!hiddenSeries.delete(name)) hiddenSeries.add(name);
      drawAll();
    });
    return [button];
  }));
  [...box.children].find((button) => button.textContent === focused)?.focus();
}

function mark(index, colour) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("width", "12");
  svg.setAttribute("height", "12");
  svg.setAttribute("viewBox", "0 0 12 12");
  svg.setAttribute("aria-hidden", "true");
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "path");
  const shapes = [
    "M6 1a5 5 0 1 0 .01 0Z", "M1 1H11V11H1Z", "M6 1 11 11H1Z", "M6 0 12 6 6 12 0 6Z",
    "M3 1H9Q11 1 11 3V9Q11 11 9 11H3Q1 11 1 9V3Q1 1 3 1Z", "M6 0 11 12 6 9 1 12Z",
  ];
  drawing.setAttribute("d", shapes[index]);
  drawing.setAttribute("fill", colour);
  svg.append(drawing);
  return svg;
}

function reading(place) {
  return document.getElementById(place.id.replace("chart-", "reading-"));
}

// What the figures are where the pointer is.
function read(place, chart, event) {
  const data = place.chartData;
  const point = [event.offsetX, event.offsetY];
  if (!data || !chart.containPixel("grid", point)) return;
  const index = Math.round(chart.convertFromPixel({ xAxisIndex: 0 }, event.offsetX));
  if (!(index in data.labels)) return;
  const figures = data.names.flatMap((name, series) => (
    data.used[series] && !hiddenSeries.has(name) ? [`${name} ${data.shown[series][index]}`] : []
  ));
  reading(place).textContent = [data.labels[index], ...figures].join(" · ");
}

function showChosen(card) {
  const chosen = card.querySelector("[data-show][aria-pressed=true]")?.dataset.show;
  card.querySelectorAll("[data-chart-of]").forEach((part) => {
    part.hidden = Boolean(chosen) && part.dataset.chartOf !== chosen;
  });
}

let chosenPart = "";

function drawAll() {
  document.querySelectorAll("[data-series]").forEach((card) => {
    if (chosenPart) press(card, chosenPart);
    showChosen(card);
  });
  document.querySelectorAll(".chart").forEach(draw);
}

function press(card, name) {
  card.querySelectorAll("[data-show]").forEach((button) => {
    button.setAttribute("aria-pressed", String(button.dataset.show === name));
    button.classList.toggle("active", button.dataset.show === name);
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show]");
  if (button) {
    chosenPart = button.dataset.show;
    drawAll();
  }
  if (event.target.closest("[data-print]")) print();
});
document.addEventListener("htmx:afterSettle", drawAll);
addEventListener("resize", () => charts.forEach((chart) => chart.resize()));
for (const moment of ["beforeprint", "afterprint"]) {
  addEventListener(moment, () => charts.forEach((chart) => chart.resize()));
}
new MutationObserver(drawAll).observe(document.documentElement, {
  attributes: true,
  attributeFilter: ["data-bs-theme"],
});
drawAll();
