/* Many callers at once: each speaks 50 frames a second, and every frame that comes back is compared and timed.
 *
 * One thread and one epoll. Frames lie on a wheel of 20 ms, evenly spread, as the callers of many calls are. Commands
 * come over stdin, one a line, and each but `open` is answered with one line of JSON:
 *
 *   open H C S stream_sid account_sid call_sid   then H bytes of an HTTP upgrade, C of `connected` and S of `start`
 *   measure SECONDS    the frames of so many seconds, from now on
 *   close              waits for the last echoes, says `stop`, closes, and lists every stream
 *
 * With SPEECH, a file of frames in base64, 216 characters each, callers say that again and again. What comes back is
 * counted, and timed is how long a caller who has said it waits for the first frame of an answer. Marks are returned at
 * once, as by a phone that plays in no time.
 *
 * Usage: load PORT [SPEECH]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_STREAMS 4096
#define FRAME_NS 20000000LL
#define SLOTS 400
#define SLOT_NS (FRAME_NS / SLOTS)
#define PAYLOAD 216      /* 160 bytes of mu-law in base64: 8 characters of frame number, 208 of something audible */
#define IN_FLIGHT 4096   /* frames of a stream that may be on their way, 80 s */
#define BUCKETS 200000   /* of 10 us each, for latencies up to 2 s */
#define FIRST_TIMESTAMP 120

enum state { CONNECTING, UPGRADING, STREAMING, STOPPED, GONE };

struct stream {
    int fd, slot_next;
    enum state state;
    unsigned sent, echoed, garbled, marks;
    int64_t sent_at[IN_FLIGHT], asked_at;
    char sid[64], account[64], call[64];
    char *handshake, *connected, *start;
    int handshake_size;
    size_t filled;
    char buffer[32768];
};

static struct stream *streams[MAX_STREAMS];
static int count, slots[SLOTS], epoll, port;
static int64_t tick, began;
static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const unsigned char MASK[4] = {0x37, 0xfa, 0x21, 0x3d};
static char payload[PAYLOAD + 1];
static char *speech;
static size_t speech_frames, spoken_frames;

/* What `measure` counts. */
static uint32_t latency[BUCKETS], lateness[BUCKETS];
static uint64_t window_sent, window_echoed, refused, dropped;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void note(uint32_t *histogram, int64_t ns) {
    int64_t bucket = ns < 0 ? 0 : ns / 10000;
    histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
}

static double percentile(const uint32_t *histogram, double share) {
    uint64_t total = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++) total += histogram[i];
    for (int i = 0; i < BUCKETS; i++)
        if ((seen += histogram[i]) >= share * total && total) return (i + 1) / 100.0;
    return 0;
}

/* --- one stream ---------------------------------------------------------------------------------------------------- */

static void gone(struct stream *s) {
    if (s->state == GONE) return;
    if (s->state == CONNECTING || s->state == UPGRADING) refused++;
    if (s->state == STREAMING) dropped++;
    s->state = GONE;
    close(s->fd);
}

/* A masked frame, as clients send them. What the kernel does not take at once has met a server that no longer reads. */
static void send_frame(struct stream *s, int opcode, const char *text, size_t size) {
    unsigned char frame[8192];
    size_t head = 2;
    frame[0] = 0x80 | opcode;
    if (size < 126) {
        frame[1] = 0x80 | size;
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = size >> 8;
        frame[3] = size & 255;
        head = 4;
    }
    memcpy(frame + head, MASK, 4);
    head += 4;
    for (size_t i = 0; i < size; i++) frame[head + i] = text[i] ^ MASK[i & 3];
    if (send(s->fd, frame, head + size, MSG_NOSIGNAL) != (ssize_t)(head + size)) gone(s);
}

static void number(char *at, unsigned n) {
    for (int i = 7; i >= 0; i--, n /= 64) at[i] = ALPHABET[n % 64];
}

