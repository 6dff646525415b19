/* Plays both lanes of a running call, each on an output of its own and in step: positions are samples of the stream's
   one clock, 8000 a second. Batches come five times a second and never on time, so it stays behind the end of what is
   there (`edge`) by a batch and a margin; the margin grows when a batch comes too late and shrinks while none does. */
"use strict";

const RATE = 8000, SIZE = 1 << 17, HEADER = 9;
const HALF = 8, TAPS = 2 * HALF, PHASES = 1024;
const LEAST = 640, MOST = 2400, LATER = 480; // the margin, and what it grows by: 80, 300 and 60 ms
const TOO_FAR = 8000, SPARE = 3200; // what is skipped rather than caught up with: at once, and after a while
const FASTER = 1.03, FASTEST = 1.25; // while somebody speaks, while nobody does
const FADE = 40, QUIET = 0.006, SLOTS = 5, TOLD = 0.05, PATIENCE = 0.4;

/* G.711, as calls/media/audio.py has it, as shares of full scale. */
const LINEAR = Float32Array.from({ length: 256 }, (_, byte) => {
    byte = ~byte & 0xff;
    const magnitude = ((((byte & 0x0f) << 3) + 0x84) << ((byte >> 4) & 7)) - 0x84;
    return (byte & 0x80 ? -magnitude : magnitude) / 32768;
});

/* A windowed sinc for each of 1024 places between two samples. */
const KERNEL = new Float32Array((PHASES + 1) * TAPS);
for (let phase = 0; phase <= PHASES; phase++) {
    let sum = 0;
    for (let tap = 0; tap < TAPS; tap++) {
        const x = tap - HALF + 1 - phase / PHASES, angle = Math.PI * x;
        const value = (x ? Math.sin(angle) / angle : 1) * (0.5 + 0.5 * Math.cos(angle / HALF));
        KERNEL[phase * TAPS + tap] = value;
        sum += value;
    }
    for (let tap = 0; tap < TAPS; tap++) KERNEL[phase * TAPS + tap] /= sum;
}

class CallSound extends AudioWorkletProcessor {
    constructor() {
        super();
        this.lanes = [new Float32Array(SIZE), new Float32Array(SIZE)];
        this.levels = [0, 0];
        this.margin = LEAST;
        this.batch = RATE / 5;
        this.gain = this.told = 0;
        this.begin();
        this.port.onmessage = ({ data }) => {
            if (data === "begin") this.begin();
            else if (data === "rest") this.rests = true;
            else this.take(data);
        };
    }

    /* Another stream, with a clock of its own. */
    begin() {
        for (const lane of this.lanes) lane.fill(0);
        this.play = this.edge = this.first = -1;
        this.clean = 0; // what lies before it is played, and its places are silent
        this.edgeAt = this.size = 0;
        this.filling = true;
        this.fast = this.rests = this.heard = false;
        this.calm();
    }

    /* What was left of the sound when batches came is not known any more. */
    calm() {
        this.lows = new Float64Array(SLOTS).fill(Infinity);
        this.slot = 0;
    }

    take(message) {
        const view = new DataView(message), start = Number(view.getBigUint64(1)), samples = new Uint8Array(message, HEADER);
        const lane = this.lanes[view.getUint8(0)], end = start + samples.length;
        if (!lane || !samples.length) return;
        if (this.play < 0) this.play = this.edge = this.clean = start;
        if (this.filling && end > this.play && (this.first < 0 || start < this.first)) this.first = start;
        // After a pause the clock is far ahead; there is nothing in between.
        if (end > this.play + SIZE - RATE) this.leap(start);
        for (let at = Math.max(0, this.clean - start); at < samples.length; at++) {
            lane[(start + at) % SIZE] = LINEAR[samples[at]];
        }
        this.arrive(end);
    }

    leap(to) {
        for (const lane of this.lanes) lane.fill(0);
        this.play = this.edge = this.first = this.clean = to;
        this.filling = true;
        this.gain = 0;
        this.calm();
    }

