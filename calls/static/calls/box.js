/* A list that scrolls in a box of its own beside the wave, and shows what is heard: the page stays where it is. */
"use strict";

class CallBox {
    /* `head`: px of the box over which its heading lies. */
    constructor(box, head) { Object.assign(this, { box, head, heard: null }); }

    /* Whether some of it is in sight. */
    shows(item) {
        const [inner, outer] = [item.getBoundingClientRect(), this.box.getBoundingClientRect()];
        return inner.bottom > outer.top + this.head && inner.top < outer.bottom;
    }

    /* Into sight, with something of what comes after it. */
    bring(item) {
        const [inner, outer] = [item.getBoundingClientRect(), this.box.getBoundingClientRect()], { box, head } = this;
        if (inner.top < outer.top + head) box.scrollTop -= outer.top + head + 8 - inner.top;
        else if (inner.bottom > outer.bottom - 24) box.scrollTop += inner.bottom - outer.bottom + Math.min(96, outer.height / 3);
    }

    /* What is heard now. Whoever has scrolled away from what was heard before is left alone, unless this was sought. */
    follow(item, sought = false) {
        if (sought || !this.heard?.isConnected || this.shows(this.heard)) this.bring(item);
        this.heard = item;
    }
}
