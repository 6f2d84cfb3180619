"use strict";
// Zooms all pictures of one span of time together: it changes the viewBox of their drawings.
(() => {
  const figures = [...document.querySelectorAll("figure.zoom")];
  const views = new Map(); // by span: the part that is shown, from 0 to 1
  const key = (figure) => figure.dataset.start + " " + figure.dataset.end;

  const moment = (figure, share, digits) => {
    const start = BigInt(figure.dataset.start), end = BigInt(figure.dataset.end);
    const ns = start + BigInt(Math.round(Number(end - start) * share));
    const second = 1000000000n;
    const rest = String(ns % second).padStart(9, "0").slice(0, digits);
    if (figure.dataset.utc !== "1") return (ns / second) + "." + rest + " s";
    return new Date(Number(ns / second) * 1000).toISOString().slice(11, 19) + "." + rest;
  };
  const digits = (figure, width) => {
    const ns = Number(BigInt(figure.dataset.end) - BigInt(figure.dataset.start)) * width;
    return ns < 20e6 ? 6 : 3;
  };

  const show = (figure) => {
    const [from, to] = views.get(key(figure));
    const columns = Number(figure.dataset.columns);
    for (const svg of figure.querySelectorAll(".lane svg"))
      svg.setAttribute("viewBox", [columns * from, 0, columns * (to - from), 100].join(" "));
    const ticks = figure.querySelectorAll(".ticks span");
    ticks.forEach((tick, number) => {
      const share = from + (to - from) * number / (ticks.length - 1);
      tick.textContent = moment(figure, share, digits(figure, to - from));
    });
  };
  const set = (figure, from, to) => {
    const least = Math.min(1, 8 / Number(figure.dataset.columns));
    const width = Math.min(Math.max(to - from, least), 1);
    from = Math.min(Math.max(from, 0), 1 - width);
    views.set(key(figure), [from, from + width]);
    figures.filter((each) => key(each) === key(figure)).forEach(show);
  };
  const change = (figure, what, at = 0.5) => {
    const [from, to] = views.get(key(figure)), width = to - from;
    if (what === "all") return set(figure, 0, 1);
    if (what === "left" || what === "right") {
      const step = width / 4 * (what === "left" ? -1 : 1);
      return set(figure, from + step, to + step);
    }
    const wanted = what === "in" ? width / 2 : width * 2, middle = from + width * at;
    return set(figure, middle - wanted * at, middle + wanted * (1 - at));
  };

  const keys = { "+": "in", "=": "in", "-": "out", "ArrowLeft": "left", "ArrowRight": "right", "0": "all" };
  for (const figure of figures) {
    views.set(key(figure), [0, 1]);
    const tools = figure.querySelector(".tools"), readout = figure.querySelector(".readout");
    tools.hidden = false;
    tools.addEventListener("click", (event) => {
      if (event.target.dataset.do) change(figure, event.target.dataset.do);
    });
    figure.addEventListener("keydown", (event) => {
      if (event.target !== figure || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      change(figure, keys[event.key]);
    });
    let begun = null; // where a selection by the mouse began
    for (const svg of figure.querySelectorAll(".lane svg")) {
      const place = (event) => {
        const box = svg.getBoundingClientRect(), [from, to] = views.get(key(figure));
        return from + (to - from) * Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
      };
      svg.addEventListener("pointermove", (event) => {
        const [from, to] = views.get(key(figure)), now = place(event);
        const text = moment(figure, now, digits(figure, to - from));
        readout.textContent = begun === null ? text : moment(figure, begun, 6) + " to " + text;
      });
      svg.addEventListener("pointerdown", (event) => {
        begun = place(event);
        svg.setPointerCapture(event.pointerId);
      });
      svg.addEventListener("pointerup", (event) => {
        const end = place(event), [from, to] = views.get(key(figure));
        if (begun !== null && Math.abs(end - begun) > (to - from) / 100)
          set(figure, Math.min(begun, end), Math.max(begun, end));
        begun = null;
      });
      svg.addEventListener("dblclick", () => change(figure, "all"));
    }
  }
})();
