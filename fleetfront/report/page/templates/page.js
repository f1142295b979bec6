// What the page does beyond showing: draws figures when they come into view, and lets a reader choose a network.
// Data and specifications are in #report-data; all text goes in as text, never as HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const Z90 = 1.645;
  const ROW_HEIGHT = 19;
  const MOST_MARKS = 1000;
  // As ROOM in figures/fronts.py.
  const ROOM = 0.08;
  const LOADED = performance.now();
  const MOST_PRINTED = 60;

  const embed = (element, spec) =>
    vegaEmbed(element, { ...spec, $schema: data.schema, config: data.config }, { ast: true, renderer: "svg", actions: false })
      .then((result) => result.view);

  // Figures are drawn when they are about to be seen; all of them before printing.
  const waiting = new Map();
  const draw = (element) => {
    const start = waiting.get(element);
    waiting.delete(element);
    observer.unobserve(element);
    if (start) start();
  };
  const observer = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: "250px" },
  );
  const whenSeen = (element, start) => {
    waiting.set(element, start);
    observer.observe(element);
  };
  // Folded tables stand as text in <noscript>, as the template escaped them: thousands of cells cost nothing until
  // somebody unfolds them.
  const unfold = (details) => {
    const kept = details.querySelector(":scope > noscript");
    if (kept) kept.replaceWith(...new DOMParser().parseFromString(kept.textContent, "text/html").body.children);
  };
  document.addEventListener("toggle", (event) => { if (event.target.open) unfold(event.target); }, true);
  window.addEventListener("beforeprint", () => {
    // Long tables are printed where the reader has unfolded them: the fronts of thirty devices are a thousand rows.
    document.querySelectorAll("details").forEach((details) => {
      unfold(details);
      details.open ||= details.querySelectorAll(":scope > .scroll tr").length <= MOST_PRINTED;
    });
    [...waiting.keys()].forEach(draw);
  });

  // Making a formatter takes longer than drawing a point, so each is made once.
  const formatters = [2, 3, 4].map((digits) => [digits, new Intl.NumberFormat("en", { maximumSignificantDigits: digits })]);
  const formatter = new Map(formatters);
  const text = (value, digits = 4) => {
    if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3)) return value.toPrecision(digits);
    return formatter.get(digits).format(value);
  };
  // As `with_spread` in tables.py: what is estimated may be off by a factor.
  const spread = (value, std, tier) => {
    if (!(std > 0)) return text(value);
    return tier === "estimated" ? `${text(value)} ×÷${text(Math.exp(std / value), 2)}` : `${text(value)} ±${text(std, 2)}`;
  };
  // As `interval_90` in quantities.py.
  const interval = (value, std, tier) => {
    const factor = Math.exp((Z90 * std) / value);
    if (tier === "estimated") return [value / factor, value * factor];
    return [Math.max(value - Z90 * std, value / 1000), value + Z90 * std];
  };
  // As a POSIX shell reads it.
  const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

  class Fronts {
    constructor(root, group) {
      this.root = root;
      this.group = group;
      this.unit = "own";
      this.layout = "overlay";
      this.views = [];
      this.hidden = new Set();
      this.picks = group.devices.map((device) => device.knee);
      this.selected = group.devices.findIndex((device) => device.points.length);
      this.canvas = root.querySelector(".canvas");
      this.chosen = root.querySelector(".chosen");
      this.items = [...root.querySelectorAll(".picks > li")];
      // The network's picture waits for the fronts, which a reader looks at first.
      this.drawn = new Promise((resolve) => { this.isDrawn = resolve; });
      this.listen();
      group.devices.forEach((_, device) => this.showPick(device));
      if (this.selected < 0) this.chosen.hidden = true;
      else this.showChosen();
      whenSeen(this.canvas, () => this.drawAll());
    }

    listen() {
      this.root.querySelector(".controls").addEventListener("change", (event) => {
        this[event.target.name] = event.target.value;
        this.drawAll();
      });
      this.items.forEach((item, device) => {
        item.querySelector("input[type=checkbox]").addEventListener("change", (event) => {
          this.hidden[event.target.checked ? "delete" : "add"](device);
          this.drawAll();
        });
        const slider = item.querySelector("input[type=range]");
        slider?.addEventListener("input", () => this.choose(device, this.within(device, this.limit(device)), slider));
        item.querySelector(".show")?.addEventListener("click", () => {
          this.choose(device, this.picks[device]);
          this.chosen.querySelector("h4").focus();
        });
      });
      const preference = this.root.querySelector(".preference input");
      preference?.addEventListener("input", () => {
        const said = `${preference.value} % of the way from the ${this.group.lowest} network to the most accurate`;
        this.root.querySelector(".preference output").textContent = said;
        preference.setAttribute("aria-valuetext", said);
        this.prefer(preference.value / 100);
      });
      for (const [name, step] of [["faster", -1], ["slower", 1]]) {
        this.chosen.querySelector(`.${name}`).addEventListener("click", () => {
          this.choose(this.selected, this.picks[this.selected] + step);
          this.say();
        });
      }
      this.chosen.querySelector(".copy").addEventListener("click", (event) => copy(this.chosen.querySelector(".command code"), event.target));
    }

    // The most accurate point within a limit: points ascend in cost, and mostly in accuracy.
    within(device, limit) {
      const points = this.group.devices[device].points;
      let best = 0;
      const { sign } = this.group;
      points.forEach((point, index) => { if (point[1] <= limit && sign * point[3] >= sign * points[best][3]) best = index; });
      return best;
    }

    // A place along every front, from its fastest network to its most accurate.
    prefer(share) {
      const { devices, sign } = this.group;
      devices.forEach(({ points }, device) => {
        if (!points.length) return;
        let best = -Infinity;
        const ladder = points.map((_, index) => index).filter((index) => {
          const isBetter = sign * points[index][3] > best;
          if (isBetter) best = sign * points[index][3];
          return isBetter;
        });
        this.picks[device] = ladder[Math.round(share * (ladder.length - 1))];
        this.showPick(device);
      });
      this.showChosen();
      this.refresh();
    }

    range(device) {
      const { points } = this.group.devices[device];
      return [points[0][1], points[points.length - 1][1]];
    }

    limit(device) {
      const slider = this.items[device].querySelector("input[type=range]");
      const [low, high] = this.range(device);
      return Number(slider.value) === Number(slider.max) ? high : low + ((high - low) * slider.value) / slider.max;
    }

    // Rows as `_point_row` in figures/fronts.py makes them.
    row(device, index) {
      const one = this.group.devices[device];
      const [arch, cost, std, accuracy, accuracyStd] = one.points[index];
      const scale = this.scale(device);
      return {
        d: one.label,
        x: cost / scale,
        from: interval(cost, std, one.tier)[0] / scale,
        to: interval(cost, std, one.tier)[1] / scale,
        a: accuracy,
        cost: `${spread(cost, std, one.tier)} ${this.group.metric.unit} (${one.tier})`,
        accuracy: `${spread(accuracy, accuracyStd)} ${this.group.suffix} (${this.group.tier})`,
        arch: this.group.archs[arch],
        id: `${device} ${index}`,
      };
    }

    scale(device) {
      return this.unit === "normalised" ? this.group.devices[device].lowest : 1;
    }

    shown() {
      return this.group.devices.map((_, device) => device)
        .filter((device) => !this.hidden.has(device) && this.group.devices[device].points.length);
    }

    // So many points as can be told apart and drawn quickly; sliders and buttons reach all of them.
    points(devices) {
      const most = Math.max(30, Math.floor(MOST_MARKS / devices.length));
      return devices.flatMap((device) => {
        const { points, knee } = this.group.devices[device];
        const step = Math.max(1, (points.length - 1) / (most - 1));
        const kept = new Set([knee, points.length - 1]);
        for (let at = 0; at < points.length; at += step) kept.add(Math.floor(at));
        return [...kept].sort((one, other) => one - other).map((index) => this.row(device, index));
      });
    }

    pickRows(devices) {
      return devices.map((device) => this.row(device, this.picks[device]));
    }

    cloud(devices) {
      const device = devices.length === 1 ? devices[0] : devices.find((one) => one === this.selected);
      if (device === undefined) return [];
      return this.group.devices[device].cloud.map(([x, a]) => ({ x: x / this.scale(device), a }));
    }

    drawAll() {
      this.views.forEach(({ view }) => view.finalize());
      this.views = [];
      this.canvas.replaceChildren();
      const isSmall = this.layout === "small";
      this.canvas.classList.toggle("small", isSmall);
      if (!isSmall) {
        this.drawOne(this.canvas, this.shown());
        return;
      }
      // In a small figure there is no room for the titles of its axes.
      const axes = document.createElement("p");
      const { metric, lowest, tier, quality, suffix } = this.group;
      const unit = this.unit === "normalised" ? `as a multiple of the device's ${lowest}` : `in ${metric.unit}`;
      axes.textContent = `Each: ${tier} ${quality}${suffix && ` in${suffix}`} over ${metric.title} ${unit}.`;
      axes.className = "quiet axes";
      this.canvas.append(axes);
      for (const device of this.shown()) {
        const cell = document.createElement("div");
        const title = document.createElement("h4");
        const plot = document.createElement("div");
        title.textContent = this.group.devices[device].label;
        plot.className = "plot";
        cell.append(title, plot);
        this.canvas.append(cell);
        whenSeen(plot, () => this.drawOne(plot, [device]));
      }
    }

    // Where bad networks lie outside a small figure, its latency axis begins with those inside; a logarithmic axis holds
    // the points of those devices alone that are shown.
    bounded(spec, devices) {
      const { x } = spec.encoding;
      if (x.scale.type === "log" && !this.group.isBounded) {
        const ends = devices.flatMap((device) => this.range(device).map((cost) => cost / this.scale(device)));
        const [low, high] = [Math.min(...ends), Math.max(...ends)];
        const room = Math.max((high / low) ** ROOM, 1.01);
        const domain = [low / room, high * room];
        return { ...spec, encoding: { ...spec.encoding, x: { ...x, scale: { ...x.scale, domain } } } };
      }
      if (this.layout !== "small" || !this.group.isBounded) return spec;
      const [device] = devices;
      const domainMin = (0.97 * this.group.devices[device].lowest) / this.scale(device);
      return { ...spec, encoding: { ...spec.encoding, x: { ...x, scale: { ...x.scale, domainMin } } } };
    }

    async drawOne(element, devices) {
      if (!devices.length) {
        element.textContent = "No device is shown: tick one below.";
        this.isDrawn();
        return;
      }
      const spec = this.bounded(this.group.specs[this.layout][this.unit], devices);
      const datasets = { points: this.points(devices), picks: this.pickRows(devices), cloud: this.cloud(devices) };
      const params = [{ name: "selected", value: this.inFront(devices) }];
      const [layout, selected, picks] = [this.layout, this.selected, this.picks.join()];
      const view = await embed(element, { ...spec, params, datasets });
      this.isDrawn();
      if (layout !== this.layout || !element.isConnected) {
        view.finalize();
        return;
      }
      this.views.push({ view, devices });
      view.addDataListener("pick_store", (_, tuples) => {
        if (!tuples.length) return;
        const [device, index] = tuples[0].values[0].split(" ").map(Number);
        this.choose(device, index);
        this.say();
      });
      // What was chosen while it was being drawn.
      if (selected !== this.selected || picks !== this.picks.join()) this.refresh();
    }

    // The device that stands out among several.
    inFront(devices) {
      return devices.length > 1 && devices.includes(this.selected) ? this.group.devices[this.selected].label : "";
    }

    choose(device, index, slider = null) {
      this.selected = device;
      this.picks[device] = index;
      this.showPick(device, slider);
      this.showChosen();
      this.refresh();
    }

    // For screen readers, in one line; a slider says its own value.
    say() {
      const { d, accuracy, cost } = this.row(this.selected, this.picks[this.selected]);
      this.chosen.querySelector("[role=status]").textContent = `${d}: ${accuracy} in ${cost}`;
    }

    refresh() {
      for (const { view, devices } of this.views) {
        view.signal("selected", this.inFront(devices));
        view.data("picks", this.pickRows(devices));
        if (this.group.hasCloud) view.data("cloud", this.cloud(devices));
        view.runAsync();
      }
    }

    // The slider that is being moved keeps its place; others follow the pick.
    showPick(device, moved = null) {
      const item = this.items[device];
      const slider = item.querySelector("input[type=range]");
      const output = item.querySelector("output");
      if (!output) return;
      const row = this.row(device, this.picks[device]);
      const reached = `${row.accuracy.split(" (")[0]} in ${row.cost.split(" (")[0]}`;
      if (!slider) {
        output.textContent = `${reached}, the only network on its front`;
        return;
      }
      const [low, high] = this.range(device);
      const cost = this.group.devices[device].points[this.picks[device]][1];
      if (slider !== moved) slider.value = high > low ? Math.ceil((slider.max * (cost - low)) / (high - low)) : 0;
      const limit = text(Math.max(this.limit(device), cost), 3);
      const { unit } = this.group.metric;
      const said = `within ${limit} ${unit}: ${reached}`;
      output.textContent = said;
      slider.setAttribute("aria-valuetext", said);
    }

    showChosen() {
      const one = this.group.devices[this.selected];
      const index = this.picks[this.selected];
      const [arch, cost, std, , , isBeyond] = one.points[index];
      const { title, unit } = this.group.metric;
      const row = this.row(this.selected, index);
      this.items.forEach((item, device) => item.classList.toggle("selected", device === this.selected));
      this.chosen.querySelector("h4").textContent = `Chosen network on ${one.label}`;
      const [low, high] = interval(cost, std, one.tier).map((end) => text(end, 3));
      const within = one.tier === "estimated" || cost > Z90 * std ? `, 90 % between ${low} and ${high} ${unit}` : `, 90 % below ${high} ${unit}`;
      const facts = [
        [title[0].toUpperCase() + title.slice(1), row.cost + (std > 0 ? within : "") + (one.clock ? `, ${one.clock} clock` : "")],
        ["Accuracy", row.accuracy + (isBeyond ? ", beyond the range that the model was fitted on" : "")],
        ["Architecture", row.arch],
        ["On its front", `${index + 1} of ${one.points.length}${index === one.knee ? ", the knee" : ""}`],
      ];
      this.chosen.querySelector(".facts").replaceChildren(...facts.flatMap(([name, value]) => {
        const term = document.createElement("dt");
        const said = document.createElement("dd");
        term.textContent = name;
        said.textContent = value;
        return [term, said];
      }));
      this.chosen.querySelector(".command code").replaceChildren(...wholeWords(one.command.join(quoted(row.arch))));
      this.chosen.querySelector(".faster").disabled = index === 0;
      this.chosen.querySelector(".slower").disabled = index === one.points.length - 1;
      this.drawNetwork(one, arch);
    }

    drawNetwork(one, arch) {
      const network = this.group.networks[arch];
      const element = this.chosen.querySelector(".picture");
      if (!network.length) {
        element.textContent = "Its space is not installed where this report was made, so its blocks are not known.";
        return;
      }
      const blocks = [];
      for (let at = 0; at < network.length; at += 2) {
        const [block, count] = [network[at], network[at + 1]];
        const [label, group, width, side] = this.group.blocks[block];
        const cost = one.blockCosts[block];
        const half = Math.sqrt(width) / 2;
        const times = count > 1 ? ` ×${count}` : "";
        blocks.push({
          at: `${String(at / 2).padStart(2, "0")} ${label}${times}`, label: `${label}${times}`,
          group, from: -half, to: half,
          channels: `${width} channels`, side: `${side} px`, note: cost === undefined ? "" : `${text(cost, 2)} ${this.group.metric.unit}`,
        });
      }
      const height = ROW_HEIGHT * blocks.length;
      this.picture = this.redraw(this.picture, element, { ...this.group.picture, height, datasets: { blocks } });
      const { cell } = this.group;
      if (!cell) return;
      const datasets = { edges: cell.of[arch].map((edge) => cell.edges[edge]), nodes: cell.nodes };
      this.cell = this.redraw(this.cell, this.chosen.querySelector(".cell"), { ...cell.spec, datasets });
    }

    // One picture at a time in an element: the newest wins, and is drawn once the element is seen.
    redraw(before, element, spec) {
      const drawing = before ?? { spec };
      drawing.spec = spec;
      if (drawing.isQueued) return drawing;
      drawing.isQueued = true;
      const start = async () => {
        drawing.isQueued = false;
        drawing.isSeen = true;
        draw(this.canvas);
        await this.drawn;
        const view = await embed(element, drawing.spec);
        drawing.view?.finalize();
        drawing.view = view;
      };
      if (drawing.isSeen) requestAnimationFrame(start);
      else whenSeen(element, start);
      return drawing;
    }
  }

  // Words of a command, each on one line where it fits: browsers would end a line within `--space`.
  function wholeWords(command) {
    return command.split(/( +)/).map((part) => {
      if (!part.trim()) return part;
      const word = document.createElement("span");
      word.className = "word";
      word.textContent = part;
      return word;
    });
  }

  async function copy(source, button) {
    button.dataset.label ??= button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      // Without leave to write there, the text is selected: one key press copies it.
      getSelection().selectAllChildren(source);
      button.textContent = "Selected: press Ctrl+C";
    }
    // A second click within the two seconds must not keep what the first one said.
    clearTimeout(button.resetting);
    button.resetting = setTimeout(() => { button.textContent = button.dataset.label; }, 2000);
  }

  document.querySelectorAll("[data-figure]").forEach((figure) => {
    const spec = data.figures[figure.dataset.figure];
    whenSeen(figure, () => embed(figure.querySelector(".plot"), spec).then(() => figure.classList.add("drawn")));
  });
  document.querySelectorAll(".front-group").forEach((root) => new Fronts(root, data.fronts[root.dataset.group]));
  document.getElementById("download").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(data)], { type: "application/json" }));
    link.download = "fleetfront-report.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  document.documentElement.dataset.ready = String(Math.round(performance.now() - LOADED));
})();