static void speak(struct stream *s, int64_t due) {
    char text[1024];
    if (speech) memcpy(payload, speech + s->sent % speech_frames * PAYLOAD, PAYLOAD);
    else number(payload, s->sent);
    int size = snprintf(text, sizeof text,
        "{\"event\":\"media\",\"sequenceNumber\":\"%u\",\"media\":{\"track\":\"inbound\",\"chunk\":\"%u\","
        "\"timestamp\":\"%u\",\"payload\":\"%s\"},\"streamSid\":\"%s\"}",
        s->sent + s->marks + 2, s->sent + 1, FIRST_TIMESTAMP + 20 * s->sent, payload, s->sid);
    int64_t at = now();
    if (speech && s->sent % speech_frames == spoken_frames) s->asked_at = at;
    s->sent_at[s->sent++ % IN_FLIGHT] = at;
    window_sent++;
    note(lateness, at - due);
    send_frame(s, 1, text, size);
}

static void stop(struct stream *s) {
    char text[512];
    int size = snprintf(text, sizeof text,
        "{\"event\":\"stop\",\"sequenceNumber\":\"%u\",\"streamSid\":\"%s\","
        "\"stop\":{\"accountSid\":\"%s\",\"callSid\":\"%s\"}}",
        s->sent + s->marks + 2, s->sid, s->account, s->call);
    s->state = STOPPED;
    send_frame(s, 1, text, size);
    if (s->state == STOPPED) send_frame(s, 8, "", 0);
}

static void return_mark(struct stream *s, const char *name) {
    char text[512];
    const char *end = strchr(name, '"');
    int size = snprintf(text, sizeof text,
        "{\"event\":\"mark\",\"sequenceNumber\":\"%u\",\"streamSid\":\"%s\",\"mark\":{\"name\":\"%.*s\"}}",
        s->sent + ++s->marks + 1, s->sid, (int)(end - name), name);
    send_frame(s, 1, text, size);
}

/* An echo: the oldest frame that has not come back, byte for byte. */
static void heard(struct stream *s, const char *text, size_t size) {
    const char *at = memmem(text, size, "\"name\":\"", 8);
    if (at) return return_mark(s, at + 8);
    at = memmem(text, size, "\"payload\"", 9);
    if (!at) return;
    if (speech) {
        if (s->asked_at) note(latency, now() - s->asked_at);
        s->asked_at = 0;
        s->echoed++;
        window_echoed++;
        return;
    }
    at = memchr(at + 9, '"', text + size - at - 9);
    number(payload, s->echoed);
    if (!at || text + size - at < PAYLOAD + 2 || memcmp(at + 1, payload, PAYLOAD) || at[PAYLOAD + 1] != '"') s->garbled++;
    note(latency, now() - s->sent_at[s->echoed % IN_FLIGHT]);
    s->echoed++;
    window_echoed++;
}

/* The frames in a stream's buffer; what is left of it is the beginning of the next one. */
static void parse(struct stream *s) {
    size_t at = 0;
    while (s->filled - at >= 2) {
        unsigned char *frame = (unsigned char *)s->buffer + at;
        size_t size = frame[1] & 127, head = 2;
        if (size == 126) {
            if (s->filled - at < 4) break;
            size = frame[2] << 8 | frame[3];
            head = 4;
        } else if (size == 127) {
            fprintf(stderr, "load: a frame of more than 64 kB\n");
            exit(1);
        }
        if (s->filled - at < head + size) break;
        int opcode = frame[0] & 15;
        if (opcode == 1 && s->state == STREAMING) heard(s, (char *)frame + head, size);
        if (opcode == 9) send_frame(s, 10, (char *)frame + head, size);
        if (opcode == 8) {
            if (s->state == STREAMING) send_frame(s, 8, (char *)frame + head, size < 2 ? 0 : 2);
            gone(s);
        }
        if (s->state == GONE) return;
        at += head + size;
    }
    memmove(s->buffer, s->buffer + at, s->filled -= at);
}

