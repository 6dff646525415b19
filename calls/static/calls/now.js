/* Who speaks in a running call just now, and how long the other side has been waiting: from the waveform as it is told,
   so that it is rough and a second late. The figures of the call are measured afterwards. */
"use strict";

class CallNow {
    static LOUD = 4; // of 127: about -30 dB
    static PAUSE = 0.7; // seconds within which somebody still speaks
    static WORTH = 1; // seconds of silence after the caller that are called a wait
    static BAD = 2;
    static STALE = 4000; // ms after which nothing is known any more

    constructor({ said, lanes }) { Object.assign(this, { said, lanes, at: -Infinity, length: 0, last: [-1, -1] }); }

    /* So many samples are there by now, and what lies at their end. */
    hear(samples, pieces) {
        [this.length, this.at] = [samples / CallPeaks.RATE, performance.now()];
        for (const { lane, at, values } of pieces) {
            const loud = values.findLastIndex((value) => value >= CallNow.LOUD), index = CallPeaks.LANES.indexOf(lane);
            if (loud >= 0) this.last[index] = Math.max(this.last[index], (at + (loud + 1) * CallPeaks.FRAME) / CallPeaks.RATE);
        }
        this.show();
    }

    end() {
        this.at = -Infinity;
        this.said.hidden = true;
        this.show();
    }

    show() {
        clearTimeout(this.timer);
        const late = performance.now() - this.at, known = late < CallNow.STALE;
        const silent = this.last.map((last) => this.length - last), speaks = silent.map((seconds) => known && seconds < CallNow.PAUSE);
        this.lanes.forEach((lane, index) => lane.classList.toggle("call-speaks", speaks[index]));
        const [caller, us] = this.last, waited = silent[0] + Math.min(late / 1000, 1.2);
        const waits = known && !speaks[0] && !speaks[1] && caller > us && waited > CallNow.WORTH;
        this.tell(waits ? `${this.said.dataset.inbound} waits ${waited.toFixed(1)} s` : this.who(speaks));
        this.said.classList.toggle("call-bad", waits && waited > CallNow.BAD);
        if (known) this.timer = setTimeout(() => this.show(), 200);
    }

    who([caller, us]) {
        if (caller && us) return "Both speak";
        return caller ? `${this.said.dataset.inbound} speaks` : us ? "We speak" : "";
    }

    tell(words) { if (this.said.textContent !== words) this.said.textContent = words; }
}
