// Draws the charts of a page with uPlot, in the colours of the theme. Without it, the server's picture stays.
(function () {
  "use strict";
  const HEIGHT = 180;
  const COLOURS = ["--chart-1", "--chart-2", "--chart-3", "--chart-4"];
  const STEPS = [1, 2, 5].flatMap((digit) => [1, 10, 100, 1e3, 1e4, 1e5, 1e6].map((size) => digit * size)).sort((left, right) => left - right);
  let drawn = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Stacked bars: the sum of all is drawn first, in the colour of the last series.
  function prepared(data) {
    const times = data.series[0].numbers.map((_, place) => data.start + place * data.step);
    const sums = data.series.map((_, index) => times.map((_, place) =>
      data.series.slice(0, index + 1).reduce((sum, series) => sum + series.numbers[place], 0)));
    const paths = window.uPlot.paths.bars({ size: [1, Infinity], align: 1 });
    const series = data.series.map((each, index) => ({
      label: each.label, paths, width: 0, points: { show: false }, fill: colour(COLOURS[index % COLOURS.length]),
      value: (_plot, _sum, _series, place) => place == null ? "" : String(each.numbers[place]),
    }));
    return { values: [times, ...sums.reverse()], series: [{}, ...series.reverse()] };
  }

  function draw(figure) {
    const place = figure.querySelector("[data-chart-place]");
    const data = JSON.parse(figure.dataset.chart);
    if (!place || !data.series.length || !data.series[0].numbers.length) return;
    const { values, series } = prepared(data);
    const axis = { stroke: colour("--off"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const width = () => Math.max(place.clientWidth, 120);
    figure.classList.add("drawn");
    place.replaceChildren();
    const plot = new window.uPlot({
      width: width(), height: HEIGHT, series,
      axes: [axis, { ...axis, size: 56, incrs: STEPS }],
      // A bar begins at its time: the last one, which is the current step, needs room after it.
      scales: { x: { range: (_plot, first, last) => [first, last + data.step] }, y: { range: (_plot, _low, high) => [0, Math.max(high, 1)] } },
    }, values, place);
    const observer = new ResizeObserver(() => plot.setSize({ width: width(), height: HEIGHT }));
    observer.observe(place);
    drawn.push(() => { observer.disconnect(); plot.destroy(); });
  }

  function drawAll() {
    for (const end of drawn) end();
    drawn = [];
    if (!window.uPlot) return;
    for (const figure of document.querySelectorAll("figure[data-chart]")) draw(figure);
  }

  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("htmx:afterSwap", drawAll);
  document.addEventListener("bridge:theme", drawAll);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();
