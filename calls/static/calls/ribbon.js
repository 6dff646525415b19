/* Who spoke when, drawn between the two lanes: a bar for each turn, what the caller waited as a number between two of
   them, and over the lanes where nobody spoke and where both did. Only what is in the window is drawn. */
"use strict";

/* What turns.json says of a call, and the questions that its page has. Seconds on the call's timeline. */
class CallTalk {
    static LEAD = 1; // of the caller's speech before a wait: it is heard as a wait
    static MAPPED = 60; // of the slowest answers: more of them would hide the map

    constructor({ turns = [], dead = [], over = [] } = {}) {
        Object.assign(this, { turns, dead, over });
        this.waits = turns.filter(({ wait }) => wait !== undefined).map((turn) => ({ turn, ...turn, at: turn.at - turn.response_ms / 1000, end: turn.at }));
        this.slowest = this.waits.reduce((most, wait) => !most || wait.response_ms > most.response_ms ? wait : most, null);
        // Of a quick call the least quick answers are worth a look.
        const tone = ["bad", "warn"].find((one) => this.waits.some((wait) => wait.tone === one));
        this.slow = this.waits.filter((wait) => wait.tone === tone);
        this.worst = [...this.slow].sort((one, other) => other.response_ms - one.response_ms).slice(0, CallTalk.MAPPED);
    }

    /* From where a wait is to be heard. */
    static before({ at }) { return Math.max(0, at - CallTalk.LEAD); }

    /* The next slow answer after a position (1) or the one before it (-1), and the how manieth it is. */
    beside(position, direction) {
        const start = CallTalk.before, { slow } = this;
        const index = direction > 0 ? slow.findIndex((wait) => start(wait) > position + 0.05) : slow.findLastIndex((wait) => start(wait) < position - 0.05);
        return index < 0 ? null : { wait: slow[index], number: index + 1 };
    }

    /* What lies at a moment, or so near to it that a pointer means it: the longest wait, else who speaks. */
    about(at, slack, names) {
        const near = (one, most) => one.at <= at + most && one.end >= at - most;
        const waits = this.waits.filter((wait) => near(wait, slack));
        if (waits.length) return `Waited ${waits.reduce((most, wait) => wait.response_ms > most.response_ms ? wait : most).wait}`;
        const dead = this.dead.find((one) => near(one, 0)), speaks = this.turns.filter((one) => near(one, 0));
        return dead ? `Nobody spoke for ${dead.lasted}` : speaks.map((turn) => CallTalk.said(turn, names)).join(" · ");
    }

    static said(turn, names) {
        const on = turn.talked_on ? `, talked on ${turn.talked_on}` : "";
        return `${names[turn.who]} ${turn.lasted}${turn.interrupted ? `, interrupted${on}` : ""}`;
    }
}

class CallRibbon {
    static HIGH = 28; // px: a bar, the numbers, a bar
    static BAR = 5;
    static TALL = { good: 6, warn: 10, bad: 14 }; // px: seen from afar, the waits are a bar chart
    static FAR = 0.25; // seconds a pixel from which on a wait is a line
    static CLEAR = 3; // px that a stretch has at least, or it is left out: it would veil what is said
    static CHARACTER = 6.4; // px
    static APART = 3;

    constructor({ wave, ribbon, stretches, labels, map }) {
        Object.assign(this, { wave, ribbon, stretches, labels, map, talk: new CallTalk() });
    }

    show(talk) {
        this.talk = talk;
        this.wave.classList.toggle("call-talks", talk.turns.length > 0);
    }

    draw(view) {
        this.view = view;
        this.width = this.wave.clientWidth;
        const { waits, turns, dead, over } = this.talk, { HIGH, BAR } = CallRibbon;
        const seen = this.seen(turns), of = (who) => seen.filter((turn) => turn.who === who);
        const on = of("us").filter((turn) => turn.talked_on_ms).map(CallRibbon.on);
        const paths = {
            inbound: this.bars(of("caller"), 1, BAR),
            outbound: this.bars(of("us"), HIGH - BAR - 1, BAR),
            on: this.bars(on, HIGH - BAR - 1, BAR),
        };
        const waited = this.seen(waits);
        for (const [tone, tall] of Object.entries(CallRibbon.TALL)) {
            paths[tone] = this.bars(waited.filter((wait) => wait.tone === tone), (HIGH - tall) / 2, tall, 2);
        }
        CallRibbon.fill(this.ribbon, this.width, HIGH, paths);
        this.ribbon.classList.toggle("call-far", view.span / this.width > CallRibbon.FAR);
        const high = this.wave.clientHeight, silent = this.clear(dead);
        CallRibbon.fill(this.stretches, this.width, high, { dead: this.bars(silent, 0, high), over: this.bars(this.clear(over), 0, high) });
        this.labels.replaceChildren(...this.numbers(waited), ...this.names(silent, "dead air", "call-dead"), ...this.names(on, "talked on", "call-on"));
    }

