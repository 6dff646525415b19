/* Tells the server what was played of a recording, for the list of who heard what: it only knows what it has sent, and
   a browser loads minutes ahead. */
"use strict";

(() => {
    const EVERY = 15000;
    const known = new Map(); // by player: the address, what was played, and when and what was told last
    const name = "csrfmiddlewaretoken";

    function look(audio) {
        const address = audio.currentSrc.replace(/recording\.wav.*$/, "played/");
        if (address === audio.currentSrc) return;
        if (known.has(audio) && known.get(audio).address !== address) tell(audio);
        const played = [];
        for (let at = 0; at < audio.played.length; at++) {
            played.push(`${audio.played.start(at).toFixed(1)}-${audio.played.end(at).toFixed(1)}`);
        }
        const before = known.get(audio);
        const same = before?.address === address;
        known.set(audio, { address, played, at: same ? before.at : Date.now(), told: same ? before.told : "" });
    }

    function tell(audio) {
        const one = known.get(audio);
        if (!one || !one.played.length || one.told === String(one.played)) return;
        const form = new FormData();
        form.append(name, document.querySelector(`[name=${name}]`).value);
        for (const range of one.played) form.append("range", range);
        // Also while the page is being left.
        if (navigator.sendBeacon(one.address, form)) [one.told, one.at] = [String(one.played), Date.now()];
    }

    document.addEventListener("timeupdate", ({ target }) => {
        look(target);
        if (Date.now() - known.get(target)?.at > EVERY) tell(target);
    }, true);
    for (const event of ["pause", "ended"]) {
        document.addEventListener(event, ({ target }) => { look(target); tell(target); }, true);
    }
    // Another recording, or more of this one: what was played is not known any more.
    document.addEventListener("emptied", ({ target }) => tell(target), true);
    window.addEventListener("pagehide", () => { for (const audio of known.keys()) tell(audio); });
})();
