// What moves on the page: clouds that turn, motions and films that play while they are seen, commands that are copied.
"use strict";

const STEPS = 32767;
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

function bytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

// ---- One renderer for all clouds (browsers allow few); each view copies its picture into a canvas of its own.

let renderer;

function shared() {
  if (renderer === undefined) {
    const canvas = document.createElement("canvas");
    const options = { alpha: true, antialias: true };
    const context = canvas.getContext("webgl2", options); // asked first: three.js would complain where there is none
    renderer = context && new THREE.WebGLRenderer({ canvas, context, ...options });
  }
  return renderer;
}

function balls(size) {
  // Points as little spheres, lit from above.
  const look = new THREE.PointsMaterial({ size, vertexColors: true });
  look.onBeforeCompile = (shader) => {
    shader.fragmentShader = shader.fragmentShader.replace(
      "#include <color_fragment>",
      `#include <color_fragment>
      vec2 at = 2.0 * gl_PointCoord - 1.0;
      float rim = 1.0 - dot(at, at);
      if (rim < 0.0) discard;
      diffuseColor.rgb *= 0.7 + 0.25 * sqrt(rim) - 0.2 * at.y;`
    );
  };
  return look;
}

class Cloud {
  constructor(canvas, packed) {
    Object.assign(this, { canvas, packed, turn: 0.62, tilt: 0.42, zoom: 1, frame: 0, playing: false });
    const numbers = new Int16Array(bytes(packed.points).buffer);
    this.size = numbers.length / packed.frames; // numbers of a frame
    this.places = Float32Array.from(numbers, (x) => x / STEPS);
    const geometry = new THREE.BufferGeometry();
    this.moving = new THREE.BufferAttribute(this.places.slice(0, this.size), 3);
    geometry.setAttribute("position", this.moving);
    geometry.setAttribute("color", new THREE.BufferAttribute(bytes(packed.colours), 3, true));
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(30, 1, 0.1, 50);
    this.camera.up.set(0, 0, 1);
    if (packed.faces) {
      geometry.setIndex(new THREE.BufferAttribute(new Uint32Array(bytes(packed.faces).buffer), 1));
      geometry.computeVertexNormals();
      const skin = new THREE.MeshStandardMaterial({ vertexColors: true, roughness: 0.75, side: THREE.DoubleSide });
      this.scene.add(new THREE.Mesh(geometry, skin), new THREE.HemisphereLight(0xffffff, 0x888888, 0.75));
      const lamp = new THREE.DirectionalLight(0xffffff, 0.55);
      lamp.position.set(-2, 3, 4);
      this.camera.add(lamp);
      this.scene.add(this.camera);
    } else {
      this.scene.add(new THREE.Points(geometry, balls(4.5 * packed.ball)));
    }
    this.listen();
    if (packed.frames > 1) this.player();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  draw() {
    const { canvas, camera } = this;
    const scale = Math.min(devicePixelRatio || 1, 2);
    const [wide, high] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * scale)));
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    this.moving.array.set(this.places.subarray(this.frame * this.size, (this.frame + 1) * this.size));
    this.moving.needsUpdate = true;
    const far = (this.packed.reach / Math.sin((camera.fov * Math.PI) / 360)) * 1.02 / this.zoom;
    camera.position.set(Math.cos(this.tilt) * Math.cos(this.turn), Math.cos(this.tilt) * Math.sin(this.turn), Math.sin(this.tilt));
    camera.position.multiplyScalar(far);
    camera.lookAt(0, 0, 0);
    camera.aspect = wide / high;
    camera.updateProjectionMatrix();
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, wide, high);
    const drawn = shared();
    if (drawn) {
      drawn.setSize(wide, high, false);
      drawn.render(this.scene, camera);
      pen.drawImage(drawn.domElement, 0, 0);
    } else this.dots(pen, wide, high);
  }

  dots(pen, wide, high) {
    // Where the browser has no WebGL: the points, the farthest first.
    this.camera.updateMatrixWorld();
    const colours = bytes(this.packed.colours);
    const at = new THREE.Vector3();
    const seen = [];
    for (let i = 0; i < this.size; i += 3) {
      at.fromArray(this.moving.array, i).project(this.camera);
      seen.push([at.z, ((at.x + 1) * wide) / 2, ((1 - at.y) * high) / 2, `rgb(${colours.slice(i, i + 3)})`]);
    }
    const side = Math.max(2, wide * 0.012);
    for (const [, x, y, colour] of seen.sort((a, b) => b[0] - a[0])) {
      pen.fillStyle = colour;
      pen.fillRect(x - side / 2, y - side / 2, side, side);
    }
  }

  rotate(turn, tilt) {
    this.turn += turn;
    this.tilt = Math.max(-1.5, Math.min(1.5, this.tilt + tilt));
    this.draw();
  }

  listen() {
    const { canvas } = this;
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      from = event;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      this.rotate((from.clientX - event.clientX) * 0.01, (event.clientY - from.clientY) * 0.01);
      from = event;
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (from = null));
    const keys = {
      ArrowLeft: () => this.rotate(-0.12, 0),
      ArrowRight: () => this.rotate(0.12, 0),
      ArrowUp: () => this.rotate(0, 0.12),
      ArrowDown: () => this.rotate(0, -0.12),
      "+": () => this.nearer(1.15),
      "=": () => this.nearer(1.15),
      "-": () => this.nearer(1 / 1.15),
      " ": () => this.button && this.button.click(),
    };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
      keys[event.key]();
      event.preventDefault();
    });
  }

  nearer(factor) {
    this.zoom = Math.max(0.5, Math.min(6, this.zoom * factor));
    this.draw();
  }

  // ---- Motions

  player() {
    const bar = document.createElement("div");
    bar.className = "player";
    this.button = document.createElement("button");
    this.slider = document.createElement("input");
    Object.assign(this.slider, { type: "range", min: 0, max: this.packed.frames - 1, value: 0 });
    this.slider.setAttribute("aria-label", "Frame");
    this.slider.addEventListener("input", () => {
      this.play(false);
      this.frame = Number(this.slider.value);
      this.draw();
    });
    this.button.type = "button";
    this.button.addEventListener("click", () => {
      this.wanted = !this.playing;
      this.play(this.wanted);
    });
    this.wanted = !still;
    bar.append(this.button, this.slider);
    this.canvas.after(bar);
    this.play(false);
  }

  play(playing) {
    const begins = playing && !this.playing;
    this.playing = playing;
    this.button.textContent = playing ? "pause" : "play";
    if (!begins) return;
    const first = performance.now() - (this.frame / this.packed.rate) * 1000;
    const step = (now) => {
      if (!this.playing) return;
      const frame = Math.max(0, Math.floor(((now - first) / 1000) * this.packed.rate)) % this.packed.frames;
      if (frame !== this.frame) {
        this.frame = frame;
        this.slider.value = frame;
        this.draw();
      }
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  see(seen) {
    if (this.button && this.wanted) this.play(seen);
  }
}

// ---- What is seen plays, what is not rests.

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (target.cloud) target.cloud.see(isIntersecting);
    if (target.tagName === "VIDEO" && !still) {
      if (isIntersecting && !target.rested) target.play().catch(() => {});
      if (!isIntersecting && !target.paused) {
        target.byUs = true;
        target.pause();
      }
    }
  }
});