static void upgraded(struct stream *s) {
    char *end = memmem(s->buffer, s->filled, "\r\n\r\n", 4);
    if (!end) return;
    if (strncmp(s->buffer, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "load: refused: %.*s\n", (int)(strchr(s->buffer, '\r') - s->buffer), s->buffer);
        gone(s);
        return;
    }
    size_t head = end + 4 - s->buffer;
    memmove(s->buffer, s->buffer + head, s->filled -= head);
    send_frame(s, 1, s->connected, strlen(s->connected));
    send_frame(s, 1, s->start, strlen(s->start));
    if (s->state == GONE) return;
    s->state = STREAMING;
    /* Evenly over the wheel, however many come later. */
    int index = 0;
    while (streams[index] != s) index++;
    double phase = index * 0.6180339887498949;
    int slot = (int)((phase - (int64_t)phase) * SLOTS);
    s->slot_next = slots[slot];
    slots[slot] = index;
}

static void ready(struct stream *s, uint32_t events) {
    if (s->state == GONE) return;
    if (s->state == CONNECTING && events & EPOLLOUT) {
        struct epoll_event in = {.events = EPOLLIN, .data.ptr = s};
        epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &in);
        s->state = UPGRADING;
        if (send(s->fd, s->handshake, s->handshake_size, MSG_NOSIGNAL) != s->handshake_size) gone(s);
        return;
    }
    ssize_t size = recv(s->fd, s->buffer + s->filled, sizeof s->buffer - 1 - s->filled, 0);
    if (size <= 0) {
        if (size == 0 || errno != EAGAIN) gone(s);
        return;
    }
    s->filled += size;
    s->buffer[s->filled] = 0;
    if (s->state == UPGRADING) upgraded(s);
    if (s->state == STREAMING || s->state == STOPPED) parse(s);
}

/* --- commands ------------------------------------------------------------------------------------------------------ */

static void open_stream(const char *line) {
    int sizes[3];
    struct stream *s = calloc(1, sizeof *s);
    if (count == MAX_STREAMS || !s) die("too many streams");
    if (sscanf(line, "open %d %d %d %63s %63s %63s", &sizes[0], &sizes[1], &sizes[2], s->sid, s->account, s->call) != 6)
        die("open");
    char **texts[3] = {&s->handshake, &s->connected, &s->start};
    for (int i = 0; i < 3; i++) {
        *texts[i] = calloc(1, sizes[i] + 1);
        if (fread(*texts[i], 1, sizes[i], stdin) != (size_t)sizes[i]) die("fread");
    }
    s->handshake_size = sizes[0];
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(s->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) die("connect");
    struct epoll_event out = {.events = EPOLLOUT, .data.ptr = s};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &out)) die("epoll_ctl");
    streams[count++] = s;
}

static int in_state(enum state low, enum state high) {
    int n = 0;
    for (int i = 0; i < count; i++) n += streams[i]->state >= low && streams[i]->state <= high;
    return n;
}

static void turn(int64_t until);

static double cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void measure(double seconds) {
    int64_t patience = now() + 10000000000LL;
    while (in_state(CONNECTING, UPGRADING) && now() < patience) turn(now() + 10000000);
    memset(latency, 0, sizeof latency);
    memset(lateness, 0, sizeof lateness);
    window_sent = window_echoed = 0;
    int64_t from = now();
    double used = cpu();
    while (now() < from + seconds * 1e9) turn(from + seconds * 1e9);
    double took = (now() - from) / 1e9;
    uint64_t garbled = 0, sent = 0;
    unsigned behind = 0;
    for (int i = 0; i < count; i++) {
        garbled += streams[i]->garbled;
        sent += streams[i]->sent;
        if (streams[i]->state == STREAMING && streams[i]->sent - streams[i]->echoed > behind)
            behind = streams[i]->sent - streams[i]->echoed;
    }
    printf("{\"seconds\":%.3f,\"streams\":%d,\"sent\":%lu,\"echoed\":%lu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f,"
           "\"behind\":%u,\"garbled\":%lu,\"refused\":%lu,\"dropped\":%lu,\"late_p99_ms\":%.2f,\"cpu\":%.3f,"
           "\"sent_ever\":%lu}\n",
           took, in_state(STREAMING, STREAMING), window_sent, window_echoed, percentile(latency, 0.5),
           percentile(latency, 0.99), percentile(latency, 1), behind, garbled, refused, dropped,
           percentile(lateness, 0.99), (cpu() - used) / took, sent);
}

