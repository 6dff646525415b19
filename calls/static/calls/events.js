/* What happened, from the timeline's rows and the open comments (they are there without us too): markers below the wave, regions in it, and
   the way from one to the next. */
"use strict";

class CallEvents {
    static HIGH = 4; // markers on top of each other

    constructor(markers, regions, view) { Object.assign(this, { markers, regions, view, all: [], now: null, box: new CallBox(document.getElementById("call-timeline"), 40) }); }

    /* From the page, whenever the timeline is new. */
    read() {
        const rows = [...document.querySelectorAll(".call-timeline tr[data-at], .call-comments-list [data-at]")];
        this.now = null;
        this.all = rows.map((row) => {
            const { at, length, tone } = row.dataset;
            return { row, at: Number(at), length: Number(length ?? 0), tone };
        }).sort((one, other) => one.at - other.at);
        for (const event of this.within(1)) {
            event.marker = this.marker(event);
            event.region = event.row.dataset.length ? this.region(event) : null;
        }
    }

    /* Those in the recording, or so near to it that they belong there. */
    within(slack = 0) {
        return this.all.filter(({ at }) => this.view.total && at >= -slack && at <= this.view.total + slack);
    }

    /* Where they are in the window. */
    place() {
        const { view } = this, width = this.markers.clientWidth, ends = [], markers = [], regions = [];
        for (const event of this.all) {
            if (!event.marker) continue;
            const at = CallWindow.clamp(event.at, 0, view.total), share = view.share(at);
            if (event.region && share <= 1 && view.share(at + event.length) >= 0) {
                event.region.style.left = `${share * 100}%`;
                event.region.style.width = `${Math.min(event.length, view.total - at) / view.span * 100}%`;
                regions.push(event.region);
            }
            if (share < 0 || share > 1) continue;
            let level = ends.findIndex((end) => end + 18 < share * width);
            if (level < 0) level = Math.min(ends.length, CallEvents.HIGH - 1);
            ends[level] = share * width;
            event.marker.style.left = `${share * 100}%`;
            event.marker.style.top = `${level * 19}px`;
            event.marker.style.setProperty("--call-rise", `${level * 19 + 4}px`);
            markers.push(event.marker);
        }
        CallEvents.put(this.markers, markers);
        CallEvents.put(this.regions, regions);
        this.markers.style.height = `${Math.max(8, ends.length * 19)}px`;
    }

    /* Where nothing else is to be seen, nothing is touched: somebody may just be clicking it. */
    static put(box, found) {
        if (box.children.length !== found.length || found.some((one, index) => box.children[index] !== one)) box.replaceChildren(...found);
    }

    text({ row }) {
        return `${row.querySelector(".call-at").textContent} ${row.dataset.word} ${row.querySelector(".call-text").textContent}`.trim().slice(0, 300);
    }

    marker(event) {
        const link = document.createElement("a"), { kind, tone, word } = event.row.dataset;
        Object.assign(link.dataset, { kind, tone, key: word.replace("Key ", "") });
        link.className = `call-marker call-${tone}`;
        link.href = event.row.id ? `#${event.row.id}` : `#t=${Math.max(0, event.at).toFixed(2)}`;
        link.title = this.text(event);
        link.tabIndex = -1; // the timeline's own links are there for the keyboard
        return link;
    }

    region({ row, tone }) {
        const box = document.createElement("div");
        box.className = `call-region call-${tone} ${row.dataset.track === "inbound" ? "call-in" : "call-out"}`;
        box.classList.toggle("call-folded", "folded" in row.dataset);
        return box;
    }

    /* The row of the last thing that has happened by then. */
    highlight(position, begun, sought = false) {
        const now = begun ? this.all.findLast(({ row, at }) => row.matches("tr") && at >= 0 && at <= position + 0.005) : null;
        if (now?.row === this.now && !sought) return;
        if (now) this.box.follow(now.row, sought);
        this.now?.classList.remove("call-now-row");
        now?.row.classList.add("call-now-row");
        this.now = now?.row;
    }

    /* What lies at a moment that somebody only looks at. */
    look(moment) {
        const found = this.all.find(({ row, at }) => row.matches("tr") && at >= moment);
        if (found) this.box.bring(found.row);
    }

    /* The next event after a position (1) or the one before it (-1). Somebody who has just heard one begin means the
       one before that: `slack` is how many seconds a playing call has gone on since. */
    beside(position, direction, slack = 0.05) {
        const inside = this.within();
        return direction > 0 ? inside.find(({ at }) => at > position + 0.05) : inside.findLast(({ at }) => at < position - slack);
    }

    /* Into sight in its box, and on the page as far as the wave stays in sight; the focus stays where it is. */
    reveal({ row }) {
        this.box.bring(row);
        const top = document.querySelector(".call-wave").getBoundingClientRect().top;
        const below = row.getBoundingClientRect().bottom + 12 - innerHeight;
        if (top < 0) row.scrollIntoView({ block: "nearest" });
        else if (below > 0) scrollBy(0, Math.min(below, top));
    }
}
