/* A recording's peaks at the scale that is looked at. They come in tiles of 20 ms, 40 ms, 80 ms … a bucket; each is
   loaded once, one after the other, and until it is there a coarser one stands in for it. */
"use strict";

class CallPeaks {
    static LANES = ["inbound", "outbound"];
    static RATE = 8000;
    static FRAME = 160; // samples of the finest bucket
    static PICTURE = 3000; // buckets, at most
    static TILE = 4096; // buckets
    static COARSEST = 8192; // frames a bucket: two weeks in a picture
    static LONGEST = 40960; // frames of a tile: the endpoint answers for 15 minutes at once
    static REST = 5000; // ms, after a failure
    static AGAIN = 5 * CallPeaks.RATE; // what was heard of us is written a little later than what the caller said
    static KEPT = 15 * CallPeaks.RATE; // so much of what was told is surely written by now

    constructor(address, { loaded, failed }) {
        Object.assign(this, { address, loaded, failed, samples: 0, busy: false, rest: 0, tiles: new Map(), wishes: new Map(), told: [] });
    }

    static bytes(base64) { return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)); }

    /* Frames a bucket for a picture of so many seconds. */
    static step(seconds) {
        return 2 ** Math.max(0, Math.ceil(Math.log2(seconds * CallPeaks.RATE / CallPeaks.FRAME / CallPeaks.PICTURE)));
    }

    static seconds(step) { return step * CallPeaks.FRAME / CallPeaks.RATE; }

    static size(step) { return Math.min(CallPeaks.TILE * step, CallPeaks.LONGEST); }

    /* What lay at the end of a running call has to be read again. */
    grow(samples) {
        this.samples = samples;
        for (const tile of this.tiles.values()) if (tile.stop + CallPeaks.AGAIN > tile.seen) tile.stale = true;
    }

    /* What is told of a running call: so many samples, and pieces of its lanes, each from a sample of the call on. It is
       laid over what was read, and is read when the page looks, since some of it may have been lost. */
    tell(samples, pieces) {
        this.samples = Math.max(this.samples, samples);
        this.told = [...this.told, ...pieces].filter(({ at }) => at > this.samples - CallPeaks.KEPT);
        for (const tile of this.tiles.values()) this.lay(tile, pieces);
    }

    lay(tile, pieces) {
        const bucket = tile.step * CallPeaks.FRAME;
        for (const { lane, at, values } of pieces) {
            for (let index = 0; index < values.length; index++) {
                const there = Math.floor((at + index * CallPeaks.FRAME - tile.start) / bucket);
                if (values[index] > tile[lane][there]) tile[lane][there] = values[index];
            }
        }
    }

    /* What is looked at by that name, in seconds; it takes the place of what was before. While a wheel turns, `wait`
       (ms) keeps what is only passed over from being loaded. */
    wish(name, from, until, step, wait = 0) {
        this.wishes.set(name, { from, until, step });
        clearTimeout(this.timer);
        if (wait) this.timer = setTimeout(() => this.load(), wait);
        else this.load();
    }

    async load() {
        if (this.busy || Date.now() < this.rest) return;
        this.busy = true;
        try {
            for (let tile; (tile = this.missing());) {
                await this.read(tile);
                this.loaded();
            }
        } catch (error) {
            this.rest = Date.now() + CallPeaks.REST;
            this.failed(error);
        }
        this.busy = false;
    }

    missing() {
        for (const { from, until, step } of this.wishes.values()) {
            const size = CallPeaks.size(step) * CallPeaks.FRAME, end = Math.min(until * CallPeaks.RATE, this.samples);
            for (let start = Math.floor(from * CallPeaks.RATE / size) * size; start < end; start += size) {
                const tile = this.tiles.get(`${step}/${start}`);
                if (!tile) return this.make(step, start, size);
                if (tile.stale) return tile;
            }
        }
        return null;
    }

    /* Whether the whole call is known that finely. */
    complete(step) {
        const size = CallPeaks.size(step) * CallPeaks.FRAME;
        for (let start = 0; start < this.samples; start += size) if (!this.tiles.has(`${step}/${start}`)) return false;
        return true;
    }

    make(step, start, size) {
        const empty = () => new Uint8Array(size / CallPeaks.FRAME / step);
        return { step, start, stop: start + size, seen: 0, stale: true, inbound: empty(), outbound: empty() };
    }

    async read(tile) {
        const bucket = tile.step * CallPeaks.FRAME, samples = this.samples;
        const known = Math.max(0, Math.floor((Math.min(tile.seen, tile.stop) - CallPeaks.AGAIN - tile.start) / bucket));
        const from = tile.start + known * bucket, until = Math.min(tile.stop, samples);
        tile.stale = false; // unless the call grows meanwhile
        try {
            const response = await fetch(`${this.address}?from=${from}&until=${until}&step=${tile.step}`);
            if (!response.ok) throw new Error(response.status);
            const found = await response.json();
            for (const name of CallPeaks.LANES) {
                tile[name].set(CallPeaks.bytes(found[name]).subarray(0, tile[name].length - known), known);
            }
            // What was told may not have been written yet.
            this.lay(tile, this.told);
        } catch (error) {
            tile.stale = true;
            throw error;
        }
        tile.seen = samples;
        this.tiles.set(`${tile.step}/${tile.start}`, tile);
    }

    /* `count` buckets of a lane from the one at `first` on; other steps' tiles stand in where this one's are not there. */
    values(name, first, count, step, others = true, unknown = 0) {
        const found = new Uint8Array(count).fill(unknown);
        for (let at = 0; at < count;) {
            const sample = (first + at) * step * CallPeaks.FRAME, tile = this.best(sample, step, others);
            if (!tile) { at++; continue; }
            const bucket = tile.step * CallPeaks.FRAME, many = Math.max(1, step / tile.step);
            const run = Math.min(count - at, (tile.stop - sample) / CallPeaks.FRAME / step);
            for (const end = at + run; at < end; at++) {
                const there = Math.floor(((first + at) * step * CallPeaks.FRAME - tile.start) / bucket);
                found[at] = many > 1 ? Math.max(...tile[name].subarray(there, there + many)) : tile[name][there];
            }
        }
        return found;
    }

    /* Of this step, else of the next coarser one, else of a finer one (a running call outgrows its step). */
    best(sample, step, others) {
        const levels = [step];
        for (let level = step * 2; others && level <= CallPeaks.COARSEST; level *= 2) levels.push(level);
        for (let level = step / 2; others && level >= 1; level /= 2) levels.push(level);
        for (const level of levels) {
            const size = CallPeaks.size(level) * CallPeaks.FRAME;
            const tile = this.tiles.get(`${level}/${Math.floor(sample / size) * size}`);
            if (tile) return tile;
        }
        return null;
    }

    /* A lane from one second on, as an SVG shows it: the path, and the part of it that is in the picture. */
    picture(name, from, span) {
        const step = CallPeaks.step(span), seconds = CallPeaks.seconds(step), first = Math.floor(from / seconds);
        const values = this.values(name, first, Math.max(1, Math.ceil((from + span) / seconds - 1e-6) - first), step);
        return { path: CallPeaks.outline(values), box: `${from / seconds - first} 0 ${span / seconds} 64` };
    }

    /* Mirrored at the middle of 64; neighbours that are alike are one line. */
    static outline(values) {
        const tall = CallPeaks.heights, end = values.length, there = [], back = [];
        for (let at = 0; at < end;) {
            const [up, down] = tall[values[at]], began = at;
            while (at < end && values[at] === values[began]) at++;
            there.push(`V${up}H${at}`);
            back.push(`V${down}H${began}`);
        }
        return `M0 32${there.join("")}${back.reverse().join("")}Z`;
    }

    static heights = Array.from({ length: 128 }, (_, value) => {
        const tall = 1 + 30 * Math.pow(value / 127, 0.6);
        return [(32 - tall).toFixed(1), (32 + tall).toFixed(1)];
    });
}