    static on(turn) { return { at: Math.max(turn.at, turn.end - turn.talked_on_ms / 1000), end: turn.end, lasted: turn.talked_on }; }

    static fill(svg, width, height, paths) {
        svg.setAttribute("viewBox", `0 0 ${width || 1} ${height || 1}`);
        for (const path of svg.querySelectorAll("path[data-of]")) path.setAttribute("d", paths[path.dataset.of]);
    }

    seen(all) { return all.filter(({ at, end }) => end >= this.view.from && at <= this.view.until); }

    clear(all) { return this.seen(all).filter(({ at, end }) => this.x(end) - this.x(at) >= CallRibbon.CLEAR); }

    x(seconds) { return CallWindow.clamp(this.view.share(seconds), -0.01, 1.01) * this.width; }

    /* As one path; what would touch on the screen is one bar. */
    bars(all, top, tall, least = 1) {
        const pieces = [];
        let [from, until] = [0, -1];
        const put = () => { if (until > from) pieces.push(`M${from.toFixed(1)} ${top}H${until.toFixed(1)}v${tall}H${from.toFixed(1)}Z`); };
        for (const { at, end } of all) {
            const left = this.x(at), right = Math.max(this.x(end), left + least);
            if (left <= until + 0.5) { until = Math.max(until, right); continue; }
            put();
            [from, until] = [left, right];
        }
        put();
        return pieces.join("");
    }

    /* A number for each wait that has room for it: the slow ones come first, and may cover quick ones. */
    numbers(waited) {
        const { slow, slowest } = this.talk, worth = new Set(slow), taken = [];
        const boxes = waited.map((wait) => ({ wait, ...this.box(wait, wait.wait), from: this.x(wait.at), until: this.x(wait.end) }));
        const rank = ({ wait }) => wait === slowest ? Infinity : worth.has(wait) ? wait.response_ms : 0;
        const found = [], covers = (box, other) => Boolean(other) && other.from < box.right && other.until > box.left;
        const beside = (all, name) => all.forEach((box, index) => { box[name] = covers(box, all[index - 1]) || covers(box, all[index + 1]); });
        beside(boxes, "crowded");
        beside(boxes.filter(({ wait }) => worth.has(wait)), "blocked");
        const fits = (box) => box.wait === slowest || !(worth.has(box.wait) ? box.blocked : box.crowded);
        for (const box of boxes.filter(fits).sort((one, other) => rank(other) - rank(one))) {
            if (taken.some(({ left, right }) => box.right + CallRibbon.APART > left && box.left - CallRibbon.APART < right)) continue;
            taken.push(box);
            found.push(this.label(box, box.wait.wait, `call-waited call-${box.wait.tone}${box.crowded ? " call-crowded" : ""}`));
        }
        return found;
    }

    /* Words for those that have room for them in themselves. */
    names(all, word, kind) {
        const found = all.map((one) => ({ text: `${word} ${one.lasted}`, one }));
        const fits = ({ text, one }) => this.x(one.end) - this.x(one.at) >= text.length * CallRibbon.CHARACTER;
        return found.filter(fits).map(({ text, one }) => this.label(this.box(one, text), text, kind));
    }

    box({ at, end }, text) {
        const wide = text.length * CallRibbon.CHARACTER + 8, middle = (this.x(at) + this.x(end)) / 2;
        const left = CallWindow.clamp(middle - wide / 2, 0, Math.max(0, this.width - wide));
        return { left, right: left + wide };
    }

    label({ left, right }, text, kind) {
        const found = document.createElement("span");
        found.className = kind;
        found.textContent = text;
        found.style.left = `${((left + right) / 2).toFixed(1)}px`;
        return found;
    }

    /* Where in the whole call somebody waited for long: a line for each. */
    mark(total) {
        const lines = this.talk.worst.map(({ at, end }) => `M${((at + end) / 2).toFixed(1)} 0v1`).join("");
        this.map.setAttribute("viewBox", `0 0 ${total || 1} 1`);
        this.map.firstElementChild.setAttribute("d", lines);
        this.map.firstElementChild.setAttribute("class", `call-${this.talk.slow[0]?.tone ?? "quiet"}`);
    }
}
