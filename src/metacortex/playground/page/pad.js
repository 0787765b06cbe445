// A sheet to draw on, with a pointer or with the keyboard. Strokes are kept as points, so that they can be taken back.

const EXPORT = 224;

export class Pad {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.strokes = [];
    this.picture = null;
    this.pen = { x: 0.5, y: 0.5, down: false, shown: false };
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.extend(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.end(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => { this.pen.shown = false; this.pen.down = false; this.paint(); });
    this.paint();
  }

  get empty() { return !this.strokes.length && !this.picture; }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  begin(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.picture = null;
    this.pointer = event.pointerId;
    this.pen.shown = false;
    this.strokes.push([this.place(event)]);
    this.paint();
  }

  extend(event) {
    if (event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.strokes.at(-1).push(this.place(each));
    this.paint();
  }

  end(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    this.changed?.();
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const pen = this.pen;
    if (moves[event.key]) {
      const step = event.shiftKey ? 0.1 : 0.03;
      pen.x = Math.min(0.97, Math.max(0.03, pen.x + step * moves[event.key][0]));
      pen.y = Math.min(0.97, Math.max(0.03, pen.y + step * moves[event.key][1]));
      if (pen.down) this.strokes.at(-1).push([pen.x, pen.y]);
    } else if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) { this.picture = null; this.strokes.push([[pen.x, pen.y]]); } else this.changed?.();
    } else if (event.key === "Backspace") {
      this.undo();
    } else if (event.key === "Escape") {
      this.clear();
    } else return;
    event.preventDefault();
    pen.shown = true;
    this.paint();
  }

  undo() {
    if (this.empty) return false;
    if (this.picture) this.picture = null; else this.strokes.pop();
    this.pen.down = false;
    this.paint();
    this.changed?.();
    return true;
  }

  clear() {
    this.strokes = [];
    this.picture = null;
    this.pen.down = false;
    this.paint();
    this.changed?.();
  }

  // Show a picture instead of strokes; it is not sent again.
  show(source) {
    const picture = new Image();
    this.strokes = [];
    this.picture = picture;
    picture.onload = () => this.paint();
    picture.src = source;
  }

  paint() {
    const { canvas, pen } = this;
    const context = canvas.getContext("2d");
    const ink = getComputedStyle(canvas).getPropertyValue("--ink").trim() || "#000";
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.picture?.naturalWidth) {
      const share = Math.min(canvas.width / this.picture.naturalWidth, canvas.height / this.picture.naturalHeight) * 0.96;
      const [width, height] = [this.picture.naturalWidth * share, this.picture.naturalHeight * share];
      context.globalCompositeOperation = "multiply";
      context.drawImage(this.picture, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
      context.globalCompositeOperation = "source-over";
    }
    trace(context, this.strokes, canvas.width, ink);
    if (pen.shown) {
      const [x, y] = [pen.x * canvas.width, pen.y * canvas.height];
      context.strokeStyle = pen.down ? "#c2410c" : "#5140d6";
      context.lineWidth = 3;
      context.beginPath();
      context.arc(x, y, 14, 0, 7);
      context.moveTo(x - 22, y); context.lineTo(x + 22, y);
      context.moveTo(x, y - 22); context.lineTo(x, y + 22);
      context.stroke();
    }
  }

  // The strokes as a PNG, black on white.
  blob() {
    const sheet = document.createElement("canvas");
    sheet.width = sheet.height = EXPORT;
    const context = sheet.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, EXPORT, EXPORT);
    trace(context, this.strokes, EXPORT, "#000");
    return new Promise((done) => sheet.toBlob(done, "image/png"));
  }
}

function trace(context, strokes, size, ink) {
  context.strokeStyle = context.fillStyle = ink;
  context.lineWidth = size * 0.045;
  context.lineCap = context.lineJoin = "round";
  for (const points of strokes) {
    context.beginPath();
    const [first, ...rest] = points.map(([x, y]) => [x * size, y * size]);
    context.moveTo(...first);
    if (!rest.length) context.lineTo(first[0] + 0.1, first[1]);
    rest.forEach(([x, y], i) => {
      const next = rest[i + 1];
      if (next) context.quadraticCurveTo(x, y, (x + next[0]) / 2, (y + next[1]) / 2);
      else context.lineTo(x, y);
    });
    context.stroke();
  }
}

// A photograph made small before it is sent; what the browser cannot read is sent as it is, and the server says why not.
export async function shrunk(file, most) {
  let picture;
  try {
    picture = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    if (file.size > most) throw new Error(`${file.name} is not a picture that this browser can read.`);
    return file;
  }
  const share = Math.min(1, EXPORT / Math.max(picture.width, picture.height));
  const sheet = document.createElement("canvas");
  sheet.width = Math.max(1, Math.round(picture.width * share));
  sheet.height = Math.max(1, Math.round(picture.height * share));
  const context = sheet.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, sheet.width, sheet.height);
  return new Promise((done) => sheet.toBlob(done, "image/png"));
}
