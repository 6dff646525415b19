/* Where nobody speaks, from a recording's peaks: pure arithmetic. */
"use strict";

/* Loudness (0-127, a sample's upper seven bits) that counts as silence. µ-law's smallest steps and a line's comfort noise (-65 to
   -50 dBFS, its peaks some 12 dB above) stay below 2, which is -36 dBFS; the quietest speech that can be understood
   (-45 dBFS) exceeds that in every syllable. A noisier line is never silent: better to skip nothing than to skip a word. */
const CALL_QUIET = 2;

/* [from, until] in seconds of every stretch worth jumping over: both sides are silent for longer than `shortest`, and
   `kept` of it is left at either end, so that words keep their beginnings and turns their pauses. */
function callSilences(inbound, outbound, seconds, shortest = 1.5, kept = 0.3) {
    const found = [];
    let began = -1;
    for (let at = 0; at <= inbound.length; at++) {
        const silent = at < inbound.length && inbound[at] < CALL_QUIET && outbound[at] < CALL_QUIET;
        if (silent && began < 0) began = at;
        if (silent || began < 0) continue;
        if ((at - began) * seconds > shortest) found.push([began * seconds + kept, at * seconds - kept]);
        began = -1;
    }
    return found;
}
