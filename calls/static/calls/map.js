/* The whole call in a thin strip, and what part of it the wave shows. For the pointer only: the keyboard has the zoom's
   keys and the slider. */
"use strict";

class CallMap {
    static LONG = 300; // seconds from which the map is shown before anybody has zoomed
    static NEARER = 10; // times closer, after a click on the map of a call that is shown whole

    constructor(map, view, changed) {
        Object.assign(this, { map, view, changed, frame: map.querySelector(".call-frame"), held: null });
        map.addEventListener("pointerdown", (event) => this.grasp(event));
        map.addEventListener("pointermove", (event) => this.drag(event));
        for (const name of ["pointerup", "pointercancel"]) map.addEventListener(name, () => { this.held = null; });
    }

    at(event) {
        const box = this.map.getBoundingClientRect();
        return (event.clientX - box.left) / box.width * this.view.total;
    }

    grasp(event) {
        if (event.button) return;
        const { view } = this, at = this.at(event);
        this.map.setPointerCapture(event.pointerId);
        if (view.whole) view.set(0, view.total / CallMap.NEARER);
        if (event.target !== this.frame || !view.has(at)) view.centre(at);
        this.held = at - view.from;
        this.changed();
    }

    drag(event) {
        if (this.held === null) return;
        this.view.set(this.at(event) - this.held, this.view.span);
        this.changed();
    }

    show(position) {
        const { view, map, frame } = this;
        map.hidden = !view.worth || (view.whole && view.total < CallMap.LONG);
        map.classList.toggle("call-whole", view.whole);
        frame.style.left = `${view.from / view.total * 100}%`;
        frame.style.width = `${view.span / view.total * 100}%`;
        this.move(position);
    }

    move(position) { this.map.querySelector(".call-map-now").style.left = `${position / this.view.total * 100}%`; }

    draw(peaks) {
        for (const name of CallPeaks.LANES) {
            const svg = this.map.querySelector(`.call-map-lane.call-${name}`), { path, box } = peaks.picture(name, 0, this.view.total);
            svg.setAttribute("viewBox", box);
            svg.firstElementChild.setAttribute("d", path);
        }
    }

    /* A line for each event, in one path a tone; regions are as long as they are. */
    mark(events) {
        const svg = this.map.querySelector(".call-map-ticks"), tones = new Map();
        for (const { at, length, tone } of events) {
            tones.set(tone, `${tones.get(tone) ?? ""}M${at.toFixed(2)} 2h${length.toFixed(2)}M${at.toFixed(2)} 0v4`);
        }
        svg.setAttribute("viewBox", `0 0 ${this.view.total} 4`);
        svg.replaceChildren(...[...tones].map(([tone, d]) => {
            const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
            path.setAttribute("class", `call-${tone}`);
            path.setAttribute("d", d);
            return path;
        }));
    }
}
