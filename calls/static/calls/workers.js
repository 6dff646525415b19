/* A page keeps up by itself, the one of the person on call or a campaign's: every few seconds, and seldom while nobody
   sees it. What is open or has the focus stays as it is. */
"use strict";

(() => {
    const now = document.querySelector("[data-now]"), stale = document.querySelector(".worker-stale");
    if (!now) return;

    const EVERY = 5000, HIDDEN = 60000, LONGEST = 30000;
    let failures = 0, timer = null, since = Date.now();

    async function look() {
        clearTimeout(timer);
        try {
            const response = await fetch(now.dataset.now, { headers: { Accept: "application/json" } });
            if (response.redirected || response.status === 403) return end();
            if (!response.ok) throw new Error(response.status);
            callMorph(now, (await response.json()).html);
            [failures, since] = [0, Date.now()];
        } catch {
            failures += 1;
        }
        tell(failures > 1 ? `The server or its database does not answer: this is how it was ${Math.round((Date.now() - since) / 1000)} s ago.` : "");
        timer = setTimeout(look, document.hidden ? HIDDEN : Math.min(LONGEST, EVERY * 2 ** Math.max(0, failures - 1)));
    }

    function tell(words) { if (stale.textContent !== words) stale.textContent = words; }

    function end() { tell("You have been logged out, or may not see this any more. This page does not change by itself any more."); }

    document.addEventListener("visibilitychange", () => { if (!document.hidden && timer) look(); });
    timer = setTimeout(look, EVERY);
})();
