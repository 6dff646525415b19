/* The microphone as the line wants it: 8000 samples a second, µ-law, 60 ms a message. */
"use strict";

const RATE = 8000, SAMPLES = 480;
// A telephone carries nothing above 3.4 kHz; what lies above 4 kHz would come back as another tone.
const CUT = 3500, CROSSINGS = 24;

/* Samples at another rate to 8000 a second: a windowed sinc, one row of weights for each phase that there is. */
class Resampler {
    constructor(rate) {
        let [step, phases] = [rate, RATE];
        while (phases) [step, phases] = [phases, step % phases];
        this.phases = RATE / step;
        this.step = rate / step;
        const half = CROSSINGS * rate / (2 * CUT), width = 2 * Math.ceil(half) + 1;
        this.rows = Array.from({ length: this.phases }, (_, phase) => weights(phase / this.phases, half, width, 2 * CUT / rate));
        this.kept = new Float32Array(width - 1);
        this.at = 0; // of the next sample's first weight, in phases
    }

    add(input) {
        const line = new Float32Array(this.kept.length + input.length), width = this.kept.length + 1, found = [];
        line.set(this.kept);
        line.set(input, this.kept.length);
        let first = Math.floor(this.at / this.phases);
        while (first + width <= line.length) {
            const row = this.rows[this.at % this.phases];
            let sum = 0;
            for (let tap = 0; tap < width; tap++) sum += row[tap] * line[first + tap];
            found.push(sum);
            this.at += this.step;
            first = Math.floor(this.at / this.phases);
        }
        this.kept = line.slice(line.length - width + 1);
        this.at -= (line.length - width + 1) * this.phases;
        return found;
    }
}

function weights(offset, half, width, cut) {
    const middle = (width - 1) / 2, row = new Float64Array(width);
    let sum = 0;
    for (let tap = 0; tap < width; tap++) {
        const at = tap - middle - offset, angle = Math.PI * at / half;
        const sinc = at ? Math.sin(Math.PI * cut * at) / (Math.PI * at) : cut;
        // Blackman's window.
        row[tap] = Math.abs(at) < half ? sinc * (0.42 + 0.5 * Math.cos(angle) + 0.08 * Math.cos(2 * angle)) : 0;
        sum += row[tap];
    }
    return row.map((weight) => weight / sum);
}

/* G.711, with its 14 bits scaled to 16. */
function mulaw(sample) {
    const sign = sample < 0 ? 0x80 : 0;
    const magnitude = Math.min(Math.round(Math.abs(sample) * 32767), 32635) + 132;
    const segment = 31 - Math.clz32(magnitude) - 7;
    return ~(sign | segment << 4 | magnitude >> segment + 3 & 0x0f) & 0xff;
}

registerProcessor("call-microphone", class extends AudioWorkletProcessor {
    constructor() {
        super();
        this.resampler = new Resampler(sampleRate);
        this.message = new Uint8Array(SAMPLES);
        this.filled = 0;
        this.level = 0;
        this.isMuted = false;
        this.port.onmessage = ({ data }) => { this.isMuted = data.muted; };
    }

    /* Also while nothing comes from it: that this goes on tells the server that somebody is here. */
    process([[input]]) {
        for (const sample of this.resampler.add(input ?? new Float32Array(128))) {
            const said = this.isMuted ? 0 : sample;
            this.level = Math.max(this.level, Math.abs(said));
            this.message[this.filled++] = mulaw(said);
            if (this.filled === SAMPLES) this.send();
        }
        return true;
    }

    send() {
        this.port.postMessage({ audio: this.message.buffer, level: this.level }, [this.message.buffer]);
        this.message = new Uint8Array(SAMPLES);
        this.filled = this.level = 0;
    }
});
