/* What was said, line by line: drawn in order of time whatever comes first, each word found by what is clicked, and the
   one that is heard marked. A line is plain text until somebody points at it or hears it. */
"use strict";

class CallLines {
    constructor(list, names) { Object.assign(this, { list, names, all: [], byKey: new Map(), now: null, word: null }); }

    /* New lines, and what is known better of those that are there. */
    put(lines) {
        for (const line of lines) {
            const known = this.byKey.get(line.key);
            if (known && known.text === line.text && known.at === line.at) continue;
            if (known) this.remove(known);
            this.insert({ ...line, item: this.draw(line) });
        }
    }

    insert(line) {
        const index = this.after(line.at);
        const following = this.all[index];
        this.all.splice(index, 0, line);
        this.byKey.set(line.key, line);
        line.item.line = line;
        this.list.insertBefore(line.item, following?.item ?? null);
        this.join(index);
        this.join(index + 1);
    }

    remove(line) {
        const index = this.all.indexOf(line);
        this.all.splice(index, 1);
        line.item.remove();
        if (this.now === line) this.now = null;
        this.join(index);
    }

    /* A side's name stands where it begins to speak. */
    join(index) {
        const [before, line] = [this.all[index - 1], this.all[index]];
        line?.item.classList.toggle("call-goes-on", before?.track === line.track);
    }

    draw({ at, clock, track, text }) {
        const item = document.createElement("li"), link = document.createElement("a");
        const who = document.createElement("span"), said = document.createElement("p");
        item.className = `call-line-said call-${track}`;
        Object.assign(link, { className: "call-line-at", href: `#t=${at.toFixed(2)}`, textContent: clock, tabIndex: -1 });
        Object.assign(who, { className: "call-line-who", textContent: this.names[track] });
        Object.assign(said, { className: "call-line-text", textContent: text, dir: "auto" });
        item.append(link, who, said);
        return item;
    }

    /* Where in the list a line belongs that begins there: behind those that begin at the same time. */
    after(at) {
        let [low, high] = [0, this.all.length];
        while (low < high) {
            const middle = (low + high) >> 1;
            if (this.all[middle].at <= at) low = middle + 1; else high = middle;
        }
        return low;
    }

    /* The line that is heard at a position: the last one that has begun, until half a second after its end. */
    at(position) {
        for (let index = this.after(position + 0.01) - 1; index >= 0 && index > this.after(position) - 4; index--) {
            if (position <= this.all[index].end + 0.5) return this.all[index];
        }
        return null;
    }

    /* Marks what is heard. Returns the line if it is another one than before. */
    mark(position) {
        const line = this.at(position);
        if (line) this.markWord(line, position);
        if (line === this.now) return null;
        this.now?.item.classList.remove("call-heard");
        this.now?.item.firstChild.removeAttribute("aria-current");
        if (!line) this.markWord(null);
        line?.item.classList.add("call-heard");
        line?.item.firstChild.setAttribute("aria-current", "true");
        this.now = line;
        return line;
    }

    markWord(line, position) {
        if (line) this.split(line);
        const found = line?.spans.findLast(({ at }) => at <= position + 0.01) ?? null;
        if (found?.span === this.word) return;
        this.word?.classList.remove("call-word-now");
        found?.span.classList.add("call-word-now");
        this.word = found?.span ?? null;
    }

    /* Each word of a line that is found in its text becomes an element. Services write words and text differently
       ("refund", "Refund."), and some give no words: then the line is one. */
    split(line) {
        if (line.spans) return;
        line.spans = [];
        const pieces = [], folded = line.text.toLowerCase();
        let from = 0;
        for (const [word, at] of line.words) {
            const index = folded.indexOf(word.toLowerCase(), from);
            if (index < 0 || folded.length !== line.text.length) continue;
            const span = document.createElement("span");
            span.textContent = line.text.slice(index, index + word.length);
            span.className = "call-one-word";
            pieces.push(line.text.slice(from, index), span);
            line.spans.push({ span, at });
            from = index + word.length;
        }
        if (line.spans.length) line.item.lastChild.replaceChildren(...pieces, line.text.slice(from));
    }

    /* Where what lies at a point of the page begins: a word, or its line. */
    moment(item, x, y) {
        const pointed = document.elementFromPoint(x, y);
        return item.line.spans?.find(({ span }) => span === pointed)?.at ?? item.line.at;
    }

    /* The one line that the keyboard reaches; from there it goes up and down. */
    reach(item) {
        for (const link of this.list.querySelectorAll('.call-line-at[tabindex="0"]')) link.tabIndex = -1;
        if (item) item.firstChild.tabIndex = 0;
    }
}
