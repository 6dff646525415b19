/* A socket of ours: wss from a page that came by https, ws on a developer's own machine. */
"use strict";

const callSocket = (path) => new WebSocket(`${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}`);
