// The drawing tools. A tool turns pointer events into changes of the mask in hand; `bench` lends that mask, paints what
// changed and keeps the result:
//   bench.open() -> {mask, height, width} or null where nothing may be drawn
//   bench.touch(rectangle), bench.commit(what), bench.abandon()

import * as draw from "./mask.js";

const erases = (event) => event.altKey || event.button === 2 || (event.buttons & 2) !== 0;

class Tool {
  constructor(bench) {
    this.bench = bench;
    this.open = null;
  }

  begin() {
    this.open = this.bench.open();
    return this.open;
  }

  change(rectangle) {
    this.bench.touch(rectangle);
  }

  end(what) {
    if (!this.open) return;
    this.open = null;
    this.bench.commit(what);
  }

  cancel() {
    if (!this.open) return false;
    this.open = null;
    this.bench.abandon();
    return true;
  }
}

class Brush extends Tool {
  constructor(bench, value) {
    super(bench);
    this.value = value;
  }

  down(point, event) {
    if (!this.begin()) return;
    this.drawn = erases(event) ? 1 - this.value : this.value;
    this.last = point;
    this.paint(point);
  }

  move(point) {
    if (this.open) this.paint(point);
  }

  paint(point) {
    const { mask, height, width } = this.open;
    this.change(draw.stroke(mask, height, width, this.last, point, this.bench.brushSize / 2, this.drawn));
    this.last = point;
  }

  up() {
    this.end(this.drawn ? "brush" : "eraser");
  }

  draw(context, view, pointer) {
    if (!pointer) return;
    const [x, y] = [view.x + pointer[0] * view.scale, view.y + pointer[1] * view.scale];
    const radius = Math.max(1, (this.bench.brushSize / 2) * view.scale);
    for (const [colour, width] of [["rgba(0,0,0,.75)", 3], ["#fff", 1.2]]) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.setLineDash(this.value ? [] : [4, 3]);
      context.stroke();
    }
    context.setLineDash([]);
  }
}

class Polygon extends Tool {
  constructor(bench) {
    super(bench);
    this.points = [];
  }

  down(point, event) {
    if (event.button === 2) return void this.finish(point, event);
    if (this.points.length > 2 && this.near(point, this.points[0])) return void this.finish(point, event);
    this.points.push(point);
    this.value = event.altKey ? 0 : 1;
    this.bench.redraw();
  }

  near(a, b) {
    return Math.hypot(a[0] - b[0], a[1] - b[1]) * this.bench.scale() < 10;
  }

  finish(point, event) {
    const points = this.points.filter((p, i) => !i || !this.near(p, this.points[i - 1]) || i < 3);
    this.points = [];
    if (points.length < 3 || !this.begin()) return void this.bench.redraw();
    const { mask, height, width } = this.open;
    const value = event?.altKey ? 0 : this.value;
    this.change(draw.polygon(mask, height, width, points, value));
    this.end(value ? "polygon" : "polygon taken away");
  }

  cancel() {
    const had = this.points.length > 0;
    this.points = [];
    this.bench.redraw();
    return super.cancel() || had;
  }

  back() {
    this.points.pop();
    this.bench.redraw();
    return this.points.length > 0;
  }

  draw(context, view, pointer) {
    if (!this.points.length) return;
    const at = ([x, y]) => [view.x + x * view.scale, view.y + y * view.scale];
    const path = pointer ? [...this.points, pointer] : this.points;
    for (const [colour, width] of [["rgba(0,0,0,.8)", 4], ["#fff", 1.6]]) {
      context.beginPath();
      path.forEach((p, i) => context[i ? "lineTo" : "moveTo"](...at(p)));
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
    }
    this.points.forEach((p, i) => {
      context.beginPath();
      context.arc(...at(p), i ? 3.5 : 6, 0, 2 * Math.PI);
      context.fillStyle = "#fff";
      context.fill();
      context.strokeStyle = "rgba(0,0,0,.8)";
      context.lineWidth = 1.5;
      context.stroke();
    });
  }
}