for (const video of document.querySelectorAll("video")) {
  video.addEventListener("pause", () => {
    video.rested = !video.byUs; // the reader stopped it: it stays so
    video.byUs = false;
  });
  seen.observe(video);
}

const sections = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const link = document.querySelector(`nav a[href="#${CSS.escape(target.id)}"]`);
      if (isIntersecting) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  },
  { rootMargin: "-30% 0px -65% 0px" }
);
for (const section of document.querySelectorAll("section")) sections.observe(section);

// Clouds are built one by one, so that the page answers meanwhile; those in sight come first.
const waiting = [...document.querySelectorAll("canvas")];

function next() {
  const near = waiting.findIndex((canvas) => {
    const { top, bottom } = canvas.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  });
  const [canvas] = waiting.splice(Math.max(0, near), 1);
  if (!canvas) return;
  canvas.cloud = new Cloud(canvas, JSON.parse(canvas.nextElementSibling.textContent));
  canvas.cloud.draw();
  seen.observe(canvas);
  setTimeout(next);
}
next();

// ---- Pictures larger than they are shown: a click, or Enter, shows them as they are

for (const paper of document.querySelectorAll(".paper[tabindex]")) {
  const enlarge = () => paper.classList.toggle("large");
  paper.addEventListener("click", enlarge);
  paper.addEventListener("keydown", (event) => {
    if (event.key === "Enter") enlarge();
  });
}

// ---- Commands

for (const button of document.querySelectorAll(".command button")) {
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch (error) {
      getSelection().selectAllChildren(code); // a page from a file may not write there in all browsers
      document.execCommand("copy");
    }
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
}
