// Node with ws. `node node_server.js PORT TOKEN [--extra]`.
const crypto = require("crypto");
const http = require("http");
const { WebSocketServer } = require("ws");

const [port, token, ...wrong] = process.argv.slice(2);
const answered = new Set();
const extra = wrong.includes("--extra");
const GREETING = Buffer.alloc(40000);
for (let n = 0; n < GREETING.length; n++) GREETING[n] = mulaw(9000 * Math.sin((2 * Math.PI * 300 * n) / 8000));

function mulaw(sample) {
  const sign = sample < 0 ? 0x80 : 0;
  const magnitude = Math.min(Math.abs(Math.round(sample)), 32635) + 132;
  const exponent = 24 - Math.clz32(magnitude);
  return ~(sign | (exponent << 4) | ((magnitude >> (exponent + 3)) & 15)) & 0xff;
}

function isSigned(request, scheme, form) {
  const fields = Object.keys(form).sort().map((name) => name + form[name]).join("");
  const signed = `${scheme}://${request.headers.host}${request.url}${fields}`;
  const wanted = Buffer.from(crypto.createHmac("sha1", token).update(signed).digest("base64"));
  const given = Buffer.from(request.headers["x-twilio-signature"] || "");
  return given.length === wanted.length && crypto.timingSafeEqual(given, wanted);
}

function twiml(host) {
  const stream = `<Stream url="ws://${host}/media" statusCallback="http://${host}/stream"/>`;
  return `<?xml version="1.0" encoding="UTF-8"?><Response><Connect>${stream}</Connect></Response>`;
}

const server = http.createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  const form = Object.fromEntries(new URLSearchParams(body));
  if (request.method !== "POST") return response.writeHead(405).end();
  if (!isSigned(request, "http", form)) return response.writeHead(403).end();
  if (request.url !== "/voice") return response.writeHead(204).end();
  answered.add(form.CallSid);
  response.writeHead(200, { "Content-Type": "text/xml" }).end(twiml(request.headers.host));
});

const sockets = new WebSocketServer({ noServer: true });
server.on("upgrade", (request, socket, head) => {
  if (!isSigned(request, "ws", {})) return socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
  sockets.handleUpgrade(request, socket, head, talk);
});

function talk(line) {
  let sid = "", said = 0, quiet = 0, heard = [], marks = [];
  const send = (event, body) => {
    line.send(JSON.stringify({ event, streamSid: sid, ...(body && { [event]: body }), ...(extra && { track: "outbound" }) }));
  };
  const say = (audio) => {
    for (let at = 0; at < audio.length; at += 4000)
      send("media", { payload: audio.subarray(at, at + 4000).toString("base64") });
    marks.push(`said-${++said}`);
    send("mark", { name: `said-${said}` });
  };
  const listen = (audio) => {
    if (audio.filter((byte) => (byte & 0x7f) < 0x60).length > audio.length / 2) {
      heard.push(audio);
      quiet = 0;
      if (marks.length) send("clear");
      marks = [];
    } else if (++quiet >= 15 && heard.length) {
      say(Buffer.concat(heard));
      heard = [];
    }
  };
  line.on("message", (text) => {
    const message = JSON.parse(text);
    if (message.event === "start") {
      if (!answered.has(message.start.callSid)) return line.close(1008);
      sid = message.start.streamSid;
      say(GREETING);
    }
    if (message.event === "media") listen(Buffer.from(message.media.payload, "base64"));
    if (message.event === "mark") marks = marks.filter((name) => name !== message.mark.name);
    if (message.event === "stop") line.close();
  });
}

server.listen(Number(port), "127.0.0.1");