class Box extends Tool {
  down(point, event) {
    this.start = point;
    this.end_ = point;
    this.value = erases(event) ? 0 : 1;
  }

  move(point) {
    if (this.start) this.end_ = point;
  }

  up(point) {
    const { start } = this;
    this.start = null;
    if (!start || Math.abs(point[0] - start[0]) < 1 || Math.abs(point[1] - start[1]) < 1) return void this.bench.redraw();
    this.apply(start, point);
  }

  apply(start, point) {
    if (!this.begin()) return;
    const { mask, height, width } = this.open;
    this.change(draw.box(mask, height, width, start, point, this.value));
    this.end(this.value ? "box" : "box taken away");
  }

  cancel() {
    const had = Boolean(this.start);
    this.start = null;
    this.bench.redraw();
    return super.cancel() || had;
  }

  draw(context, view) {
    if (!this.start) return;
    const [x0, y0] = this.start;
    const [x1, y1] = this.end_;
    for (const [colour, width] of [["rgba(0,0,0,.8)", 3.5], ["#fff", 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(view.x + x0 * view.scale, view.y + y0 * view.scale, (x1 - x0) * view.scale, (y1 - y0) * view.scale);
    }
  }
}

class Fill extends Tool {
  down(point, event) {
    if (!this.begin()) return;
    const { mask, height, width } = this.open;
    const value = erases(event) ? 0 : 1;
    const [x, y] = point.map(Math.floor);
    const rectangle = draw.fill(mask, height, width, x, y, value);
    const all = rectangle && rectangle.right - rectangle.left === width && rectangle.bottom - rectangle.top === height;
    if (all && value) {
      this.cancel();
      this.bench.say("Nothing to fill here: close the outline first, then click inside it.");
      return;
    }
    this.change(rectangle);
    this.end(value ? "fill" : "fill taken away");
  }
}

class Pick extends Tool {
  down(point) {
    this.bench.pickAt(point.map(Math.floor));
  }
}

/** Clicks and boxes answered by a segmentation model of the server. */
class Wand extends Box {
  constructor(bench) {
    super(bench);
    this.points = [];
  }

  up(point, event) {
    const { start } = this;
    this.start = null;
    if (!start) return;
    const dragged = Math.hypot(point[0] - start[0], point[1] - start[1]) * this.bench.scale() > 6;
    if (dragged) this.bench.segment({ points: [], box: [...start, ...point] });
    else {
      this.points.push([...point, erases(event) ? 0 : 1]);
      this.bench.segment({ points: this.points, box: null });
    }
  }

  reset() {
    this.points = [];
  }

  cancel() {
    const had = this.points.length > 0;
    this.points = [];
    return super.cancel() || had;
  }

  draw(context, view, pointer) {
    super.draw(context, view, pointer);
    for (const [x, y, positive] of this.points) {
      context.beginPath();
      context.arc(view.x + x * view.scale, view.y + y * view.scale, 5, 0, 2 * Math.PI);
      context.fillStyle = positive ? "#43d17a" : "#ff5c5c";
      context.fill();
      context.strokeStyle = "#fff";
      context.lineWidth = 1.5;
      context.stroke();
    }
  }
}

/** name -> [label, key, drawing of the button, constructor] */
export const TOOLS = {
  select: ["Pick an object in the picture", "V", "select", (bench) => new Pick(bench)],
  brush: ["Brush", "B", "brush", (bench) => new Brush(bench, 1)],
  eraser: ["Eraser", "E", "eraser", (bench) => new Brush(bench, 0)],
  polygon: ["Polygon", "P", "polygon", (bench) => new Polygon(bench)],
  box: ["Box", "R", "box", (bench) => new Box(bench)],
  fill: ["Fill", "G", "fill", (bench) => new Fill(bench)],
  wand: ["Segment at click or in box", "S", "wand", (bench) => new Wand(bench)],
};