    /* The two lanes of a batch come one after the other. */
    arrive(end) {
        if (end <= this.edge) return;
        if (currentTime - this.edgeAt > 0.05) {
            if (!this.filling) this.lows[this.slot] = Math.min(this.lows[this.slot], this.edge - this.play);
            if (this.size) this.batch += (Math.min(this.size, RATE * PATIENCE) - this.batch) / 8;
            this.size = 0;
        }
        this.size += end - this.edge;
        this.edge = end;
        this.edgeAt = currentTime;
        this.rests = false;
    }

    get needed() { return this.batch + this.margin; }

    fill() {
        const there = this.edge - this.play;
        const last = there > HALF + 1 && currentTime - this.edgeAt > PATIENCE;
        if (this.play < 0 || (there < this.needed && !last)) return;
        // Where nothing is, nothing is waited for.
        this.play = Math.max(this.play, Math.min(this.first < 0 ? this.play : this.first, this.edge - this.needed));
        if (!this.heard) this.play = Math.max(this.play, this.edge - this.needed);
        this.filling = false;
        this.heard = true;
        this.first = -1;
        this.calm();
    }

    /* How fast it plays: what is left when a batch comes tells whether it could be nearer to the end. */
    pace() {
        if (this.edge - this.play > this.needed + TOO_FAR) {
            this.play = this.edge - this.needed;
            this.gain = 0;
            this.calm();
        }
        const slot = Math.floor(currentTime) % SLOTS;
        if (slot !== this.slot) {
            this.slot = slot;
            this.lows[slot] = Infinity;
            this.margin = Math.max(LEAST, this.margin - SLOTS * RATE / 1000);
        }
        const spare = Math.min(...this.lows) - this.margin;
        if (spare > SPARE && this.lows.every(Number.isFinite)) {
            this.play += spare;
            this.gain = 0;
            this.calm();
            return 1;
        }
        this.fast = spare !== Infinity && spare > (this.fast ? 80 : 320);
        if (!this.fast) return 1;
        return Math.max(this.peak ?? 1, this.before ?? 1) < QUIET ? FASTEST : FASTER;
    }

    process(_, outputs) {
        const [ours, theirs] = [outputs[1][0], outputs[0][0]], nominal = RATE / sampleRate;
        if (this.filling) this.fill();
        const pace = this.filling ? 1 : this.pace(), step = nominal * pace, slope = 1 / (0.004 * sampleRate);
        let peak = 0;
        for (let at = 0; at < theirs.length && !this.filling; at++) {
            const room = this.edge - this.play - HALF;
            if (room <= 0) { this.starve(); break; }
            const wanted = Math.min(1, room / FADE);
            this.gain += Math.max(-slope, Math.min(slope, wanted - this.gain));
            const whole = Math.floor(this.play), row = Math.round((this.play - whole) * PHASES) * TAPS;
            let a = 0, b = 0;
            for (let tap = 0; tap < TAPS; tap++) {
                const place = (whole + tap - HALF + 1 + SIZE) % SIZE, weight = KERNEL[row + tap];
                a += this.lanes[0][place] * weight;
                b += this.lanes[1][place] * weight;
            }
            theirs[at] = a * this.gain;
            ours[at] = b * this.gain;
            this.levels[0] = Math.max(this.levels[0], Math.abs(a));
            this.levels[1] = Math.max(this.levels[1], Math.abs(b));
            peak = Math.max(peak, Math.abs(a), Math.abs(b));
            this.play += step;
        }
        // Each place is another sample's one day.
        for (const until = Math.floor(this.play) - HALF; this.clean < until; this.clean++) {
            for (const lane of this.lanes) lane[this.clean % SIZE] = 0;
        }
        [this.before, this.peak] = [this.peak, peak];
        if (pace !== 1) this.lows = this.lows.map((low) => low - theirs.length * (step - nominal));
        this.tell(pace);
        return true;
    }

    /* A batch is late, and from now on we are prepared for that. */
    starve() {
        if (!this.rests) this.margin = Math.min(MOST, this.margin + LATER);
        this.filling = true;
        this.first = -1;
        this.gain = 0;
    }

    tell(pace) {
        if (currentTime - this.told < TOLD || this.play < 0) return;
        this.told = currentTime;
        const behind = (this.edge - this.play) / RATE + currentTime - this.edgeAt;
        this.port.postMessage({ at: Math.floor(this.play), behind, pace, levels: this.levels, filling: this.filling });
        this.levels = [0, 0];
    }
}

registerProcessor("call-sound", CallSound);