static void close_all(void) {
    /* What was said last is still on its way back. */
    memset(slots, -1, sizeof slots);
    int64_t patience = now() + 3000000000LL, waiting = 1;
    while (waiting && now() < patience) {
        turn(now() + 10000000);
        waiting = 0;
        for (int i = 0; i < count; i++) waiting += streams[i]->state == STREAMING && streams[i]->echoed < streams[i]->sent;
    }
    for (int i = 0; i < count; i++)
        if (streams[i]->state == STREAMING) stop(streams[i]);
    patience = now() + 10000000000LL;
    while (in_state(STOPPED, STOPPED) && now() < patience) turn(now() + 10000000);
    printf("{\"streams\":[");
    for (int i = 0; i < count; i++) {
        struct stream *s = streams[i];
        printf("%s[\"%s\",%u,%u,%u]", i ? "," : "", s->sid, s->sent, s->echoed, s->garbled);
        if (s->state != GONE) close(s->fd);
        free(s->handshake), free(s->connected), free(s->start), free(s);
    }
    printf("],\"refused\":%lu,\"dropped\":%lu}\n", refused, dropped);
    count = 0;
    refused = dropped = 0;
}

static void obey(void) {
    char line[512];
    if (!fgets(line, sizeof line, stdin)) exit(0);
    if (!strncmp(line, "open ", 5)) open_stream(line);
    else if (!strncmp(line, "measure ", 8)) measure(atof(line + 8));
    else if (!strncmp(line, "close", 5)) close_all();
    fflush(stdout);
}

/* --- the loop ------------------------------------------------------------------------------------------------------ */

static void turn_wheel(void) {
    for (int64_t at = now(); began + tick * SLOT_NS <= at; tick++) {
        for (int i = slots[tick % SLOTS]; i >= 0; i = streams[i]->slot_next)
            if (streams[i]->state == STREAMING) speak(streams[i], began + tick * SLOT_NS);
    }
}

static void turn(int64_t until) {
    struct epoll_event events[256];
    turn_wheel();
    int64_t next = tick;
    while (next < tick + SLOTS && slots[next % SLOTS] < 0) next++;
    int64_t wait = began + next * SLOT_NS;
    if (wait > until) wait = until;
    wait -= now();
    struct timespec patience = {wait > 0 ? wait / 1000000000 : 0, wait > 0 ? wait % 1000000000 : 0};
    int n = epoll_pwait2(epoll, events, 256, &patience, NULL);
    int command = 0;
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr) ready(events[i].data.ptr, events[i].events);
        else command = 1;
        /* Frames leave in time, also while many come in. */
        if (i % 16 == 15) turn_wheel();
    }
    static int depth = 0;
    if (command && !depth) {
        depth = 1;
        obey();
        depth = 0;
    }
}

static void read_speech(const char *name) {
    FILE *file = fopen(name, "r");
    if (!file || fseek(file, 0, SEEK_END)) die(name);
    speech_frames = ftell(file) / PAYLOAD;
    rewind(file);
    speech = malloc(speech_frames * PAYLOAD + 1);
    spoken_frames = speech_frames;
    if (!speech_frames || !speech || fread(speech, PAYLOAD, speech_frames, file) != speech_frames) die(name);
    fclose(file);
    /* Silence is all slashes, but for the end of its base64. */
    while (spoken_frames && strspn(speech + (spoken_frames - 1) * PAYLOAD, "/") >= PAYLOAD - 4) spoken_frames--;
    spoken_frames %= speech_frames;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) return 2;
    port = atoi(argv[1]);
    if (argc == 3) read_speech(argv[2]);
    setvbuf(stdin, NULL, _IONBF, 0);
    memset(payload, 0, sizeof payload);
    for (int i = 8; i < PAYLOAD; i += 4) memcpy(payload + i, i < PAYLOAD - 4 ? "/39+" : "/w==", 4);
    memset(slots, -1, sizeof slots);
    epoll = epoll_create1(0);
    struct epoll_event in = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &in);
    began = now();
    for (;;) turn(now() + 1000000000);
}
