/* The part of a call that the wave shows: arithmetic first, then the buttons, the wheel and the fingers that move it. */
"use strict";

/* In seconds. A view of the whole call stays whole, however long the call grows. */
class CallWindow {
    static LEAST = 10;
    static WORTH = 20; // a shorter recording needs no zoom

    static clamp(value, low, high) { return Math.min(Math.max(value, low), high); }

    constructor(total = 0) { Object.assign(this, { from: 0, span: total, total }); }

    get until() { return this.from + this.span; }
    get whole() { return this.span >= this.total; }
    get worth() { return this.total >= CallWindow.WORTH; }

    grow(total) {
        const whole = this.whole;
        this.total = total;
        this.set(this.from, whole ? total : this.span);
    }

    /* The span that so many seconds make of it: the whole call, if that is less than LEAST. */
    bound(span) { return CallWindow.clamp(span, CallWindow.LEAST, this.total); }

    set(from, span) {
        this.span = this.bound(span);
        this.from = CallWindow.clamp(from, 0, this.total - this.span);
    }

    /* What is at `anchor` stays where it is; a factor below 1 comes nearer. */
    zoom(factor, anchor) {
        if (!this.worth) return;
        const share = this.share(anchor), span = this.bound(this.span * factor);
        this.set(anchor - share * span, span);
    }

    scroll(seconds) { this.set(this.from + seconds, this.span); }

    centre(seconds) { this.set(seconds - this.span / 2, this.span); }

    has(seconds) { return seconds >= this.from && seconds <= this.until; }

    /* As one turns a page: a little of what was before stays in sight. */
    bring(seconds) {
        if (!this.has(seconds)) this.set(seconds - this.span / 10, this.span);
    }

    /* From 0 (left) to 1 (right), and beyond both. */
    share(seconds) { return this.span ? (seconds - this.from) / this.span : 0; }

    at(share) { return this.from + share * this.span; }

    /* Round moments, as many as have room in so many pixels. */
    ticks(width, room = 72) {
        const least = this.span * room / Math.max(width, room);
        const round = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
        const distance = round.find((seconds) => seconds >= least) ?? 21600, found = [];
        for (let at = Math.ceil(this.from / distance - 1e-9) * distance; at <= this.until; at += distance) found.push(at);
        return found;
    }
}

/* `changed` is told after every move; `playhead` says where the buttons and keys zoom. */
class CallZoom {
    static STEP = 2;

    constructor(view, { group, wave, playhead, changed }) {
        Object.assign(this, { view, group, wave, playhead, changed, fingers: new Map() });
        this.button("in").addEventListener("click", () => this.nearer());
        this.button("out").addEventListener("click", () => this.farther());
        this.button("whole").addEventListener("click", () => this.all());
        wave.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
        wave.addEventListener("pointerdown", (event) => this.touch(event));
        wave.addEventListener("pointermove", (event) => this.pinch(event));
        for (const name of ["pointerup", "pointercancel"]) {
            wave.addEventListener(name, (event) => this.fingers.delete(event.pointerId));
        }
    }

    button(name) { return this.group.querySelector(`[data-zoom="${name}"]`); }

    nearer() { this.by(1 / CallZoom.STEP); }
    farther() { this.by(CallZoom.STEP); }

    all() {
        this.view.set(0, this.view.total);
        this.changed();
    }

    by(factor) {
        const { view } = this, playhead = this.playhead();
        view.zoom(factor, view.has(playhead) ? playhead : view.at(0.5));
        this.changed();
    }

    /* Buttons that can do nothing say so, and keep the focus. */
    show() {
        const { view } = this;
        this.group.hidden = !view.worth;
        const useless = { in: view.span <= CallWindow.LEAST, out: view.whole, whole: view.whole };
        for (const [name, idle] of Object.entries(useless)) this.button(name).setAttribute("aria-disabled", String(idle));
    }

    place(x) {
        const box = this.wave.getBoundingClientRect();
        return this.view.at((x - box.left) / box.width);
    }

    /* A pinch on a touchpad is a wheel with Ctrl. */
    wheel(event) {
        const { view } = this, unit = event.deltaMode ? 16 : 1;
        const sideways = (event.deltaX || (event.shiftKey ? event.deltaY : 0)) * unit;
        if (event.ctrlKey && view.worth) {
            view.zoom(Math.exp(CallWindow.clamp(event.deltaY * unit / 100, -0.5, 0.5)), this.place(event.clientX));
        } else if (!event.ctrlKey && !view.whole && Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
            view.scroll(sideways / this.wave.clientWidth * view.span);
        } else return;
        event.preventDefault();
        this.changed();
    }

    touch(event) {
        if (event.pointerType === "touch") this.fingers.set(event.pointerId, event.clientX);
    }

    /* Two fingers keep on what they were put on. */
    pinch(event) {
        if (!this.fingers.has(event.pointerId)) return;
        const before = [...this.fingers.values()];
        this.fingers.set(event.pointerId, event.clientX);
        if (before.length !== 2 || !this.view.worth) return;
        const after = [...this.fingers.values()], middle = ([one, two]) => (one + two) / 2;
        const apart = ([one, two]) => Math.max(20, Math.abs(one - two));
        const held = this.place(middle(before));
        this.view.zoom(apart(before) / apart(after), held);
        this.view.scroll(held - this.place(middle(after)));
        this.changed();
    }

    get pinching() { return this.fingers.size > 1; }
}
