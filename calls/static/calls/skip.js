/* Skipping silence: whether it is wanted, where it lies as far as that is known, and how much that makes. */
"use strict";

class CallSkip {
    static FINE = 8; // frames a bucket, at most: 160 ms
    static AHEAD = 60; // seconds
    static KEPT = "calls.skip-silence";

    constructor({ button, said, svg, peaks, view, clock }) {
        Object.assign(this, { button, said, svg, peaks, view, clock, live: false, looked: null, stretches: [] });
        this.wanted = CallSkip.remembered();
        button.setAttribute("aria-pressed", String(this.wanted));
    }

    static remembered() {
        try { return localStorage.getItem(CallSkip.KEPT) === "yes"; } catch { return false; }
    }

    get on() { return this.wanted && !this.live; }
    get step() { return Math.min(CallSkip.FINE, CallPeaks.step(this.view.total)); }

    toggle() {
        this.wanted = !this.wanted;
        this.looked = null;
        this.button.setAttribute("aria-pressed", String(this.wanted));
        try { localStorage.setItem(CallSkip.KEPT, this.wanted ? "yes" : "no"); } catch { /* then it lasts as long as this page */ }
    }

    /* What will soon be heard is known by then. */
    look(position) {
        if (!this.on || (this.looked !== null && Math.abs(position - this.looked) < CallSkip.AHEAD / 4)) return;
        this.looked = position;
        this.peaks.wish("silence", position, position + CallSkip.AHEAD, this.step);
    }

    /* Where to go on from a position in a silence, or null. */
    beyond(position) {
        if (!this.on) return null;
        return this.stretches.find(([from, until]) => from <= position && position < until - 0.05)?.[1] ?? null;
    }

    /* From the peaks that are there: what is not known is not silent. */
    known() {
        const seconds = CallPeaks.seconds(this.step), count = Math.ceil(this.view.total / seconds);
        const [inbound, outbound] = CallPeaks.LANES.map((name) => this.peaks.values(name, 0, count, this.step, false, 127));
        return callSilences(inbound, outbound, seconds);
    }

    measure() {
        this.stretches = this.on ? this.known() : [];
        const skipped = this.stretches.reduce((sum, [from, until]) => sum + until - from, 0);
        const least = this.peaks.complete(this.step) ? "" : "at least ";
        this.said.textContent = this.on ? `skips ${least}${this.clock(skipped)}` : "";
        this.draw();
    }

    draw() {
        const { view, svg } = this, seen = this.stretches.filter(([from, until]) => until > view.from && from < view.until);
        svg.setAttribute("viewBox", `0 0 ${view.span || 1} 1`);
        svg.firstElementChild.setAttribute("d", seen.map(([from, until]) => `M${(from - view.from).toFixed(2)} 0h${(until - from).toFixed(2)}v1h${(from - until).toFixed(2)}Z`).join(""));
    }
}
